"""hat-search: find the best SubTransformer under a latency limit."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from hat.cli.command import run_command
from hat.config import override_of
from hat.errors import ConfigError

_UNIT_MS = {"": 1.0, "ms": 1.0, "s": 1000.0}


def milliseconds(text: str) -> float:
    """A duration such as ``200ms``, ``0.2s`` or ``200`` (milliseconds). Raises ConfigError."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(ms|s|)\s*", text.lower())
    try:
        value = float(match[1]) * _UNIT_MS[match[2]] if match else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"--latency: must be a positive time such as 200ms or 0.2s, is '{text}'.")
    return value


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--latency", metavar="LIMIT", help="the limit: 200ms, 0.2s, or a number of milliseconds")
    parser.add_argument(
        "--from",
        dest="front",
        metavar="PARETO.json",
        type=Path,
        help="pick from what an earlier search found (best with algorithm: nsga2) and measure it, without searching",
    )


def _overrides(args: argparse.Namespace) -> list[str]:
    return [] if args.latency is None else [override_of("latency_limit_ms", milliseconds(args.latency))]


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.search import search
    from hat.recipes.search_config import SearchConfig

    return SearchConfig, search


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(
        "hat-search",
        "Find the SubTransformer with the lowest validation loss under a latency limit; prints its architecture.json.\n"
        "Several processes: torchrun --nproc-per-node 8 -m hat.cli.search CONFIG.yaml",
        "hat-search configs/demo/search.yaml --latency 7ms",
        _load,
        argv,
        add_flags=_add_flags,
        flag_overrides=_overrides,
        recipe_flags=("front",),
    )


if __name__ == "__main__":
    sys.exit(main())
