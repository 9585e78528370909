"""Measuring a latency again, later, so that it can be compared with those that were measured before."""

import statistics

from hat.latency.measure import measure, measure_beside, random_model
from hat.latency.settings import DeviceRecord
from hat.nn import Transformer


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
        self.anchor = None if device.anchor is None else random_model(device.anchor, device.settings)
        self.slowdowns: list[float] = []
        """How many times as long as then the anchor took, each time."""

    def latency_ms(self, net: Transformer) -> float:
        """Mean total latency of a standalone model."""
        if self.anchor is None or self.anchor_ms is None:
            return measure(net, self.device.settings).total.mean_ms
        sample, beside = measure_beside(net, self.anchor, self.device.settings)
        slowdown = beside.mean_ms / self.anchor_ms
        self.slowdowns.append(slowdown)
        return sample.total.mean_ms / slowdown

    def slowdown(self) -> float | None:
        """How many times as long as then this machine took: the median so far; None where no anchor tells."""
        return round(statistics.median(self.slowdowns), 3) if self.slowdowns else None
