"""Finding rows of a latency data set that were measured while the machine did something else. No torch."""

from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from hat.errors import DataError
from hat.latency.cost_model import CostModelOptions, fit_cost_model
from hat.latency.rows import FloatArray, Rows
from hat.latency.statistics import robust_deviation

WINDOW = 15
"""Rows whose median tells whether a single row is far off, or many in turn are: no single outlier moves it."""
SHORTEST_RUN = 8
"""Fewer rows than this are no stretch: about half a window must be shifted for its median to be."""
LEAST_SHIFT = 0.03
"""Stretches whose rows take this part longer, or shorter, than at the pace that most rows share are shifted..."""
NOISE_TIMES = 2.0
"""... if that is this many times the noise of single rows, too."""
OUTLIER = 6.0
"""A single row is an outlier when it is this many times the noise off, and by 5 % at least."""
_LEAST_OUTLIER = 0.05
_CLIP = 2.5
"""Rows further from the median around them than this many times the noise count as if they were only so far."""
_CHANGE_PENALTY = 6.0
"""What a change of the pace must explain, in squares of the noise, for every unit of the logarithm of the number of
rows. 2 is the usual (Bayesian information) criterion for one number, and a stretch has two ends and a level."""
_MOST_ROUNDS = 6


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

    def flagged_rows(self) -> frozenset[int]:
        """Numbers of all rows that are in a shifted stretch or outliers."""
        shifted = (row for run in self.shifted for row in range(run.first_row, run.last_row + 1))
        return frozenset(shifted) | {outlier.row for outlier in self.outliers}

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def check_latencies(features: FloatArray, latency_ms: FloatArray, name: str = "a latency data set") -> Findings:
    """Look for shifted stretches of rows and for outliers, by what a cost model fitted to all rows expects.

    Architectures are measured in random order, so nothing in them explains why many in a row take longer than
    expected: throttling, another load or another session does. The file is cut where its pace changes; what the
    stretches are compared with is the pace that most rows share. Slow wandering around it is noise.

    Args:
        features: shape (n, 10), in the order they were measured in.
        latency_ms: shape (n,).
        name: what errors call the rows.

    Raises:
        DataError: if there are fewer than 30 rows.
    """
    if len(latency_ms) < 2 * WINDOW:
        raise DataError(f"{name}: must have at least {2 * WINDOW} rows to be checked, has {len(latency_ms)}.")
    pace, cuts = np.zeros(len(latency_ms)), [0]
    for _ in range(_MOST_ROUNDS):  # shifted rows spoil the fit that finds them: at one pace, find them again
        model = fit_cost_model(Rows(features, latency_ms / np.exp(pace)), CostModelOptions())
        off = np.log(latency_ms / model.predict_ms(features))
        # From neighbours: where many rows are shifted, their shift would be taken for noise.
        noise = max(robust_deviation(np.diff(off)) / 2**0.5, 1e-9)
        before, cuts = cuts, _cuts(off, noise)
        pace = np.concatenate([np.full(end - first, np.median(off[first:end])) for first, end in pairwise(cuts)])
        shift = float(np.log1p(max(LEAST_SHIFT, NOISE_TIMES * noise)))
        common = _common(pace, shift)
        pace, off = pace - common, off - common
        if cuts == before:
            break
    side = np.where(np.abs(pace) > shift, np.sign(pace), 0)
    edges = [0, *(np.flatnonzero(np.diff(side)) + 1).tolist(), len(side)]
    runs = [(first, end) for first, end in pairwise(edges) if side[first] != 0]
    noise = robust_deviation(off[side == 0])
    outlying = (side == 0) & (np.abs(off) > max(OUTLIER * noise, _LEAST_OUTLIER))
    return Findings(
        rows=len(off),
        noise_percent=_percent(noise),
        shifted=tuple(ShiftedRun(first, end - 1, _percent(float(np.median(off[first:end])))) for first, end in runs),
        outliers=tuple(Outlier(int(row), _percent(float(off[row]))) for row in np.flatnonzero(outlying)),
    )


def _common(pace: FloatArray, width: float) -> float:
    """The pace, within ``width``, that most rows share."""
    within = np.abs(pace[:, None] - np.unique(pace)) <= width / 2
    return float(np.median(pace[within[:, within.sum(axis=0).argmax()]]))


def _cuts(off: FloatArray, noise: float) -> list[int]:
    """Where stretches of one pace begin, and the number of rows at the end: the best of all ways to cut.

    Least squares with a penalty on every cut, by dynamic programming over the rows; time grows with n squared.

    Source: B. Jackson et al., "An algorithm for optimal partitioning of data on an interval", IEEE Signal Processing
    Letters 12 (2005).
    """
    around = _running_median(off)
    values = np.clip(off, around - _CLIP * noise, around + _CLIP * noise)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    penalty = _CHANGE_PENALTY * noise**2 * float(np.log(len(off)))
    # What rows first to end explain at their mean is (sum)^2 / number; the sum of all squares is the same anyway.
    best, begins = np.full(len(off) + 1, np.inf), np.zeros(len(off) + 1, dtype=np.int64)
    best[0] = 0.0
    for end in range(SHORTEST_RUN, len(off) + 1):
        firsts = np.arange(end - SHORTEST_RUN + 1)
        costs = best[firsts] - (sums[end] - sums[firsts]) ** 2 / (end - firsts) + penalty
        begins[end] = costs.argmin()
        best[end] = costs[begins[end]]
    cuts = [len(off)]
    while cuts[-1] > 0:
        cuts.append(int(begins[cuts[-1]]))
    return cuts[::-1]


def _running_median(values: FloatArray) -> FloatArray:
    """Median of the ``WINDOW`` values around each; the ends are repeated."""
    padded = np.pad(values, WINDOW // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1))


def _percent(log_ratio: float) -> float:
    return round(100 * float(np.expm1(log_ratio)), 1)
