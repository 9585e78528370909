"""hat-measure-latency: time SubTransformers on this machine."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hat.cli.command import run_command
from hat.recipes.measure_latency import MeasureLatencyConfig, measure_latency


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--restart", action="store_true", help="begin anew; default: continue an unfinished run")
    parser.add_argument(
        "--architecture",
        action="append",
        type=Path,
        metavar="FILE.json",
        help="measure this architecture only and print the result as JSON; may be given several times",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-measure-latency",
        "Time SubTransformers of a search space on this machine, with random weights: no data, no checkpoint needed.\n"
        "Prints the path of latency.csv; device.json lies beside it. Run it again to continue after an interruption.",
        "hat-measure-latency configs/demo/measure_latency.yaml samples=100 settings.threads=2",
        MeasureLatencyConfig,
        measure_latency,
        argv,
        add_flags=_add_flags,
        recipe_flags=("restart", "architecture"),
    )


if __name__ == "__main__":
    sys.exit(main())
