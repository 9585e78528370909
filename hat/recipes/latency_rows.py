"""Filling a latency data set: pass by pass, naming what cannot be measured, and anew where the pace was another."""

import logging
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from hat.errors import BackendError, ConfigError
from hat.latency.measurements import Measurement, MeasurementFile, by_architecture, kept, together
from hat.latency.statistics import LatencySample
from hat.latency.writer import MeasuredRow, write_latencies
from hat.space import Architecture

logger = logging.getLogger(__name__)

MOST_RETAKES = 2
"""How often a measurement is made anew before it is kept as it is."""
_LEAST_MEASUREMENTS = 5  # the median of fewer says little about the common pace
_LINES = 20  # how many lines of progress a whole run prints where there is no terminal
_WRITE_EVERY_S = 30.0  # how often the CSV is brought up to date, at most; nothing is lost meanwhile
_WRITE_SHARE = 0.05  # of the time, which a large data set takes long to write in


Time = Callable[[Architecture, int], Measurement]
"""Measures an architecture in a pass of this number."""


@dataclass
class Collected:
    """What happened while a data set was filled."""

    measured: set[Architecture] = field(default_factory=set)
    """What was measured, not counting what was measured anew."""
    retaken: int = 0
    """Measurements that were made anew."""
    off: int = 0
    """Measurements that are still off the common pace."""
    failed: dict[Architecture, str] = field(default_factory=dict)
    """What could not be measured, and why."""


class Filling:
    """Measures what a data set lacks.

    Args:
        path: of its CSV, which is made of ``file`` anew, every half a minute at most.
        file: all that was measured; so this can be stopped at any moment and begun again.
        measure: measures an architecture.
        anchored: whether an anchor is timed beside it.
        on_failure: is told each architecture that cannot be measured, at once.
    """

    def __init__(
        self,
        path: Path,
        file: MeasurementFile,
        measure: Time,
        anchored: bool,
        on_failure: Callable[[Architecture, str], None],
    ) -> None:
        self.collected = Collected()
        self._path, self._file = path, file
        self._measure, self._on_failure = measure, on_failure
        self._anchored = anchored
        self._next_write = time.monotonic() + _WRITE_EVERY_S

    def fill(self, architectures: Sequence[Architecture], passes: int, anchor_tolerance: float | None) -> None:
        """Measure what was not measured yet, then what was measured at another pace than the rest.

        Args:
            architectures: what is to be measured, in this order, in each pass.
            passes: how many times.
            anchor_tolerance: how far, as a part of the median, an anchor may be off; None leaves all as they are.

        Raises:
            ConfigError: if there is nothing that can be measured.
        """
        done = {(one.architecture, one.number) for one in self._file.all}
        every = [(architecture, number + 1) for number in range(passes) for architecture in architectures]
        missing = [key for key in every if key not in done]
        if done:
            logger.info("%s: %d of %d measurements are there already", self._file.path, len(done), len(every))
        try:
            self._run(missing, len(every))
            if not self._file.all:
                *_, reason = self.collected.failed.values()
                raise ConfigError(
                    f"settings: none of the {len(self.collected.failed)} architectures can be measured: {reason}"
                )
            while again := self._to_be_made_anew(anchor_tolerance):
                logger.info("made at another pace than the rest, so made anew: %d measurements", len(again))
                self._run(again, len(again), anew=True)
        finally:
            if self._file.all:
                self._write()
        self.collected.off = len(off_pace(self._file.all, anchor_tolerance))

    def _to_be_made_anew(self, tolerance: float | None) -> list[tuple[Architecture, int]]:
        off = off_pace(self._file.all, tolerance)
        return [key for key, tries in off if tries <= MOST_RETAKES and key[0] not in self.collected.failed]

    def _run(self, keys: Sequence[tuple[Architecture, int]], total: int, anew: bool = False) -> None:
        """Make these measurements, of ``total``."""
        with _Progress(total, len(keys)) as progress:
            for architecture, number in keys:
                measurement = self._attempt(architecture, number)
                if measurement is not None:
                    self._file.add(measurement)
                    if anew:
                        self.collected.retaken += 1
                    else:
                        self.collected.measured.add(architecture)
                progress.show(architecture, measurement)
                if time.monotonic() > self._next_write:
                    self._write()

    def _write(self) -> None:
        """Make the CSV of all that was measured."""
        began = time.monotonic()
        write_latencies(self._path, measured_rows(self._file.all), self._anchored)
        ended = time.monotonic()
        self._next_write = ended + max(_WRITE_EVERY_S, (ended - began) / _WRITE_SHARE)

    def _attempt(self, architecture: Architecture, number: int) -> Measurement | None:
        if architecture in self.collected.failed:
            return None
        try:
            return self._measure(architecture, number)
        except BackendError as error:
            logger.warning("%s cannot be measured: %s", architecture, error)
            self.collected.failed[architecture] = str(error)
            self._on_failure(architecture, str(error))
            return None


def measured_rows(measurements: Sequence[Measurement]) -> list[MeasuredRow]:
    """What was measured, a row an architecture; those come last that were measured last."""
    tries = Counter(one.architecture for one in measurements)
    return [
        MeasuredRow(architecture, together(passes), tries[architecture] - len(passes), passes[-1].time)
        for architecture, passes in by_architecture(kept(measurements)).items()
    ]


def off_pace(
    measurements: Sequence[Measurement], tolerance: float | None
) -> list[tuple[tuple[Architecture, int], int]]:
    """What was measured at another pace, by architecture and pass, and how often it was measured.

    That is where the anchor took more or less time than the median of all by more than this part of it.
    """
    chosen = kept(measurements)
    anchors_ms = {key: one.anchor_ms for key, one in chosen.items() if one.anchor_ms is not None}
    if tolerance is None or len(anchors_ms) < _LEAST_MEASUREMENTS:
        return []
    median_ms = statistics.median(anchors_ms.values())
    tries = Counter((one.architecture, one.number) for one in measurements)
    return [(key, tries[key]) for key, ms in anchors_ms.items() if abs(ms / median_ms - 1) > tolerance]


def short(sample: LatencySample) -> str:
    """The sample in a few words."""
    return f"{sample.total.mean_ms:.4g} ms (encoder {sample.encoder.mean_ms:.3g})"


class _Progress:
    """A bar on a terminal, some lines elsewhere."""

    def __init__(self, total: int, missing: int) -> None:
        self.total, self.missing = total, missing
        self.shown, self.started = 0, time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=total - missing, unit="measurement", disable=not self.on_terminal)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def show(self, architecture: Architecture, measurement: Measurement | None) -> None:
        """One more is done; ``measurement`` is None where it failed."""
        self.shown += 1
        told = "failed" if measurement is None else short(LatencySample.of_runs(measurement.runs))
        self.bar.update()
        self.bar.set_postfix_str(told)
        number = self.total - self.missing + self.shown
        if not self.on_terminal and (number % max(1, self.total // _LINES) == 0 or self.shown == self.missing):
            left = (time.monotonic() - self.started) / self.shown * (self.missing - self.shown)
            logger.info("%d/%d | %s | %s | %.0f s left", number, self.total, architecture, told, left)
