"""Choosing among what a search found by what is measured."""

import logging
from collections.abc import Callable, Sequence

from hat.errors import SearchError
from hat.latency.stopwatch import Reading
from hat.search.evolution import Candidate
from hat.space import Architecture

logger = logging.getLogger(__name__)


def best_within(
    ranking: Sequence[Candidate], read: Callable[[Architecture], Reading], limit_ms: float, most: int
) -> tuple[Candidate, Reading]:
    """The best candidate whose measured latency surely keeps the limit.

    Where a candidate turns out slower than predicted, all later predictions are raised by the same ratio, so that few
    measurements are wasted on its like.

    Args:
        ranking: what was found, best first, with predicted latencies.
        read: measures an architecture on the device.
        limit_ms: highest latency.
        most: how many candidates are measured before giving up.

    Raises:
        SearchError: if none of them surely keeps the limit.
    """
    ratio, tried = 1.0, 0
    for candidate in ranking:
        if candidate.latency_ms * ratio > limit_ms:
            continue
        reading = read(candidate.architecture)
        tried += 1
        logger.info(
            "measured %.2f ms, surely %.2f to %.2f ms (predicted %.2f ms), loss %.4f, %s", reading.latency_ms,
            reading.lower_ms, reading.upper_ms, candidate.latency_ms, candidate.score, candidate.architecture,
        )  # fmt: skip
        if reading.upper_ms <= limit_ms:
            return candidate, reading
        ratio = max(ratio, reading.latency_ms / candidate.latency_ms)
        if tried == most:
            break
    raise SearchError(
        f"none of the {tried} best candidates surely ran within {limit_ms:.4g} ms when measured here, up to "
        f"{ratio:.2f} times slower than predicted; is the machine busy? Measure a new data set, or lower the limit."
    )
