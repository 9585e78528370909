"""hat-train-super: train one weight-shared SuperTransformer."""

import argparse
import sys
from collections.abc import Sequence

from hat.cli.command import run_command
from hat.recipes.train_super import TrainSuperConfig, train_super


def add_restart(parser: argparse.ArgumentParser) -> None:
    """The flag that both training commands have."""
    parser.add_argument("--restart", action="store_true", help="begin anew; default: continue an unfinished run")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-train-super",
        "Train one weight-shared SuperTransformer; prints its folder. Run it again to continue after an interruption.\n"
        "Several processes: torchrun --nproc-per-node 8 -m hat.cli.train_super CONFIG.yaml",
        "hat-train-super configs/demo/train_super.yaml training.max_updates=500",
        TrainSuperConfig,
        train_super,
        argv,
        add_flags=add_restart,
        recipe_flags=("restart",),
    )


if __name__ == "__main__":
    sys.exit(main())
