"""Searches: how they went on, what lies on the front of loss and latency, and what was found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hat.config import flatten
from hat.report.document import Block, Facts, Folded, Gallery, Note, Picture, Section, Table, Text
from hat.report.records import any_finite, plottable
from hat.report.runs import Run, record
from hat.report.search_run import Convergence, Found, SearchRun
from hat.report.sizes import sizes_of
from hat.report.theme import chart, label, light, series_colour
from hat.report.wording import LATENCIES, STATISTICS, decimal, milliseconds, printable, real, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def search_section(searches: Sequence[SearchRun]) -> Section | None:
    """All searches of the report; None when there are none."""
    if not searches:
        return None
    blocks: list[Block] = [
        Note(f"Not finished: {search.run.name}; what it found comes at its end.")
        for search in searches
        if not search.run.finished
    ]
    pictures = convergence_pictures([search.convergence for search in searches if search.convergence is not None])
    if any_finite(*([point.loss for point in search.front] for search in searches)):
        pictures.append(_front_picture(searches))
    if pictures:
        blocks.append(Gallery(tuple(pictures)))
    found = [(search.run, search.found) for search in searches if search.found is not None]
    if found:
        blocks += [_found_table(found), _sizes_table(found), Text(_COUNTED)]
    blocks += [Section(search.run.name, (*_folded(search), *record(search.run))) for search in searches]
    return Section("Search", tuple(blocks))


_COUNTED = (
    "Parameters are all a standalone model holds, where the vocabulary is known; multiply-adds are those of one pass "
    "over a sentence pair of the lengths given, the projection to the vocabulary included where its size is known. "
    "Measured latencies are at the pace of the predictor's data set; the upper bound is what must keep the limit."
)


def convergence_pictures(curves: Sequence[Convergence]) -> list[Picture]:
    """Best and mean loss by generation, by candidates scored and, where searches count them, by sentences."""
    curves = [curve for curve in curves if any_finite(curve.best_loss, curve.mean_loss)]
    if not curves:
        return []
    ways = {"generation": "By generation", "candidates": "By candidates scored", "sentences": "By sentence evaluations"}
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
        if not any_finite(x):
            continue  # does not count them
        colour = series_colour(index)
        axes.plot(x, curve.best_loss, "o-", label=label(curve.name), color=colour, markersize=3.2)
        axes.plot(x, curve.mean_loss, ":", linewidth=1.2, color=colour)
    names = {"generation": "generation", "candidates": "candidates scored", "sentences": "sentence evaluations"}
    axes.set(xlabel=names[way], ylabel="validation loss (nats per token)")
    axes.legend()


def _front_picture(searches: Sequence[SearchRun]) -> Picture:
    statistics = {search.statistic for search in searches if search.front}
    latency = " or ".join(LATENCIES[name] for name in sorted(statistics))

    def draw(axes: "Axes") -> None:
        for index, search in enumerate(searches):
            colour = series_colour(index)
            latencies = plottable([point.predicted_ms for point in search.front])
            losses = plottable([point.loss for point in search.front])
            name = search.run.name if len(statistics) == 1 else f"{search.run.name} ({search.statistic})"
            axes.plot(latencies, losses, "o-", markersize=3, linewidth=1, color=colour, label=label(name))
            if search.found is not None:
                _draw_choice(axes, search.found, colour)
        axes.set(xlabel=f"{latency} (ms)", ylabel="validation loss (nats per token)")
        axes.legend()

    caption = (
        "Points: predicted latency of the networks that none beats in both. Star: the chosen one; diamond: its "
        "measured latency, with a line to the upper bound. Dashed: the limit."
    )
    description = f"Fronts of validation loss and predicted {latency} of {len(searches)} searches, limits and choices."
    return chart("pareto", "Loss and latency", description, draw, caption)


def _draw_choice(axes: "Axes", found: Found, colour: str) -> None:
    keys = "limit_ms", "predicted_ms", "measured_ms", "measured_upper_ms", "validation_loss"
    limit, predicted, measured, upper, loss = plottable([found.number(key) for key in keys])
    axes.axvline(limit, color=colour, linestyle="--", linewidth=1)
    axes.plot([measured, upper], [loss, loss], color=colour, linewidth=1.6)
    axes.plot([measured], [loss], "D", markersize=5.5, markerfacecolor=light("paper"), color=colour, zorder=4)
    axes.plot([predicted], [loss], "*", markersize=11, color=colour, zorder=5, markeredgecolor=light("paper"))


def _found_table(found: Sequence[tuple[Run, Found]]) -> Table:
    columns = (
        "search", "found", "latency is the", "limit, ms", "predicted, ms", "measured, ms", "upper bound, ms",
        "validation loss", "candidates scored",
    )  # fmt: skip
    rows = []
    for run, result in found:
        measured_ms = result.number("measured_ms")
        rows.append(
            (
                run.name,
                str(result.architecture),
                STATISTICS[result.statistic],
                milliseconds(result.number("limit_ms")),
                milliseconds(result.number("predicted_ms")),
                "predicted only" if measured_ms is None else milliseconds(measured_ms),
                milliseconds(result.number("measured_upper_ms")),
                decimal(result.number("validation_loss"), 4),
                whole(result.number("scored")),
            )
        )
    return Table(columns, tuple(rows), text_columns=3)


def _sizes_table(found: Sequence[tuple[Run, Found]]) -> Table:
    columns = ("search", "found", "parameters", "without embeddings", "multiply-adds, millions", "tokens in, out")
    rows = []
    for run, result in found:
        size = sizes_of(run, result.architecture)
        rows.append(
            (
                run.name,
                str(result.architecture),
                whole(size.parameters),
                whole(size.without_embeddings),
                decimal(real(size.multiply_adds) / 1e6, 1),
                f"{size.source_length}, {size.target_length}",
            )
        )
    return Table(columns, tuple(rows), text_columns=2)


def _folded(search: SearchRun) -> list[Block]:
    """All that the files say, for who wants to know."""
    blocks: list[Block] = []
    if search.front:
        rows = tuple(
            (str(point.architecture), milliseconds(point.predicted_ms), decimal(point.loss, 4))
            for point in search.front
        )
        title = f"The front: {len(rows)} networks that none beats in both loss and {LATENCIES[search.statistic]}"
        blocks.append(Folded(title, (Table(("network", "predicted, ms", "validation loss"), rows),)))
    if search.found is not None and search.found.facts:
        facts = tuple((printable(name), printable(value)) for name, value in flatten(search.found.facts).items())
        blocks.append(Folded("What it says of the network it found", (Facts(facts),)))
    return blocks
