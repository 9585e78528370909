"""Searches: how they went on, what lies on the front of loss and latency, and what was found."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hat.artifacts import read_json
from hat.report.document import Block, Folded, Gallery, Note, Picture, Section, Table, Text
from hat.report.records import any_finite, number, plottable, read_lines, read_objects, section
from hat.report.runs import Run, of_kind, record
from hat.report.sizes import sizes_of
from hat.report.theme import chart, label, light, series_colour
from hat.report.wording import decimal, milliseconds, printable, whole
from hat.search.history import HISTORY_FILE
from hat.space import Architecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARCHITECTURE_FILE, PARETO_FILE, PARTIAL_FILE = "architecture.json", "pareto.json", "history.partial.jsonl"


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


def search_section(runs: Sequence[Run]) -> Section | None:
    """All searches of the report; None when there are none."""
    searches = of_kind(runs, "search")
    if not searches:
        return None
    blocks: list[Block] = [
        Note(f"Not finished: {run.name}; what it found comes at its end.") for run in searches if not run.finished
    ]
    found = {run: result for run in searches if (result := read_found(run)) is not None}
    pictures = convergence_pictures([curve for run in searches if (curve := read_convergence(run)) is not None])
    fronts = {run: front for run in searches if (front := read_front(run))}
    if any_finite(*([point.loss for point in front] for front in fronts.values())):
        pictures.append(_front_picture(fronts, found))
    if pictures:
        blocks.append(Gallery(tuple(pictures)))
    if found:
        blocks += [_found_table(found), _sizes_table(found), Text(_COUNTED)]
    blocks += [Section(run.name, (*_front_table(fronts.get(run, [])), *record(run))) for run in searches]
    return Section("Search", tuple(blocks))


_COUNTED = (
    "Parameters are all a standalone model holds, where the vocabulary is known; multiply-adds are those of one pass "
    "over a sentence pair of the lengths given, the projection to the vocabulary included where its size is known. "
    "Measured latencies are at the pace of the predictor's data set; the upper bound is what must keep the limit."
)


def read_found(run: Run) -> Found | None:
    """What a search found; None before its end. Raises DataError or ConfigError when the file is damaged."""
    path = run.path / ARCHITECTURE_FILE
    if not path.exists():
        return None
    values = read_json(path, "an architecture (JSON)")
    return Found(Architecture.from_dict(values, where=str(path)), section(values, "found", path), path)


def read_convergence(run: Run) -> Convergence | None:
    """The history of a search, or of its part so far; None when there is none. Raises DataError when it is damaged."""
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
        plottable([number(line, "sentences", path) for line in lines]),
    )


def read_front(run: Run) -> list[FrontPoint]:
    """The front of a search by rising latency; empty before its end. Raises DataError when the file is damaged."""
    path = run.path / PARETO_FILE
    if not path.exists():
        return []
    values = read_objects(path, "the front of a search")
    points = [
        FrontPoint(
            number(item, "predicted_ms", f"{path}, item {index}"),
            number(item, "validation_loss", f"{path}, item {index}"),
            Architecture.from_dict(item.get("architecture"), where=f"{path}, item {index}: architecture"),
        )
        for index, item in enumerate(values)
    ]
    return sorted(points, key=lambda point: plottable([point.predicted_ms])[0])


def convergence_pictures(curves: Sequence[Convergence]) -> list[Picture]:
    """Best and mean loss by generation, by candidates scored and, where searches count them, by sentences."""
    curves = [curve for curve in curves if any_finite(curve.best_loss, curve.mean_loss)]
    if not curves:
        return []
    ways = {"generation": "By generation", "candidates": "By candidates scored", "sentences": "By sentences scored"}
    pictures = []
    for way, title in ways.items():
        if way == "sentences" and not any_finite(*(curve.sentences for curve in curves)):
            continue
        description = f"Best and mean validation loss of {len(curves)} searches {title.lower()}."
        caption = "Lines: the best candidate; dotted: the mean of the population." if way == "generation" else ""

        def draw(axes: "Axes", way: str = way) -> None:
            draw_convergence(axes, curves, way)

        pictures.append(chart(f"search-{way}", title, description, draw, caption))
    return pictures


def draw_convergence(axes: "Axes", curves: Sequence[Convergence], way: str = "generation") -> None:
    """Draw how searches went on into ``axes``.

    Args:
        axes: where.
        curves: the searches.
        way: against what: ``generation``, ``candidates`` or ``sentences``.
    """
    for index, curve in enumerate(curves):
        generations = [float(generation) for generation in range(len(curve.best_loss))]
        x = {"generation": generations, "candidates": curve.candidates, "sentences": curve.sentences}[way]
        colour = series_colour(index)
        axes.plot(x, curve.best_loss, "o-", label=label(curve.name), color=colour, markersize=3.2)
        axes.plot(x, curve.mean_loss, ":", linewidth=1.2, color=colour)
    names = {"generation": "generation", "candidates": "candidates scored", "sentences": "sentence evaluations"}
    axes.set(xlabel=names[way], ylabel="validation loss (nats per token)")
    axes.legend()


def _front_picture(fronts: dict[Run, list[FrontPoint]], found: dict[Run, Found]) -> Picture:
    def draw(axes: "Axes") -> None:
        for index, (run, front) in enumerate(fronts.items()):
            colour = series_colour(index)
            points = plottable([point.predicted_ms for point in front]), plottable([point.loss for point in front])
            axes.plot(*points, "o-", markersize=3, linewidth=1, color=colour, label=label(run.name))
            if run in found:
                _draw_choice(axes, found[run], colour)
        axes.set(xlabel="latency (ms)", ylabel="validation loss (nats per token)")
        axes.legend()

    caption = (
        "Points: predicted latency of the networks that none beats in both. Star: the chosen one; diamond: its "
        "measured latency, with a line to the upper bound. Dashed: the limit."
    )
    description = f"Fronts of validation loss and predicted latency of {len(fronts)} searches, with limits and choices."
    return chart("pareto", "Loss and latency", description, draw, caption)


def _draw_choice(axes: "Axes", found: Found, colour: str) -> None:
    keys = "limit_ms", "predicted_ms", "measured_ms", "measured_upper_ms", "validation_loss"
    limit, predicted, measured, upper, loss = plottable([found.number(key) for key in keys])
    axes.axvline(limit, color=colour, linestyle="--", linewidth=1)
    axes.plot([measured, upper], [loss, loss], color=colour, linewidth=1.6)
    axes.plot([measured], [loss], "D", markersize=5.5, markerfacecolor=light("paper"), color=colour, zorder=4)
    axes.plot([predicted], [loss], "*", markersize=11, color=colour, zorder=5, markeredgecolor=light("paper"))


def _found_table(found: dict[Run, Found]) -> Table:
    columns = (
        "search", "found", "limit, ms", "predicted, ms", "measured, ms", "upper bound, ms", "validation loss",
        "candidates scored",
    )  # fmt: skip
    rows = []
    for run, result in found.items():
        measured_ms = result.number("measured_ms")
        rows.append(
            (
                run.name,
                str(result.architecture),
                milliseconds(result.number("limit_ms")),
                milliseconds(result.number("predicted_ms")),
                "predicted only" if measured_ms is None else milliseconds(measured_ms),
                milliseconds(result.number("measured_upper_ms")),
                decimal(result.number("validation_loss"), 4),
                whole(result.number("scored")),
            )
        )
    return Table(columns, tuple(rows), text_columns=2)


def _sizes_table(found: dict[Run, Found]) -> Table:
    columns = ("search", "found", "parameters", "without embeddings", "multiply-adds, millions", "tokens in, out")
    rows = []
    for run, result in found.items():
        size = sizes_of(run, result.architecture)
        rows.append(
            (
                run.name,
                str(result.architecture),
                whole(size.parameters),
                whole(size.without_embeddings),
                decimal(size.multiply_adds / 1e6, 1),
                f"{size.source_length}, {size.target_length}",
            )
        )
    return Table(columns, tuple(rows), text_columns=2)


def _front_table(front: Sequence[FrontPoint]) -> list[Block]:
    if not front:
        return []
    rows = tuple(
        (printable(point.architecture), milliseconds(point.predicted_ms), decimal(point.loss, 4)) for point in front
    )
    table = Table(("network", "predicted, ms", "validation loss"), rows)
    return [Folded(f"The front: {len(front)} networks that none beats in both loss and latency", (table,))]
