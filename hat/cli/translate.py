"""hat-translate: translate text with a trained model."""

import argparse
import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from hat.cli.command import run_command
from hat.config import override_of

# flag → (setting, type, help)
_FLAGS = {
    "--input": ("input", str, "text to translate, plain or .gz; default: standard input"),
    "--beam": ("decoding.beam", int, "hypotheses kept at every step"),
    "--lenpen": ("decoding.length_penalty", float, "length penalty"),
    "--batch-tokens": ("batch_tokens", int, "source tokens of a batch"),
    "--nbest": ("nbest", int, "translations printed for each line"),
    "--dtype": ("dtype", str, "of the products: float32, bfloat16, float16 (GPU) or int8 (CPU)"),
    "--shortlist": ("shortlist", str, "score only the target tokens that this file gives (made by hat-prepare)"),
    "--architecture": ("architecture", str, "which SubTransformer of a SuperTransformer (architecture.json)"),
}


def _add_flags(parser: argparse.ArgumentParser) -> None:
    for flag, (_, kind, text) in _FLAGS.items():
        parser.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=text)
    parser.add_argument("--tokenized", action="store_true", help="print tokens instead of detokenised text")


def _overrides(args: argparse.Namespace) -> list[str]:
    given = {
        setting: getattr(args, flag.removeprefix("--").replace("-", "_")) for flag, (setting, _, _) in _FLAGS.items()
    }
    overrides = [override_of(setting, value) for setting, value in given.items() if value is not None]
    return [*overrides, "tokenized=true"] if args.tokenized else overrides


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.translate import TranslateConfig, translate

    return TranslateConfig, translate


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-translate",
        "Translate text, one sentence a line, with a standalone model or one SubTransformer of a SuperTransformer.",
        "hat-translate runs/demo/sub --beam 4 < input.txt > output.txt",
        _load,
        argv,
        add_flags=_add_flags,
        flag_overrides=_overrides,
        folder_key="model",
    )


if __name__ == "__main__":
    sys.exit(main())
