"""hat-train-sub: train one SubTransformer as a standalone model."""

import argparse
import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from hat.cli.command import run_command
from hat.cli.train_super import add_restart
from hat.config import override_of


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_restart(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--from-scratch", action="store_true", help="start from new weights (inherit=null)")
    start.add_argument("--inherit", metavar="SUPER", help="start from this SuperTransformer's weights (space=null)")


def _overrides(args: argparse.Namespace) -> list[str]:
    if args.from_scratch:
        return ["inherit=null"]
    if args.inherit is not None:
        # A SuperTransformer knows its own space; the file may name one, for training from scratch.
        return [override_of("inherit", args.inherit), "space=null"]
    return []


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.train_sub import TrainSubConfig, train_sub

    return TrainSubConfig, train_sub


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-train-sub",
        "Train one SubTransformer as a standalone model, from scratch or from inherited weights; prints its folder.\n"
        "Run it again to continue after an interruption.",
        "hat-train-sub configs/demo/train_sub.yaml --inherit runs/demo/super",
        _load,
        argv,
        add_flags=_add_flags,
        flag_overrides=_overrides,
        recipe_flags=("restart",),
    )


if __name__ == "__main__":
    sys.exit(main())
