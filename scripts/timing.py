"""Timing trained models side by side."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from hat import Transformer
from hat.latency.measure import measure
from hat.latency.settings import LatencySettings


def latencies_ms(models: Sequence[Path], settings: LatencySettings, rounds: int = 5) -> list[float]:
    """Latencies of standalone models: the median of rounds that take them in turn, since machines change their pace.

    Args:
        models: their folders.
        settings: the call that is timed.
        rounds: how often each model is measured.
    """
    nets = [Transformer.from_pretrained(model) for model in models]
    measured = [[measure(net, settings).total.mean_ms for net in nets] for _ in range(rounds)]
    return [round(statistics.median(latencies), 2) for latencies in zip(*measured, strict=True)]
