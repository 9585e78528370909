"""Timing networks at the pace of a predictor's data set."""

import statistics
from collections.abc import Sequence

from hat import Transformer
from hat.latency.predictor import LatencyPredictor
from hat.latency.stopwatch import Stopwatch


def latencies_ms(nets: Sequence[Transformer], predictor: LatencyPredictor, rounds: int = 5) -> list[float]:
    """Latencies of standalone models: the median of rounds that take them in turn.

    Args:
        nets: the models.
        predictor: whose data set was measured on this machine.
        rounds: how often each model is measured.
    """
    assert predictor.device is not None, "its data set was measured here"
    stopwatch = Stopwatch(predictor.device, predictor.anchor_ms)
    measured = [[stopwatch.read(net).latency_ms for net in nets] for _ in range(rounds)]
    return [round(statistics.median(latencies), 2) for latencies in zip(*measured, strict=True)]
