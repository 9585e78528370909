"""From the times of many runs to the numbers that are reported. No torch."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Statistic = Literal["mean", "p90"]
"""What stands for many runs: their trimmed mean, or their 90th percentile."""

TRIMMED_SHARE = 0.1
"""Share of the runs that is dropped at either end before the mean is taken."""
LEAST_RUNS_P90 = 30
"""Fewer runs tell little of the 90th percentile, which hangs on the few slowest."""
_PERCENTILE: Literal["median_unbiased"] = "median_unbiased"
"""As often too high as too low, whatever the distribution. Interpolated linearly, the 90th of nine runs is the 82nd.

Source: R. J. Hyndman and Y. Fan, "Sample quantiles in statistical packages", The American Statistician 50 (1996),
definition 8.
"""
LEAST_VALUES = 8
"""Fewer do not tell how far their median can be trusted."""


@dataclass(frozen=True)
class TimeStatistics:
    """Statistics of one series of times, in milliseconds."""

    mean_ms: float
    """Mean without the fastest and the slowest 10 % of the runs, the paper's latency."""
    std_ms: float
    """Standard deviation (of the population) of the runs that the mean is taken over."""
    median_ms: float
    """Of all runs."""
    p90_ms: float
    """90th percentile of all runs."""
    p99_ms: float
    """99th percentile; of up to 66 runs, the slowest."""
    standard_error_ms: float | None
    """Of the mean; None of a single run."""

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> "TimeStatistics":
        """The statistics of these times. Raises ValueError when there are none."""
        kept = np.asarray(trim(times_ms), dtype=np.float64)
        return cls(
            mean_ms=float(kept.mean()),
            std_ms=float(kept.std()),
            median_ms=float(np.median(times_ms)),
            p90_ms=float(np.percentile(times_ms, 90, method=_PERCENTILE)),
            p99_ms=float(np.percentile(times_ms, 99, method=_PERCENTILE)),
            standard_error_ms=_mean_error(times_ms, kept),
        )


def _mean_error(times_ms: Sequence[float], kept: npt.NDArray[np.float64]) -> float | None:
    """Standard error of the mean of ``kept``, what is left of the times: from all, the dropped moved to the kept range.

    Source: K. K. Yuen, "The two-sample trimmed t for unequal population variances", Biometrika 61 (1974).
    """
    if len(times_ms) < 2:
        return None
    winsorized = np.clip(times_ms, kept[0], kept[-1])
    return float(winsorized.std(ddof=1)) * math.sqrt(len(times_ms)) / len(kept)


def robust_deviation(off: npt.NDArray[np.float64]) -> float:
    """Standard deviation around zero of normal errors, from their median size: some large ones do not change it."""
    return 1.4826 * float(np.median(np.abs(off)))


def trim(times_ms: Sequence[float]) -> list[float]:
    """``times_ms`` in rising order without the fastest and the slowest 10 %, rounded down: all of up to 9 runs stay.

    Raises:
        ValueError: if there are no times.

    Source: HAT (arXiv:2005.14187), section 3.2.
    """
    if not times_ms:
        raise ValueError("times_ms must not be empty")
    dropped = int(len(times_ms) * TRIMMED_SHARE)
    return sorted(times_ms)[dropped : len(times_ms) - dropped]


@dataclass(frozen=True)
class LatencySample:
    """How long one architecture takes, from many runs."""

    encoder: TimeStatistics
    decoder: TimeStatistics
    """Run by run, the total less the encoder."""
    total: TimeStatistics
    runs: int
    """How many runs were timed, the dropped ones included."""

    @classmethod
    def of_runs(cls, runs: Sequence[tuple[float, float]]) -> "LatencySample":
        """The sample of these runs, each the encoder's and the total milliseconds."""
        encoder_ms, total_ms = [encoder for encoder, _ in runs], [total for _, total in runs]
        decoder_ms = [total - encoder for encoder, total in runs]
        return cls(
            TimeStatistics.of(encoder_ms), TimeStatistics.of(decoder_ms), TimeStatistics.of(total_ms), len(total_ms)
        )

    @property
    def relative_error(self) -> float | None:
        """The standard error of the total as a part of it; None of too few runs to tell."""
        error_ms = self.total.standard_error_ms
        return None if error_ms is None or self.runs < LEAST_VALUES else error_ms / self.total.mean_ms

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class AnchoredSample:
    """Times of a network, and how they compare to those of an anchor that was timed in turn with it."""

    runs: tuple[tuple[float, float], ...]
    """Of each, the encoder's and the total milliseconds."""
    ratios: tuple[float, ...]
    """Turn by turn, the network's total time over the anchor's."""

    @cached_property
    def sample(self) -> LatencySample:
        """What the runs say."""
        return LatencySample.of_runs(self.runs)

    @property
    def ratio(self) -> float:
        """The median ratio: a disturbance of a few turns does not reach it."""
        return statistics.median(self.ratios)

    @property
    def anchor_ms(self) -> float:
        """The anchor's time at the pace at which the network took ``sample.total.mean_ms``."""
        return self.sample.total.mean_ms / self.ratio


class Timed(NamedTuple):
    """One measurement of an architecture."""

    sample: LatencySample
    anchor_ms: float | None = None
    """What the anchor took at the same pace; None without an anchor."""
    relative_error: float | None = None
    """Standard error of the latency, as a part of it; None where there are too few runs to tell."""


def median_error(values: Sequence[float]) -> float:
    """Standard error of the median of ``values``, from their median distance to it.

    As if they were normal but for outliers: 1.2533 · 1.4826 · (median distance) / √n.
    """
    return 1.2533 * robust_deviation(np.asarray(values) - np.median(values)) / math.sqrt(len(values))


def relative_mean_error(times_ms: Sequence[float]) -> float | None:
    """Standard error of the trimmed mean of ``times_ms`` as a part of it; None of too few to tell."""
    kept = np.asarray(trim(times_ms), dtype=np.float64)
    error_ms = _mean_error(times_ms, kept)
    return None if error_ms is None or len(times_ms) < LEAST_VALUES else error_ms / float(kept.mean())


def relative_median_error(values: Sequence[float]) -> float | None:
    """Standard error of the median of ``values`` as a part of it; None of too few to tell."""
    return median_error(values) / float(np.median(values)) if len(values) >= LEAST_VALUES else None
