"""Measuring a latency again, later, so that it can be compared with those that were measured before."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hat.latency.measure import RUNS_PER_TURN, AnchoredTimer, measure
from hat.latency.pace import Pace
from hat.latency.settings import DeviceRecord
from hat.latency.statistics import LEAST_RUNS_P90, LatencySample, Statistic
from hat.nn import Transformer

CONFIDENCE = 0.95
"""How sure a search is of what it returns: that the median of all looks that could be taken now is within the limit.
At another pace than the data set's it leaves room, besides, for how much networks differ in following the anchor."""
LOOKS = (8, 12, 15, 18, 27, 35)
"""After how many looks at a network it is asked on which side of a limit it is. Each measures anew and gives one value:
copies of one network lie better or worse in memory, so that the runs of one look are wrong together. They are the least
numbers at which the bound of the first network that a search measures may leave out 0, 1, 2, 3, 6 and 9 outliers."""
_LEAST_RUNS: dict[Statistic, int] = {"mean": 3 * RUNS_PER_TURN, "p90": LEAST_RUNS_P90}
"""Of a look. One disturbed turn of three is not the median of their ratios."""


@dataclass(frozen=True)
class _Look:
    """One measurement."""

    latency_ms: float
    lowest_ms: float
    """What the latency may be, at least, as networks differ in how they follow the machine's pace..."""
    highest_ms: float
    """... and at most."""
    now_ms: float
    slowdown: float | None


@dataclass(frozen=True)
class Reading:
    """What a stopwatch says, in milliseconds."""

    latency_ms: float
    """Total latency at the pace of the data set, or as it is now where no anchor tells that pace."""
    lower_ms: float
    """What the latency is not below, with the confidence that was asked for however often it was looked; minus infinity
    where it was looked too seldom to say. At another pace than the data set's it leaves room, for 19 in 20 networks,
    for following otherwise."""
    upper_ms: float
    """What it is not above, likewise."""
    now_ms: float
    """As it is now."""
    slowdown: float | None = None
    """How many times as long as at the data set's pace the anchor takes now; None where no anchor tells."""

    @classmethod
    def of(cls, times_ms: Sequence[float], confidence: float = CONFIDENCE) -> "Reading":
        """That of several measurements of one network, as they are; fewer than seven tell no bounds of 95 %."""
        looks = [_Look(time_ms, time_ms, time_ms, time_ms, slowdown=None) for time_ms in times_ms]
        return cls._of_looks(looks, _at_each_number(confidence))

    @classmethod
    def _of_looks(cls, looks: Sequence[_Look], each: float) -> "Reading":
        """The medians count; bounds have the confidence ``each``."""
        slowdowns = [look.slowdown for look in looks if look.slowdown is not None]
        return cls(
            latency_ms=statistics.median(look.latency_ms for look in looks),
            lower_ms=_lower_bound([look.lowest_ms for look in looks], each),
            upper_ms=upper_bound([look.highest_ms for look in looks], each),
            now_ms=statistics.median(look.now_ms for look in looks),
            slowdown=statistics.median(slowdowns) if slowdowns else None,
        )


class Stopwatch:
    """Measures networks the way a data set was measured, and at its pace where an anchor was timed along with it.

    A machine that heats up or shares its processor takes longer. The anchor, timed in turn with each network, says how
    much longer it takes itself, the data set how far networks follow; the network's latency is given without that.

    Args:
        device: how the data set was measured; its settings and its anchor are used.
        pace: that of the data set; None takes the times as they are now.
        statistic: which latency readings give: the trimmed mean or the 90th percentile of the runs of a look.

    Raises:
        ConfigError: if the settings ask for a device or a type that is not here.
    """

    def __init__(self, device: DeviceRecord, pace: Pace | None, statistic: Statistic = "mean") -> None:
        self.device = device
        self.statistic = statistic
        self._pace = pace
        self._timer = None
        if device.anchor is not None and pace is not None:
            self._timer = AnchoredTimer(device.anchor, device.settings)

    def read(self, net: Transformer, limit_ms: float | None = None, confidence: float = CONFIDENCE) -> Reading:
        """The latency of a standalone model.

        Args:
            net: the model.
            limit_ms: looks again, for a part of the runs each time, until it is sure on which side of this the latency
                is, or that further looks would not tell, ``LOOKS[-1]`` times at most; None looks once, for all runs.
            confidence: how sure, on either side.
        """
        each = _at_each_number(confidence)
        if limit_ms is None:
            return Reading._of_looks([self._look(net, max(self.device.settings.runs, self._least_runs()))], each)
        runs = max(_LEAST_RUNS[self.statistic], math.ceil(self.device.settings.runs / LOOKS[0]))
        if self.statistic == "mean":
            runs = min(runs, self.device.settings.runs)
        looks: list[_Look] = []
        for number in LOOKS:
            looks += [self._look(net, runs) for _ in range(number - len(looks))]
            reading = Reading._of_looks(looks, each)
            if not reading.lower_ms <= limit_ms < reading.upper_ms or _in_vain(looks, limit_ms, each):
                break
        return reading

    def _look(self, net: Transformer, runs: int) -> _Look:
        """A measurement of so many runs at most."""
        if self._timer is None or self._pace is None:
            numbers = {"runs": runs, "least_runs": min(runs, self._least_runs())}
            now_ms = self._value(measure(net, self.device.settings.model_copy(update=numbers)))
            return _Look(now_ms, now_ms, now_ms, now_ms, slowdown=None)
        timed = self._timer.time(net, runs, min(runs, self._least_runs()))
        now_ms = self._value(timed.sample)
        # As a data set's rows are brought to its pace: by the mean, whichever statistic is asked for.
        mean_ms, anchor_ms = timed.sample.total.mean_ms, timed.anchor_ms
        lowest, highest = self._pace.bounds(mean_ms, anchor_ms)
        latency_ms = now_ms * float(self._pace.factor(mean_ms, anchor_ms))
        return _Look(latency_ms, now_ms * lowest, now_ms * highest, now_ms, anchor_ms / self._pace.anchor_ms)

    def _least_runs(self) -> int:
        """Fewest runs of a look; more than the settings' where so few tell little of the percentile."""
        least = self.device.settings.least_runs
        return max(least, LEAST_RUNS_P90) if self.statistic == "p90" else least

    def _value(self, sample: LatencySample) -> float:
        return sample.total.p90_ms if self.statistic == "p90" else sample.total.mean_ms


def _at_each_number(confidence: float) -> float:
    """The confidence of a bound at each of ``LOOKS``: who asks often is wrong once more easily."""
    return 1 - (1 - confidence) / len(LOOKS)


def _in_vain(looks: Sequence[_Look], limit_ms: float, each: float) -> bool:
    """Whether the limit surely lies between what the latency may be at least and at most: further looks do not tell."""
    at_least_ms = upper_bound([look.lowest_ms for look in looks], each)
    at_most_ms = _lower_bound([look.highest_ms for look in looks], each)
    return at_least_ms <= limit_ms < at_most_ms


def _lower_bound(values: Sequence[float], confidence: float) -> float:
    return -upper_bound([-value for value in values], confidence)


def upper_bound(values: Sequence[float], confidence: float) -> float:
    """What the median that ``values`` were drawn around is not above, with this confidence.

    The smallest order statistic that is: whether a value is above the median is the toss of a coin, whatever the
    distribution. Infinite where there are so few values that not even the largest is sure enough.
    """
    number, below = len(values), 0.0
    for rank, value in enumerate(sorted(values)):
        # The probability that at most ``rank`` of all values are below the median.
        below += math.comb(number, rank) / 2**number
        if below >= confidence:
            return value
    return math.inf
