"""hat-train-super: train one weight-shared SuperTransformer."""

import argparse
import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from hat.cli.command import run_command


def add_restart(parser: argparse.ArgumentParser) -> None:
    """The flag that both training commands have."""
    parser.add_argument("--restart", action="store_true", help="begin anew; default: continue an unfinished run")


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.train_super import TrainSuperConfig, train_super

    return TrainSuperConfig, train_super


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-train-super",
        "Train one weight-shared SuperTransformer; prints its folder. Run it again to continue after an interruption.\n"
        "Several processes: torchrun --nproc-per-node 8 -m hat.cli.train_super CONFIG.yaml",
        "hat-train-super configs/demo/train_super.yaml training.max_updates=500",
        _load,
        argv,
        add_flags=add_restart,
        recipe_flags=("restart",),
    )


if __name__ == "__main__":
    sys.exit(main())
