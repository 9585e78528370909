"""Finding rows of a latency data set that were measured while the machine did something else. No torch."""

from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from hat.errors import DataError
from hat.latency.cost_model import CostModelOptions, fit_cost_model
from hat.latency.mlp import FloatArray

WINDOW = 15
"""Rows whose median tells whether a stretch of the file is shifted: no single outlier does."""
LEAST_SHIFT = 0.03
"""Stretches whose rows take this part longer, or shorter, than the rest lets one expect are shifted..."""
NOISE_TIMES = 2.0
"""... if that is this many times the noise of single rows, too."""
SHORTEST_RUN = 8
"""Fewer rows than this are no stretch: about half a window must be shifted for its median to be."""
OUTLIER = 6.0
"""A single row is an outlier when it is this many times the noise off, and by 5 % at least."""
_LEAST_OUTLIER = 0.05
_MOST_ROUNDS = 10


@dataclass(frozen=True)
class ShiftedRun:
    """Consecutive rows that were measured under other conditions than the rest."""

    first_row: int
    """Number of its first row; the first row below the column names is 0."""
    last_row: int
    """Number of its last row."""
    shift_percent: float
    """How much longer they took, in the median, than the rest of the file lets one expect."""


@dataclass(frozen=True)
class Outlier:
    """One row that was disturbed."""

    row: int
    """Its number; the first row below the column names is 0."""
    off_percent: float
    """How much longer it took than the rest of the file lets one expect."""


@dataclass(frozen=True)
class Findings:
    """What is wrong with a data set."""

    rows: int
    noise_percent: float
    """Standard deviation, from the median, of the rows that are neither shifted nor outliers: what no predictor that
    is trained on them can get below."""
    shifted: tuple[ShiftedRun, ...]
    outliers: tuple[Outlier, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def check_latencies(features: FloatArray, latency_ms: FloatArray) -> Findings:
    """Look for shifted stretches of rows and for outliers, by what a cost model fitted to the other rows expects.

    Architectures are measured in random order, so nothing in them explains why many in a row take longer than
    expected: throttling, another load or another session does.

    Args:
        features: shape (n, 10), in the order they were measured in.
        latency_ms: shape (n,).

    Raises:
        DataError: if there are fewer than 30 rows.
    """
    if len(latency_ms) < 2 * WINDOW:
        raise DataError(
            f"a latency data set must have at least {2 * WINDOW} rows to be checked, has {len(latency_ms)}."
        )
    calm = np.ones(len(latency_ms), dtype=bool)
    for _ in range(_MOST_ROUNDS):  # shifted rows spoil the fit that finds them: without them, find them again
        model = fit_cost_model((features[calm], latency_ms[calm]), CostModelOptions())
        off = np.log(latency_ms / model.predict_ms(features))
        off -= np.median(off[calm])
        # Slow wandering is noise, too, but no more than as much again as that of single rows around their neighbours:
        # where many rows are shifted, their shift would be taken for noise.
        noise = min(_noise(off[calm]), 2 * _noise(off - _running_median(off)))
        runs = _shifted_runs(off, max(LEAST_SHIFT, NOISE_TIMES * noise))
        before, calm = calm, ~np.isin(np.arange(len(off)), [row for first, end in runs for row in range(first, end)])
        if calm.sum() < WINDOW:  # hardly a row is like another: there is no rest to be shifted from
            calm, runs = before, []
        if np.array_equal(calm, before):
            break
    noise = _noise(off[calm])
    outlying = calm & (np.abs(off) > max(OUTLIER * noise, _LEAST_OUTLIER))
    return Findings(
        rows=len(off),
        noise_percent=_percent(noise),
        shifted=tuple(ShiftedRun(first, end - 1, _percent(float(np.median(off[first:end])))) for first, end in runs),
        outliers=tuple(Outlier(int(row), _percent(float(off[row]))) for row in np.flatnonzero(outlying)),
    )


def _noise(off: FloatArray) -> float:
    """Standard deviation around zero, from the median."""
    return 1.4826 * float(np.median(np.abs(off)))


def _shifted_runs(off: FloatArray, shift: float) -> list[tuple[int, int]]:
    """First row and the one after the last of every stretch, from the logarithms of measured over expected."""
    level = _running_median(off)
    side = np.where(np.abs(level) > np.log1p(shift), np.sign(level), 0)
    edges = [0, *(np.flatnonzero(np.diff(side)) + 1).tolist(), len(side)]
    runs: list[tuple[int, int]] = []
    for first, end in pairwise(edges):
        if side[first] == 0:
            continue
        first, end = _to_the_edge(off, first, end)
        if runs and first < runs[-1][1]:  # both reached over what lay between them
            first = runs.pop()[0]
        runs.append((first, end))
    return [(first, end) for first, end in runs if end - first >= SHORTEST_RUN]


def _to_the_edge(off: FloatArray, first: int, end: int) -> tuple[int, int]:
    """The run without rows at its ends, and with rows beyond them, that are nearer to what the other side is."""
    half = float(np.median(off[first:end])) / 2
    inside = off > half if half > 0 else off < half
    while first < end and not inside[first]:
        first += 1
    while end > first and not inside[end - 1]:
        end -= 1
    while first > 0 and inside[first - 1]:
        first -= 1
    while end < len(off) and inside[end]:
        end += 1
    return first, end


def _running_median(values: FloatArray) -> FloatArray:
    """Median of the ``WINDOW`` values around each; the ends are repeated."""
    padded = np.pad(values, WINDOW // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1))


def _percent(log_ratio: float) -> float:
    return round(100 * float(np.expm1(log_ratio)), 1)
