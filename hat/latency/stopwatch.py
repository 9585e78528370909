"""Measuring a latency again, later, so that it can be compared with those that were measured before."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hat.latency.measure import AnchoredTimer, measure
from hat.latency.settings import DeviceRecord
from hat.nn import Transformer

CONFIDENCE = 0.95
"""How sure it is that a latency is not above the upper bound of its reading."""
_NORMAL_95 = 1.645  # standard errors above a mean that 95 % are below


@dataclass(frozen=True)
class Reading:
    """What one look at the stopwatch says, in milliseconds."""

    latency_ms: float
    """Total latency at the pace of the data set, or as it is now where no anchor tells that pace."""
    upper_ms: float
    """What the latency is not above, with a confidence of 95 %."""
    now_ms: float
    """Mean total time as it is now."""


class Stopwatch:
    """Measures networks the way a data set was measured, and at its pace where an anchor was timed along with it.

    A machine that heats up or shares its processor takes longer for everything. The anchor, timed in turn with each
    network, says how much longer, and the network's latency is given without that.

    Args:
        device: how the data set was measured; its settings and its anchor are used.
        anchor_ms: total latency of the anchor then; None takes the times as they are now.

    Raises:
        ConfigError: if the settings ask for a device or a type that is not here.
    """

    def __init__(self, device: DeviceRecord, anchor_ms: float | None) -> None:
        self.device = device
        self.anchor_ms = anchor_ms
        self._timer = None
        if device.anchor is not None and anchor_ms is not None:
            self._timer = AnchoredTimer(device.anchor, device.settings)
        self._slowdowns: list[float] = []

    def read(self, net: Transformer) -> Reading:
        """The latency of a standalone model."""
        if self._timer is None or self.anchor_ms is None:
            total = measure(net, self.device.settings).total
            upper_ms = total.mean_ms + _NORMAL_95 * (total.standard_error_ms or 0.0)
            return Reading(total.mean_ms, upper_ms, total.mean_ms)
        timed = self._timer.time(net)
        self._slowdowns.append(timed.anchor_ms / self.anchor_ms)
        upper_ms = upper_bound(timed.ratios) * self.anchor_ms
        return Reading(timed.ratio * self.anchor_ms, upper_ms, timed.sample.total.mean_ms)

    def slowdown(self) -> float | None:
        """How many times as long as then this machine takes: the median so far; None where no anchor tells."""
        return round(statistics.median(self._slowdowns), 3) if self._slowdowns else None


def upper_bound(values: Sequence[float]) -> float:
    """What the median that ``values`` were drawn around is not above, with a confidence of 95 %.

    The smallest order statistic that is: whether a value is above the median is the toss of a coin, whatever the
    distribution. Of fewer than five values not even the largest is sure enough; it is taken nevertheless.
    """
    number, below = len(values), 0.0
    for rank, value in enumerate(sorted(values)):
        # The probability that at most ``rank`` of all values are below the median.
        below += math.comb(number, rank) / 2**number
        if below >= CONFIDENCE:
            return value
    return max(values)
