"""The CSV layout of latency data sets: its columns, and what the values of a row must be. No torch.

One row per architecture. The ten features and four latency columns have the public sets' names and order, so that
either program reads the other's files; our own columns follow, the architecture last.
"""

import json
import math
from pathlib import Path

from hat.artifacts import read_text
from hat.config import shorten
from hat.errors import ConfigError, DataError
from hat.latency.csv_lines import number_of, values_of
from hat.space import Architecture
from hat.space.encoding import FEATURE_NAMES, features

LATENCY_COLUMNS = ("latency_mean_encoder", "latency_mean_decoder", "latency_std_encoder", "latency_std_decoder")
"""The public sets' columns, in milliseconds; their total is the sum of the two means."""
PUBLIC_COLUMNS = FEATURE_NAMES + LATENCY_COLUMNS
OWN_COLUMNS = (
    "latency_median_encoder",
    "latency_p90_encoder",
    "latency_median_decoder",
    "latency_p90_decoder",
    "latency_mean_total",
    "latency_std_total",
    "latency_median_total",
    "latency_p90_total",
    "latency_p99_total",
    "standard_error_total",
    "runs",
    "anchor_ms",
    "retakes",
    "time",
    "architecture",
)
"""What our files hold beyond that: milliseconds; the standard error of the mean total (of its ratio to the anchor's
where there is one; empty of too few runs to tell); the number of runs; what the anchor that was timed in turn took at
the same pace; how often the row was measured anew because of that; the time of day; compact JSON. All times are as they
were measured; with an anchor, in the pass of middle pace, to which those of other passes are brought."""
DRIFT_COLUMNS = ("anchor_ms", "retakes")
"""Those that a file does not hold whose latencies were measured without an anchor."""

_WHAT = "a latency data set (CSV)"


def read_lines(path: Path) -> tuple[list[str], list[tuple[int, str]]]:
    """The column names, and every further line that is not blank with its number. Raises DataError."""
    text = read_text(path, _WHAT).removeprefix("\ufeff")  # spreadsheets like to put a mark there
    if not text.strip():
        raise DataError(f"{path}: must be {_WHAT}, is empty.")
    first, *rest = [line.removesuffix("\r") for line in text.split("\n")]
    columns = [name.strip() for name in values_of(first, None, f"{path}, line 1")]
    missing = [name for name in PUBLIC_COLUMNS if name not in columns]
    if missing:
        raise DataError(f"{path}, line 1: must name the columns of {_WHAT}, lacks {', '.join(missing)}.")
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}, line 1: must name every column once, names one twice.")
    return columns, [(number, line) for number, line in enumerate(rest, 2) if line.strip()]


def public_values(row: dict[str, str], where: str) -> list[float]:
    """The values of ``PUBLIC_COLUMNS`` in a row: features and the mean of the whole above 0, all others at least 0.

    Raises:
        DataError: naming ``where`` and the column.
    """
    numbers = [value_of(row, name, where) for name in PUBLIC_COLUMNS]
    total_ms = numbers[len(FEATURE_NAMES)] + numbers[len(FEATURE_NAMES) + 1]
    if total_ms == 0 or math.isinf(total_ms):
        raise DataError(f"{where}: latency_mean_encoder and latency_mean_decoder must have a sum above 0 and finite.")
    return numbers


def value_of(row: dict[str, str], name: str, where: str) -> float:
    """One value: above 0, but a part's latency and a deviation may be 0. Raises DataError likewise."""
    may_be_zero = name in (*LATENCY_COLUMNS, "retakes") or name.startswith("latency_p90_")
    return number_of(row, name, where, may_be_zero)


def architecture_in(text: str, numbers: list[float], where: str) -> Architecture:
    """The architecture in a row, which must have the features that lead ``numbers``. Raises DataError likewise."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: architecture must be JSON, is {shorten(text)} (damaged or truncated?).") from None
    try:
        architecture = Architecture.from_dict(values, where=f"{where}: architecture")
    except ConfigError as error:
        raise DataError(str(error)) from None
    for name, expected, value in zip(FEATURE_NAMES, features(architecture), numbers, strict=False):
        if not math.isclose(expected, value, rel_tol=1e-6):
            raise DataError(f"{where}: {name} must be {expected:g} as the architecture says, is {value:g}.")
    return architecture
