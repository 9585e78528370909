"""hat-import: what the authors' program wrote → files of hat."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hat.cli.command import make_parser, run_guarded
from hat.errors import ConfigError

DESCRIPTION = """\
Turn files of the authors' program into files of hat. Nothing in them is executed.

  checkpoint    a training checkpoint → a model folder: the SuperTransformer, or one SubTransformer on its own
  architecture  the YAML file of a SubTransformer → architecture.json"""

_CHECKPOINT_EXAMPLE = (
    "hat-import checkpoint checkpoint_best.pt --source-dict dict.de.txt --target-dict dict.en.txt --output model"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run hat-import; returns the exit status."""
    return run_guarded("hat-import", lambda: _import(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("hat-import", DESCRIPTION, _CHECKPOINT_EXAMPLE)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="{checkpoint,architecture}")

    checkpoint = kinds.add_parser(
        "checkpoint", help="weights → a model folder", epilog=f"example: {_CHECKPOINT_EXAMPLE}", allow_abbrev=False
    )
    checkpoint.add_argument("file", type=Path, metavar="FILE.pt", help="the checkpoint")
    checkpoint.add_argument("--source-dict", type=Path, metavar="DICT.txt", help="dictionary of the source language")
    checkpoint.add_argument("--target-dict", type=Path, metavar="DICT.txt", help="dictionary of the target language")
    checkpoint.add_argument(
        "--no-dictionaries", action="store_true", help="make a model folder that knows token ids only, no text"
    )
    checkpoint.add_argument(
        "--bpe-codes", type=Path, metavar="CODES", help="codes that split text; without them it must be split already"
    )
    checkpoint.add_argument(
        "--subtransformer", type=Path, metavar="FILE.yml", help="extract this SubTransformer as a model of its own"
    )
    checkpoint.add_argument("--output", type=Path, required=True, metavar="DIR", help="the model folder to make")

    architecture = kinds.add_parser(
        "architecture",
        help="a YAML file → architecture.json",
        epilog="example: hat-import architecture HAT_wmt14ende_xeon.yml --output architecture.json",
        allow_abbrev=False,
    )
    architecture.add_argument("file", type=Path, metavar="FILE.yml", help="the SubTransformer")
    architecture.add_argument(
        "--qkv-dim", type=int, default=512, metavar="N", help="width of queries, keys and values (default: 512)"
    )
    architecture.add_argument("--output", type=Path, required=True, metavar="FILE.json", help="the file to write")
    return parser


def _import(args: argparse.Namespace) -> Path:
    output: Path = args.output
    if args.kind == "architecture":
        from hat.importing.architecture import read_subtransformer

        read_subtransformer(args.file, args.qkv_dim).to_json(output)
        return output
    from hat.recipes.import_checkpoint import import_checkpoint

    return import_checkpoint(args.file, output, _dictionaries(args), args.subtransformer, args.bpe_codes)


def _dictionaries(args: argparse.Namespace) -> tuple[Path, Path] | None:
    given = [path for path in (args.source_dict, args.target_dict) if path is not None]
    if args.no_dictionaries:
        if given or args.bpe_codes is not None:
            raise ConfigError("--no-dictionaries: leave --source-dict, --target-dict and --bpe-codes out with it.")
        return None
    if len(given) < 2:
        raise ConfigError("--source-dict and --target-dict: both are needed; --no-dictionaries goes without text.")
    return args.source_dict, args.target_dict


if __name__ == "__main__":
    sys.exit(main())
