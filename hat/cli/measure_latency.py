"""hat-measure-latency: time SubTransformers on this machine."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from hat.cli.command import make_parser, run_command, run_guarded
from hat.config import override_of

_NAME = "hat-measure-latency"
_CHECK_HELP = "measure nothing; print what is wrong with this data set, ours or one of the public layout, as JSON"


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--restart", action="store_true", help="begin anew; default: continue an unfinished run")
    parser.add_argument(
        "--architecture",
        action="append",
        type=Path,
        metavar="FILE.json",
        help="measure this architecture only and print the result as JSON; may be given several times",
    )
    parser.add_argument(
        "--paper", action="store_true", help="always 300 timed runs a network in one pass, as the paper has it"
    )
    parser.add_argument("--check", type=Path, metavar="FILE.csv", help=f"{_CHECK_HELP}; takes no config")


def _overrides(args: argparse.Namespace) -> list[str]:
    fixed = {"passes": 1, "settings.runs": 300, "settings.relative_error": None}
    return [override_of(name, value) for name, value in fixed.items()] if args.paper else []


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.measure_latency import MeasureLatencyConfig, measure_latency

    return MeasureLatencyConfig, measure_latency


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if any(argument.split("=")[0] == "--check" for argument in arguments):  # no config
        return _check(arguments)
    return run_command(
        _NAME,
        "Time SubTransformers of a search space on this machine, with random weights: no data, no checkpoint needed.\n"
        "Prints the path of latency.csv; device.json lies beside it. Run it again to continue after an interruption.",
        "hat-measure-latency configs/demo/measure_latency.yaml samples=100 settings.threads=2",
        _load,
        argv,
        add_flags=_add_flags,
        flag_overrides=_overrides,
        recipe_flags=("restart", "architecture"),
    )


def _check(argv: Sequence[str]) -> int:
    def action() -> str:
        from hat.recipes.check_latency import check_latency

        parser = make_parser(_NAME, _CHECK_HELP, f"{_NAME} --check runs/demo/latency/latency.csv")
        parser.add_argument("--check", type=Path, required=True, metavar="FILE.csv")
        return check_latency(parser.parse_args(argv).check)

    return run_guarded(_NAME, action)


if __name__ == "__main__":
    sys.exit(main())
