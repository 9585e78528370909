"""Filling a latency CSV: row by row, naming what cannot be measured, and anew where the machine's pace was another."""

import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from hat.errors import BackendError, ConfigError
from hat.latency.statistics import LatencySample, Timed
from hat.latency.writer import LatencyWriter, MeasuredRow
from hat.space import Architecture

logger = logging.getLogger(__name__)

MOST_RETAKES = 2
"""How often a row is measured anew before it is kept as it is."""
_LEAST_ROWS = 5  # the median of fewer says little about the common pace
_LINES = 20  # how many lines of progress a whole run prints where there is no terminal


Time = Callable[[Architecture], Timed]
"""Measures an architecture."""


@dataclass
class Collected:
    """What happened while a CSV was filled."""

    measured: int = 0
    """Architectures that were added."""
    retaken: int = 0
    """Measurements of rows that were there already."""
    off: int = 0
    """Rows that are still off the common pace."""
    failed: dict[Architecture, str] = field(default_factory=dict)
    """What could not be measured, and why."""
    errors: list[float] = field(default_factory=list)
    """Relative standard errors of all measurements, where they are known."""

    def add(self, timed: Timed) -> None:
        """Note how well a latency is known."""
        if timed.relative_error is not None:
            self.errors.append(timed.relative_error)


def fill(
    writer: LatencyWriter,
    architectures: Sequence[Architecture],
    measure: Time,
    anchor_tolerance: float | None,
    on_failure: Callable[[Architecture, str], None],
) -> Collected:
    """Measure what the file does not hold yet, then what it holds at another pace than the rest.

    Args:
        writer: of the file; all there is to know is in it, so that this can be stopped at any moment and begun again.
        architectures: what is to be measured, in this order.
        measure: measures one.
        anchor_tolerance: how far, as a part of the median, a row's anchor may be off; None leaves all rows as they are.
        on_failure: is told each architecture that cannot be measured, at once.

    Raises:
        ConfigError: if there is nothing that can be measured.
    """
    collected = Collected()
    done = set(writer.architectures())
    missing = [architecture for architecture in architectures if architecture not in done]
    if done:
        logger.info(
            "%s: %d of %d architectures are there already", writer.path, len(architectures) - len(missing),
            len(architectures),
        )  # fmt: skip

    def attempt(architecture: Architecture) -> Timed | None:
        try:
            return measure(architecture)
        except BackendError as error:
            logger.warning("%s cannot be measured: %s", architecture, error)
            collected.failed[architecture] = str(error)
            on_failure(architecture, str(error))
            return None

    with _Progress(len(architectures), len(missing)) as progress:
        for architecture in missing:
            timed = attempt(architecture)
            if timed is not None:
                writer.append(architecture, timed)
                collected.measured += 1
                collected.add(timed)
            progress.show(architecture, None if timed is None else timed.sample)
    if not writer.architectures():
        *_, reason = collected.failed.values()
        raise ConfigError(f"settings: none of the {len(collected.failed)} architectures can be measured: {reason}")
    while again := [row for row in off_pace(writer.rows(), anchor_tolerance) if row.retakes < MOST_RETAKES]:
        logger.info("measured at another pace than the rest, so measured anew: %d rows", len(again))
        with _Progress(len(again), len(again)) as progress:
            for row in again:
                timed = _retake(writer, row, measure)
                collected.retaken += 1
                if timed is not None:
                    collected.add(timed)
                progress.show(row.architecture, None if timed is None else timed.sample)
    collected.off = len(off_pace(writer.rows(), anchor_tolerance))
    return collected


def off_pace(rows: Sequence[MeasuredRow], tolerance: float | None) -> list[MeasuredRow]:
    """The rows whose anchor took more or less time than the median of all by more than this part of it."""
    anchors_ms = [row.anchor_ms for row in rows if row.anchor_ms is not None]
    if tolerance is None or len(anchors_ms) < _LEAST_ROWS:
        return []
    median_ms = statistics.median(anchors_ms)
    return [row for row in rows if row.anchor_ms is not None and abs(row.anchor_ms / median_ms - 1) > tolerance]


def _retake(writer: LatencyWriter, row: MeasuredRow, measure: Time) -> Timed | None:
    """Measure a row anew; of both measurements the one stays whose anchor is nearer to the median of all."""
    try:
        timed = measure(row.architecture)
    except BackendError as error:
        logger.warning("%s cannot be measured anew: %s", row.architecture, error)
        writer.count_retake(row)
        return None
    assert timed.anchor_ms is not None and row.anchor_ms is not None, "rows without an anchor have no pace"
    median_ms = statistics.median(known.anchor_ms for known in writer.rows() if known.anchor_ms is not None)
    if abs(timed.anchor_ms - median_ms) < abs(row.anchor_ms - median_ms):
        writer.retake(row, timed)
    else:
        writer.count_retake(row)
    return timed


def short(sample: LatencySample) -> str:
    """The sample in a few words."""
    return f"{sample.total.mean_ms:.4g} ms (encoder {sample.encoder.mean_ms:.3g})"


class _Progress:
    """A bar on a terminal, some lines elsewhere."""

    def __init__(self, total: int, missing: int) -> None:
        self.total, self.missing = total, missing
        self.shown, self.started = 0, time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=total - missing, unit="architecture", disable=not self.on_terminal)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def show(self, architecture: Architecture, sample: LatencySample | None) -> None:
        """One more is done; ``sample`` is None where it failed."""
        self.shown += 1
        told = "failed" if sample is None else short(sample)
        self.bar.update()
        self.bar.set_postfix_str(told)
        number = self.total - self.missing + self.shown
        if not self.on_terminal and (number % max(1, self.total // _LINES) == 0 or self.shown == self.missing):
            left = (time.monotonic() - self.started) / self.shown * (self.missing - self.shown)
            logger.info("%d/%d | %s | %s | %.0f s left", number, self.total, architecture, told, left)
