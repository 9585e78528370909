"""hat-count: parameters and multiply-adds of an architecture or a model."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hat.cli.command import make_parser, run_guarded
from hat.errors import ConfigError
from hat.recipes.count import Embeddings, count

DESCRIPTION = """\
Count the parameters and the multiply-adds (of one teacher-forced pass over one sentence pair) of an architecture or a
model, in closed form and per part, as JSON.

An architecture file says nothing about vocabularies. Without --vocab, or --source-vocab and --target-vocab, the parts
that depend on them (embedding, output) are null and the totals leave them out. A model folder needs no such flags.
One multiply-add is two FLOPs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run hat-count; returns the exit status."""
    return run_guarded("hat-count", lambda: _count(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    example = "hat-count configs/published/wmt14_ende_raspberrypi_3.5s.json --src-len 30 --tgt-len 30 --vocab 32768"
    parser = make_parser("hat-count", DESCRIPTION, example)
    parser.add_argument(
        "path", type=Path, metavar="ARCHITECTURE_OR_MODEL", help="an architecture.json, or a model folder"
    )
    parser.add_argument("--src-len", type=_length, default=30, metavar="N", help="source tokens (default: 30)")
    parser.add_argument("--tgt-len", type=_length, default=30, metavar="N", help="target tokens (default: 30)")
    parser.add_argument("--vocab", type=_size, metavar="N", help="number of tokens on both sides")
    parser.add_argument("--source-vocab", type=_size, metavar="N", help="number of source tokens")
    parser.add_argument("--target-vocab", type=_size, metavar="N", help="number of target tokens")
    parser.add_argument(
        "--share-embeddings",
        choices=("all", "decoder", "none"),
        help="one matrix for source, target and output (the default); one for target and output; or three",
    )
    parser.add_argument("--pre-norm", action="store_true", default=None, help="count a final LayerNorm per stack")
    return parser


def _count(args: argparse.Namespace) -> str:
    if args.vocab is not None and (args.source_vocab is not None or args.target_vocab is not None):
        raise ConfigError("--vocab: stands for both sides; leave --source-vocab and --target-vocab out.")
    given = {
        "source_vocab_size": args.vocab if args.source_vocab is None else args.source_vocab,
        "target_vocab_size": args.vocab if args.target_vocab is None else args.target_vocab,
        "share_embeddings": args.share_embeddings,
        "pre_norm": args.pre_norm,
    }
    given = {name: value for name, value in given.items() if value is not None}
    embeddings = Embeddings.model_validate(given) if given else None
    return json.dumps(count(args.path, embeddings, args.src_len, args.tgt_len), indent=2)


def _length(text: str) -> int:
    return _whole(text, least=1)


def _size(text: str) -> int:
    return _whole(text, least=0)


def _whole(text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} to 999999999, is {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
