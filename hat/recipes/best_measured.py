"""Searching until what is found keeps the limit when it is measured."""

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence

from hat.errors import InfeasibleError, SearchError
from hat.latency.stopwatch import Reading
from hat.search import Candidate
from hat.space import Architecture

logger = logging.getLogger(__name__)

Find = Callable[[Callable[[Architecture], float], Sequence[Candidate]], list[Candidate]]
"""Searches with a function for latencies, beginning with what is known already; returns what it found, best first."""


def search_and_measure(
    find: Find,
    predict_ms: Callable[[Architecture], float],
    read: Callable[[Architecture], Reading],
    limit_ms: float,
    most: int,
) -> tuple[Candidate, Reading]:
    """The best candidate that surely keeps the limit when it is measured.

    A search prefers networks whose latency is predicted too low. So when the best one is measured to be too slow, the
    predictions are corrected by what was measured so far, and the search goes on from what it knows.

    Args:
        find: searches; every candidate it returns is within the limit by the latencies it is given.
        predict_ms: predicted latency.
        read: measures an architecture on the device.
        limit_ms: highest latency.
        most: how many candidates are measured before giving up.

    Raises:
        SearchError: if none of them surely keeps the limit.
    """
    readings: dict[Architecture, Reading] = {}
    ratio = 1.0

    def corrected_ms(architecture: Architecture) -> float:
        known = readings.get(architecture)
        return predict_ms(architecture) * ratio if known is None else known.upper_ms

    ranking = find(corrected_ms, ())
    while len(readings) < most:
        best = ranking[0]
        reading = read(best.architecture)
        predicted_ms = predict_ms(best.architecture)
        logger.info(
            "measured %.2f ms, surely %.2f to %.2f ms (predicted %.2f ms), loss %.4f, %s", reading.latency_ms,
            reading.lower_ms, reading.upper_ms, predicted_ms, best.score, best.architecture,
        )  # fmt: skip
        if reading.upper_ms <= limit_ms:
            return best, reading
        readings[best.architecture] = reading
        ratio = _correction(readings, predict_ms, limit_ms)
        logger.info("that is too slow: the search goes on with predictions times %.3f", ratio)
        try:
            ranking = find(corrected_ms, ranking)
        except InfeasibleError:
            break
    raise SearchError(
        f"none of the {len(readings)} best candidates surely ran within {limit_ms:.4g} ms when measured here, nor may "
        f"others that take {ratio:.2f} times their prediction; is the machine busy? Measure a new data set, or raise "
        "the limit."
    )


def _correction(
    readings: Mapping[Architecture, Reading], predict_ms: Callable[[Architecture], float], limit_ms: float
) -> float:
    """What predictions are to be multiplied by after these networks were not surely within the limit.

    The median ratio of those that are surely too slow; of the others, by their upper bounds: even a right prediction,
    if it is just below the limit, is not surely below it when it is measured.
    """
    slow = [known.latency_ms / predict_ms(one) for one, known in readings.items() if known.lower_ms > limit_ms]
    unsure = [known.upper_ms / predict_ms(one) for one, known in readings.items() if known.lower_ms <= limit_ms]
    return max([1.0, *(statistics.median(ratios) for ratios in (slow, unsure) if ratios)])
