"""The file of all measurements of a data set, run by run, and what of them makes a row. No torch.

A machine's pace is not one number: for some minutes it may be the memory that is slow, for others the processor, and
networks differ in which of the two they wait for. So every architecture is measured in several *passes* over all of
them, minutes apart, and its runs count together.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hat.artifacts import read_text, timestamp
from hat.config import shorten
from hat.errors import ConfigError, DataError
from hat.latency.statistics import AnchoredSample, LatencySample, Timed, relative_median_error
from hat.space import Architecture

MEASUREMENTS_FILE = "measurements.jsonl"
_WHAT = "measurements of latencies (JSON lines)"
_NANOSECOND = 6  # decimals of a millisecond


@dataclass(frozen=True)
class Measurement:
    """The runs of one architecture in one pass."""

    architecture: Architecture
    number: int
    """Which pass, counted from 1."""
    runs: tuple[tuple[float, float], ...]
    """Of each run, the encoder's and the total milliseconds."""
    ratios: tuple[float, ...] | None
    """Turn by turn, the network's total time over that of the anchor; None without an anchor."""
    time: str
    """When it was over, UTC, as ISO 8601 has it."""

    @classmethod
    def now(
        cls,
        architecture: Architecture,
        number: int,
        runs: Iterable[tuple[float, float]],
        ratios: Iterable[float] | None,
    ) -> "Measurement":
        """One that is just over; times are rounded to the nanosecond that clocks count in."""
        rounded = tuple((round(encoder, _NANOSECOND), round(total, _NANOSECOND)) for encoder, total in runs)
        return cls(architecture, number, rounded, None if ratios is None else tuple(ratios), timestamp(time.time()))

    @cached_property
    def anchor_ms(self) -> float | None:
        """The anchor's time at the pace at which the network took its trimmed mean; None without an anchor."""
        return None if self.ratios is None else AnchoredSample(self.runs, self.ratios).anchor_ms

    def to_json(self) -> str:
        """One line."""
        values: dict[str, Any] = {"architecture": self.architecture.to_dict(), "pass": self.number, "time": self.time}
        values["encoder_ms"], values["total_ms"] = (list(times) for times in zip(*self.runs, strict=True))
        if self.ratios is not None:
            values["ratios"] = self.ratios
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str, where: str) -> "Measurement":
        """Read one line. Raises DataError naming ``where`` when it is damaged."""
        try:
            values = json.loads(line)
            runs = tuple(zip(values["encoder_ms"], values["total_ms"], strict=True))
            ratios = tuple(values["ratios"]) if "ratios" in values else None
            architecture = Architecture.from_dict(values["architecture"], where=where)
            number, ended = int(values["pass"]), str(values["time"])
            sound = runs and all(0 <= encoder <= total < math.inf and total > 0 for encoder, total in runs)
            sound = sound and (ratios is None or (ratios and all(0 < ratio < math.inf for ratio in ratios)))
        except ConfigError as error:
            raise DataError(str(error)) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise DataError(f"{where}: must be a measurement of an architecture, is {shorten(line)} (damaged?).")
        return cls(architecture, number, runs, ratios, ended)


class MeasurementFile:
    """All measurements in the order in which they were made, one JSON object a line, added as they come.

    All there is to know of a data set is in it, so that a run that is killed at any moment loses at most the
    measurement being made. A torn last line, which a power cut can leave, is removed.

    Args:
        path: the file; made when the first measurement is added.

    Raises:
        DataError: if a line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[Measurement] = []
        if not path.exists():
            return
        content = read_text(path, _WHAT)
        *lines, torn = content.split("\n")
        if torn:
            os.truncate(path, len(content.encode()) - len(torn.encode()))
        named = ((line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip())
        self.all = [Measurement.from_json(line, where) for line, where in named]

    def add(self, measurement: Measurement) -> None:
        """Add one; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(measurement.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.all.append(measurement)


def kept(measurements: Iterable[Measurement]) -> dict[tuple[Architecture, int], Measurement]:
    """By architecture and pass, of several measurements the one whose anchor is nearest to the median of all.

    In the order in which these were made. Without anchors, the first is kept.
    """
    measurements = list(measurements)
    anchors_ms = [one.anchor_ms for one in measurements]
    known_ms = [anchor_ms for anchor_ms in anchors_ms if anchor_ms is not None]
    median_ms = statistics.median(known_ms) if known_ms else 0.0
    best: dict[tuple[Architecture, int], tuple[float, int]] = {}
    for index, (one, anchor_ms) in enumerate(zip(measurements, anchors_ms, strict=True)):
        off = 0.0 if anchor_ms is None else abs(anchor_ms - median_ms)
        key = one.architecture, one.number
        best[key] = min(best.get(key, (math.inf, index)), (off, index))
    order = sorted(best.items(), key=lambda item: item[1][1])
    return {key: measurements[index] for key, (_, index) in order}


def together(passes: Sequence[Measurement]) -> Timed:
    """What the measurements of one architecture say together.

    Where there is an anchor, the runs of each pass count as they would have been at the pace of the middle one, and the
    median of all turns' ratios tells how long the network takes: a disturbance of one pass of three does not reach it.

    Args:
        passes: one or more, all with an anchor or none.
    """
    anchors_ms = [one.anchor_ms for one in passes if one.anchor_ms is not None]
    if not anchors_ms:
        sample = LatencySample.of_runs([run for one in passes for run in one.runs])
        return Timed(sample, relative_error=sample.relative_error)
    middle_ms = statistics.median(anchors_ms)
    factors = [middle_ms / anchor_ms for anchor_ms in anchors_ms]
    sample = LatencySample.of_runs(
        [
            (encoder_ms * factor, total_ms * factor)
            for one, factor in zip(passes, factors, strict=True)
            for encoder_ms, total_ms in one.runs
        ]
    )
    ratios = [ratio for one in passes for ratio in one.ratios or ()]
    return Timed(sample, sample.total.mean_ms / statistics.median(ratios), relative_median_error(ratios))


def by_architecture(
    chosen: Mapping[tuple[Architecture, int], Measurement],
) -> dict[Architecture, list[Measurement]]:
    """The kept measurements of each architecture, in order; those come last that were measured last."""
    passes: dict[Architecture, list[Measurement]] = {}
    for (architecture, _), one in chosen.items():
        passes[architecture] = [*passes.pop(architecture, []), one]
    return passes
