"""Searching until what is found keeps the limit when it is measured."""

import logging
import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hat.artifacts import machine_name
from hat.config import shorten
from hat.errors import BackendError, ConfigError, InfeasibleError, SearchError
from hat.latency.device import describe, is_here
from hat.latency.predictor import LatencyPredictor
from hat.latency.settings import DEVICE_FORMAT, DeviceRecord
from hat.latency.stopwatch import CONFIDENCE, Reading, Stopwatch
from hat.search import Candidate
from hat.space import Architecture

logger = logging.getLogger(__name__)

_OTHER_PACE = 0.1  # of the predictor's pace: farther from it, the user is told
_STEP = 1.05  # a bound counts up to so many times its reading, to the power of how many are not surely on a side
_FASTER = 0.05  # part by which a network may be faster than corrected predictions say; then searches give up

Find = Callable[[Callable[[Architecture], float], Sequence[Candidate]], list[Candidate]]
"""Searches with a function for latencies, beginning with what is known already; returns what it found, best first."""


def search_and_measure(
    find: Find,
    predict_ms: Callable[[Architecture], float],
    read: Callable[[Architecture, float], Reading],
    limit_ms: float,
    most: int,
) -> tuple[Candidate, Reading]:
    """The best candidate that surely keeps the limit when it is measured.

    A search prefers networks whose latency is predicted too low. So when the best one is measured to be too slow, the
    predictions are corrected by what was measured so far, and the search goes on from what it knows. Where that leaves
    nothing, networks that are a little over the limit are measured, too: each has an error of its own.

    Args:
        find: searches; every candidate it returns is within the limit by the latencies it is given.
        predict_ms: predicted latency.
        read: measures an architecture on the device, with bounds of this confidence.
        limit_ms: highest latency.
        most: how many candidates are measured before giving up.

    A network that the device cannot run at all, such as one that its backend fails on, is told of and passed over.

    Raises:
        SearchError: if none of them surely keeps the limit.
    """
    readings: dict[Architecture, Reading] = {}
    failed: set[Architecture] = set()
    ratio, faster = 1.0, 0.0

    def corrected_ms(architecture: Architecture) -> float:
        if architecture in failed:
            return math.inf
        known = readings.get(architecture)
        return predict_ms(architecture) * max(1.0, ratio * (1 - faster)) if known is None else known.upper_ms

    def find_more(known: Sequence[Candidate]) -> list[Candidate]:
        nonlocal faster
        try:
            return find(corrected_ms, known)
        except InfeasibleError:
            if faster:
                return []
            faster = _FASTER
            return find_more(known)

    ranking = find(corrected_ms, ())
    for left in reversed(range(most)):
        if not ranking:
            break
        best = ranking[0]
        try:
            reading = read(best.architecture, confidence_of(len(readings) + 1))
        except BackendError as error:
            logger.warning("%s cannot be measured: %s", best.architecture, error)
            failed.add(best.architecture)
        else:
            _tell(best, reading, predict_ms(best.architecture))
            if reading.upper_ms <= limit_ms:
                return best, reading
            readings[best.architecture] = reading
            ratio = _correction(readings, predict_ms, limit_ms)
            logger.info("not surely within the limit: predictions are now taken %.3f times", ratio)
        ranking = find_more(ranking) if left else ranking
    raise SearchError(_why_none(readings, failed, predict_ms, limit_ms, all_looked_at=not ranking))


def confidence_of(number: int) -> float:
    """How sure it must be that a network keeps the limit, the first that a search measures or one of a higher number.

    Each may pass though it is too slow: with a chance of α/2, α/6, α/12, …, α = 1 - ``CONFIDENCE``. These add up to α,
    however many are measured, so that is how often at most a search returns one that is too slow.
    """
    return 1 - (1 - CONFIDENCE) / (number * (number + 1))


def _why_none(
    readings: Mapping[Architecture, Reading],
    failed: Collection[Architecture],
    predict_ms: Callable[[Architecture], float],
    limit_ms: float,
    all_looked_at: bool,
) -> str:
    if not readings:
        return (
            f"no candidate could be measured here ({len(failed)} failed, see above); choose another backend or device, "
            "or set measure: false for a predicted latency only."
        )
    taken = statistics.median(known.latency_ms / predict_ms(one) for one, known in readings.items())
    bound = statistics.median(known.upper_ms / predict_ms(one) for one, known in readings.items())
    surely = f", surely at most {bound:.2f} times" if math.isfinite(bound) else ""
    fastest, reading = min(readings.items(), key=lambda item: item[1].latency_ms)
    slowdowns = [known.slowdown for known in readings.values() if known.slowdown is not None]
    pace = f"; the anchor took {statistics.median(slowdowns):.2f} times its time in the data set" if slowdowns else ""
    others = ", and others hardly take less" if all_looked_at else ""
    return (
        f"none of the best candidates ({len(readings)} measured, {len(failed)} failed) surely runs within "
        f"{limit_ms:.4g} ms here: they took {taken:.2f} times their prediction{surely}, the fastest "
        f"{reading.latency_ms:.4g} ms ({fastest}){others}{pace}. Is the machine busy? Measure a new data set, or raise "
        f"the limit{'' if all_looked_at else ' or measured_candidates'}."
    )


def _tell(candidate: Candidate, reading: Reading, predicted_ms: float) -> None:
    logger.info(
        "measured %.2f ms, surely %.2f to %.2f ms (predicted %.2f ms), loss %.4f, %s", reading.latency_ms,
        reading.lower_ms, reading.upper_ms, predicted_ms, candidate.score, candidate.architecture,
    )  # fmt: skip


def _correction(
    readings: Mapping[Architecture, Reading], predict_ms: Callable[[Architecture], float], limit_ms: float
) -> float:
    """What predictions are to be multiplied by after these networks were not surely within the limit.

    The median ratio of those that are surely too slow; of the others, by their upper bounds: even a right prediction,
    if it is just below the limit, is not surely below it when it is measured. But a bound may be far off because the
    machine was restless for some seconds, so it counts by a step above the reading only, for every such reading.
    """
    slow = [known.latency_ms / predict_ms(one) for one, known in readings.items() if known.lower_ms > limit_ms]
    near = {one: known for one, known in readings.items() if known.lower_ms <= limit_ms}
    most = _STEP ** len(near)
    unsure = [min(known.upper_ms, known.latency_ms * most) / predict_ms(one) for one, known in near.items()]
    return max([1.0, *(statistics.median(ratios) for ratios in (slow, unsure) if ratios)])


def stopwatch_for(predictor: LatencyPredictor, folder: Path) -> Stopwatch | None:
    """What measures as the predictor's data set was measured; None where that was on another machine.

    On the same machine with other software (a hat that decoded otherwise, too), or set up otherwise, the anchor's time
    does not tell the data set's pace: what is measured is then taken by the clock.

    Args:
        predictor: whose latencies are to be compared with.
        folder: its folder, for errors.

    Raises:
        ConfigError: if nothing can be measured here as it was there.
    """
    if predictor.device is None:
        raise ConfigError(
            f"{folder}: does not say how its latencies were measured, so they cannot be measured again; "
            "set measure: false for a predicted latency only."
        )
    if not is_here(predictor.device):
        logger.warning(
            "the predictor knows another machine (%s) than this one (%s): the latency of what is found is predicted, "
            "not measured", device_name(predictor.device), machine_name(),
        )  # fmt: skip
        return None
    earlier = predictor.device.format != DEVICE_FORMAT
    try:
        here = describe(predictor.device.settings, predictor.device.anchor)
        changed = predictor.device.difference(here)
        stopwatch = Stopwatch(here, None if changed or earlier else predictor.pace, predictor.statistic)
    except ConfigError as error:
        raise ConfigError(
            f"{folder}: its latencies cannot be measured here ({error}); set measure: false for a predicted "
            "latency only."
        ) from None
    if earlier:
        logger.warning(
            "%s: its latencies were measured by an earlier version, which decoded otherwise: what is found must keep "
            "the limit by the clock; measure a new data set",
            folder,
        )
    if changed:
        key, before, now = changed
        logger.warning(
            "%s: was measured with %s %s, here it is %s: what is found must keep the limit by the clock; measure a new "
            "data set", folder, key, shorten(before), shorten(now),
        )  # fmt: skip
    return stopwatch


def device_name(device: DeviceRecord) -> str:
    """What was timed: the GPU, or the processor."""
    return device.gpu or device.machine


def measured_facts(reading: Reading, limit_ms: float) -> dict[str, Any]:
    """What ``found`` says of the measurement; warns where the machine's pace is another than the predictor's."""
    kept = "keeps" if reading.now_ms <= limit_ms else "does not keep"
    if reading.slowdown is not None and (abs(reading.slowdown - 1) > _OTHER_PACE or reading.now_ms > limit_ms):
        logger.warning(
            "this machine now takes %.2f times as long as when the predictor's data were measured; the latency is "
            "given as it was then. Now it is %.4g ms, which %s the limit.", reading.slowdown, reading.now_ms, kept,
        )  # fmt: skip
    return {
        "latency_is": "measured",
        "measured_ms": round(reading.latency_ms, 3),
        "measured_upper_ms": round(reading.upper_ms, 3),
        "measured_now_ms": round(reading.now_ms, 3),
        "slowdown": None if reading.slowdown is None else round(reading.slowdown, 3),
    }


def predicted_facts(predictor: LatencyPredictor, architecture: Architecture) -> dict[str, Any]:
    """What ``found`` says of a latency that is not measured; the log says it, too."""
    prediction = predictor.predict(architecture)
    if prediction.high_ms is None:
        upper = "there were too few measurements to tell how far that can be trusted"
    else:
        upper = f"nine in ten such networks take at most {prediction.high_ms:.4g} ms"
    logger.info("the latency is predicted only: %.4g ms, %s", prediction.latency_ms, upper)
    if prediction.extrapolates:
        logger.warning("what was found is unlike all that was measured: its latency is extrapolated")
    return {
        "device": predictor.device and device_name(predictor.device),
        "latency_is": "predicted only",
        "predicted_upper_ms": None if prediction.high_ms is None else round(prediction.high_ms, 3),
    }
