"""What hat-search leaves, read for a report."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hat.artifacts import read_json
from hat.config import shorten
from hat.errors import DataError
from hat.report.records import number, plottable, read_lines, read_objects, section
from hat.report.runs import Run, of_kind
from hat.report.wording import STATISTICS, milliseconds
from hat.search.history import HISTORY_FILE, PARETO_FILE, PARTIAL_FILE
from hat.space import Architecture

ARCHITECTURE_FILE = "architecture.json"


@dataclass(frozen=True)
class Convergence:
    """How one search went on, generation by generation."""

    name: str
    best_loss: list[float]
    """Nats per token; of the best candidate of the generation."""
    mean_loss: list[float]
    """Over the population."""
    candidates: list[float]
    """How many candidates had been scored by then."""
    sentences: list[float]
    """How many sentences they had been scored on, all together; NaN where the search does not say."""


@dataclass(frozen=True)
class FrontPoint:
    """A network that no scored one beats in both loss and latency."""

    predicted_ms: float | None
    loss: float | None
    architecture: Architecture


@dataclass(frozen=True)
class Found:
    """What a search gave."""

    architecture: Architecture
    facts: dict[str, Any]
    """The object ``found`` of ``architecture.json``."""
    where: Path

    def number(self, key: str) -> float | None:
        """One of its numbers; None where it is missing or null. Raises DataError if it is something else."""
        return number(self.facts, key, f"{self.where}: found")

    @property
    def statistic(self) -> str:
        """What of many runs limit and latencies are about, a key of ``STATISTICS``. Raises DataError if it is none."""
        value = self.facts.get("statistic", "mean")  # earlier versions knew no other
        if not isinstance(value, str) or value not in STATISTICS:
            raise DataError(
                f"{self.where}: found: statistic must be one of: {', '.join(STATISTICS)}; is {shorten(value)}."
            )
        return value

    @property
    def limit(self) -> str:
        """The limit in words; empty where it has none."""
        limit_ms = self.number("limit_ms")
        of = "" if self.statistic == "mean" else f"{self.statistic} "
        return "" if limit_ms is None else f"{of}limit {milliseconds(limit_ms)} ms"


@dataclass(frozen=True)
class SearchRun:
    """One search."""

    run: Run
    convergence: Convergence | None
    """None before its first generation."""
    found: Found | None
    """None before its end."""
    front: tuple[FrontPoint, ...]
    """By rising latency; empty before its end."""

    @property
    def statistic(self) -> str:
        """What of many runs its latencies are, a key of ``STATISTICS``."""
        return "mean" if self.found is None else self.found.statistic


def read_searches(runs: Sequence[Run]) -> list[SearchRun]:
    """All searches of the report. Raises DataError or ConfigError when a file is damaged."""
    return [SearchRun(run, _convergence(run), _found(run), _front(run)) for run in of_kind(runs, "search")]


def _found(run: Run) -> Found | None:
    """What a search found; None before its end."""
    path = run.path / ARCHITECTURE_FILE
    if not path.exists():
        return None
    values = read_json(path, "an architecture (JSON)")
    return Found(Architecture.from_dict(values, where=str(path)), section(values, "found", path), path)


def _convergence(run: Run) -> Convergence | None:
    """The history of a search, or of its part so far; None when there is none."""
    path = next((run.path / name for name in (HISTORY_FILE, PARTIAL_FILE) if (run.path / name).exists()), None)
    if path is None:
        return None
    lines = read_lines(path, "the history of a search (one JSON object a line)")
    algorithm = run.config.get("algorithm")
    scored = [number(line, "newly_scored", path) or 0 for line in lines]
    return Convergence(
        f"{run.name} ({algorithm})" if isinstance(algorithm, str) else run.name,
        plottable([number(line, "best_loss", path) for line in lines]),
        plottable([number(line, "mean_loss", path) for line in lines]),
        list(itertools.accumulate(scored)),
        plottable([number(line, "sentence_evaluations", path) for line in lines]),
    )


def _front(run: Run) -> tuple[FrontPoint, ...]:
    """The front of a search by rising latency; empty before its end."""
    path = run.path / PARETO_FILE
    if not path.exists():
        return ()
    values = read_objects(path, "the front of a search")
    points = [
        FrontPoint(
            number(item, "predicted_ms", f"{path}, item {index}"),
            number(item, "validation_loss", f"{path}, item {index}"),
            Architecture.from_dict(item.get("architecture"), where=f"{path}, item {index}: architecture"),
        )
        for index, item in enumerate(values)
    ]
    return tuple(sorted(points, key=lambda point: plottable([point.predicted_ms])[0]))
