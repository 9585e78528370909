"""What trained models are worth: BLEU on their test sets, and at which latency."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hat.report.document import Block, Gallery, Note, Picture, Section, Table, Text
from hat.report.evaluation_run import FOUND, MEASURED, PREDICTED, Evaluation
from hat.report.records import any_finite, number, plottable
from hat.report.runs import Run, of_kind, record
from hat.report.search_run import SearchRun
from hat.report.theme import chart, label, light, series_colour
from hat.report.wording import NONE, decimal, milliseconds, printable, whole
from hat.space import Architecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL_SIZE = 7.5  # points
_MARKERS = {MEASURED: "o", FOUND: "D", PREDICTED: "s"}


@dataclass(frozen=True)
class Point:
    """A trained model in the picture of quality and latency."""

    name: str
    latency_ms: float
    bleu: float
    source: str = MEASURED
    """Where the latency is from: ``MEASURED``, ``FOUND`` or ``PREDICTED``."""


def evaluation_section(
    runs: Sequence[Run], evaluations: Sequence[Evaluation], searches: Sequence[SearchRun]
) -> Section | None:
    """All evaluations of the report; None when there are none."""
    evaluated = of_kind(runs, "evaluation")
    if not evaluated:
        return None
    blocks: list[Block] = [Note(f"Not finished: {run.name}.") for run in evaluated if not run.finished]
    pictures = _pictures(evaluations, searches)
    if pictures:
        blocks.append(Gallery(tuple(pictures)))
    blocks += _tables(evaluations)
    blocks += [block for run in evaluated for block in record(run, f"{run.name}: how it was run")]
    return Section("Quality of the trained models", tuple(blocks))


def draw_quality(axes: "Axes", points: Sequence[Point], limits_ms: Mapping[str, float]) -> None:
    """Draw BLEU at latency into ``axes``.

    Args:
        axes: where.
        points: the models.
        limits_ms: limits to be marked, by name.
    """
    for index, (name, limit_ms) in enumerate(limits_ms.items()):
        axes.axvline(limit_ms, color=series_colour(index), linestyle="--", linewidth=1.1, label=label(name))
    axes.margins(x=0.25, y=0.2)
    for point in points:
        face = light("paper") if point.source == PREDICTED else light("ink")
        axes.plot(
            [point.latency_ms], [point.bleu], _MARKERS[point.source], color=light("ink"), markerfacecolor=face,
            markersize=5.5, zorder=3,
        )  # fmt: skip
    for point, above in zip(points, _label_heights(axes, points), strict=True):
        axes.annotate(
            label(point.name), (point.latency_ms, point.bleu), (0, above), textcoords="offset points",
            ha="center", va="center", fontsize=_LABEL_SIZE,
        )  # fmt: skip
    axes.set(xlabel="latency (ms)", ylabel="BLEU (tokenised)")
    if limits_ms:
        axes.legend(loc="best")


def _label_heights(axes: "Axes", points: Sequence[Point]) -> list[float]:
    """How far above its point every name goes, in points, so that they do not write over each other or over points."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width, height = (72 * pixels / axes.figure.dpi for pixels in (axes.bbox.width, axes.bbox.height))
    places = [
        (width * (point.latency_ms - left) / (right - left), height * (point.bleu - bottom) / (top - bottom))
        for point in points
    ]
    taken = [(x, y, _LABEL_SIZE, _LABEL_SIZE) for x, y in places]  # middle, width and height
    heights = [0.0] * len(points)
    for index in sorted(range(len(points)), key=lambda one: -places[one][1]):  # from above, where there is more room
        (x, y), wide = places[index], 0.55 * _LABEL_SIZE * len(label(points[index].name))

        def collisions(above: float, x: float = x, y: float = y, wide: float = wide) -> int:
            return sum(
                abs(x - other_x) < (wide + other_wide) / 2 and abs(y + above - other_y) < (_LABEL_SIZE + high) / 2
                for other_x, other_y, other_wide, high in taken
            )

        heights[index] = min((10.0, -10.0, 19.0, -19.0), key=collisions)
        taken.append((x, y + heights[index], wide, _LABEL_SIZE))
    return heights


def _pictures(evaluations: Sequence[Evaluation], searches: Sequence[SearchRun]) -> list[Picture]:
    """One for every test set."""
    pictures = []
    for number_of_set, test_set in enumerate(dict.fromkeys(one.test_set for one in evaluations), 1):
        points, drawn = [], set()
        for one in evaluations:
            latency_ms, bleu = plottable([one.latency_ms, one.bleu("tokenized")])
            if one.test_set == test_set and any_finite([latency_ms]) and any_finite([bleu]):
                points.append(Point(one.name, latency_ms, bleu, one.latency_source))
                drawn.add(one.architecture)
        if points:
            limits_ms = _limits_ms(searches, drawn)
            pictures.append(_quality_picture(f"quality-{number_of_set}", test_set, points, limits_ms))
    return pictures


def _limits_ms(searches: Sequence[SearchRun], drawn: Set[Architecture | None]) -> dict[str, float]:
    """The limits on the mean of the searches that found one of the networks that are drawn, by name."""
    limits_ms = {}
    for search in searches:
        found = search.found
        if found is None or found.architecture not in drawn or found.statistic != "mean":
            continue
        limit_ms = found.number("limit_ms")
        if limit_ms is not None and any_finite([limit_ms]):
            limits_ms[found.limit] = limit_ms
    return limits_ms


def _quality_picture(name: str, test_set: str, points: Sequence[Point], limits_ms: Mapping[str, float]) -> Picture:
    shapes = {MEASURED: "circle", FOUND: "diamond", PREDICTED: "hollow square"}
    used = [f"{shape}: {source}" for source, shape in shapes.items() if any(p.source == source for p in points)]
    return chart(
        name,
        "Quality and latency",
        f"BLEU of {len(points)} models on {test_set} at their latency.",
        lambda axes: draw_quality(axes, points, limits_ms),
        f"On {test_set}. Latency, {', '.join(used)}.",
        size=(5.2, 3.6),
    )


def _tables(evaluations: Sequence[Evaluation]) -> list[Block]:
    if not evaluations:
        return []
    columns = (
        "model", "test set", "sentences", "BLEU, tokenised", "compounds split", "sacreBLEU", "loss", "perplexity",
        "parameters", "latency, ms", "the latency is",
    )  # fmt: skip
    rows = []
    for one in evaluations:
        values, where = one.values, one.where
        rows.append(
            (
                one.name,
                one.test_set,
                whole(number(values, "sentences", where)),
                decimal(one.bleu("tokenized")),
                decimal(one.bleu("compound_split")),
                decimal(number(one.sacrebleu(), "score", f"{where}: bleu.sacrebleu")),
                decimal(number(values, "loss", where), 4),
                decimal(number(values, "perplexity", where)),
                whole(number(values, "parameters", where)),
                milliseconds(one.latency_ms),
                NONE if one.latency_ms is None else one.latency_source,
            )
        )
    signatures = {printable(one.sacrebleu().get("signature")) for one in evaluations}
    return [Table(columns, tuple(rows), text_columns=2), Text(f"sacreBLEU: {'; '.join(sorted(signatures))}.")]
