"""What trained models are worth: BLEU on their test sets, and at which latency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hat.artifacts import read_json
from hat.latency.predictor import LatencyPredictor
from hat.report.document import Block, Gallery, Note, Picture, Section, Table, Text
from hat.report.records import any_finite, number, plottable, section
from hat.report.runs import Run, of_kind, record
from hat.report.search import read_found
from hat.report.theme import chart, label, light, series_colour
from hat.report.wording import NONE, decimal, milliseconds, printable, whole
from hat.space import Architecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVALUATION_FILE = "evaluation.json"
MEASURED, FOUND, PREDICTED = "measured with it", "measured by the search", "predicted"
"""Where a model's latency is from."""
_LABEL_SIZE = 7.5  # points
_MARKERS = {MEASURED: "o", FOUND: "D", PREDICTED: "s"}


@dataclass(frozen=True)
class Point:
    """A trained model in the picture of quality and latency."""

    name: str
    latency_ms: float
    bleu: float
    source: str = MEASURED
    """Where the latency is from: one of the constants of this module."""


@dataclass(frozen=True)
class Evaluation:
    """One ``evaluation.json``."""

    run: Run
    values: dict[str, Any]
    name: str
    """Of the model."""
    test_set: str
    latency_ms: float | None
    latency_source: str

    @property
    def where(self) -> Path:
        """The file."""
        return self.run.path / EVALUATION_FILE

    def bleu(self, kind: str) -> float | None:
        """One of the BLEU scores."""
        scores = section(self.values, "bleu", self.where)
        return number(scores, kind, f"{self.where}: bleu")

    def sacrebleu(self) -> dict[str, Any]:
        """Score and signature."""
        return section(section(self.values, "bleu", self.where), "sacrebleu", f"{self.where}: bleu")


def evaluation_section(runs: Sequence[Run]) -> Section | None:
    """All evaluations of the report; None when there are none."""
    evaluated = of_kind(runs, "evaluation")
    if not evaluated:
        return None
    blocks: list[Block] = [Note(f"Not finished: {run.name}.") for run in evaluated if not run.finished]
    evaluations = read_evaluations(runs)
    pictures = _pictures(evaluations, runs)
    if pictures:
        blocks.append(Gallery(tuple(pictures)))
    blocks += _tables(evaluations)
    blocks += [block for run in evaluated for block in record(run, f"{run.name}: how it was run")]
    return Section("Quality of the trained models", tuple(blocks))


def read_evaluations(runs: Sequence[Run]) -> list[Evaluation]:
    """The results of all evaluations that came to their end. Raises DataError when a file is damaged."""
    latencies = _Latencies(runs)
    found = []
    for run in of_kind(runs, "evaluation"):
        path = run.path / EVALUATION_FILE
        if not path.exists():
            continue
        values = read_json(path, "an evaluation")
        measured = section(section(values, "latency", path), "total", f"{path}: latency")
        latency_ms, source = number(measured, "mean_ms", f"{path}: latency.total"), MEASURED
        if latency_ms is None:
            latency_ms, source = latencies.of(_architecture(run))
        found.append(Evaluation(run, values, _model_name(run, values, runs), _test_set(run), latency_ms, source))
    return found


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
    heights = []
    for point, (x, y) in zip(points, places, strict=True):
        wide = 0.55 * _LABEL_SIZE * len(label(point.name))

        def collisions(above: float, x: float = x, y: float = y, wide: float = wide) -> int:
            return sum(
                abs(x - other_x) < (wide + other_wide) / 2 and abs(y + above - other_y) < (_LABEL_SIZE + high) / 2
                for other_x, other_y, other_wide, high in taken
            )

        heights.append(min((10.0, -10.0, 19.0, -19.0), key=collisions))
        taken.append((x, y + heights[-1], wide, _LABEL_SIZE))
    return heights


def _pictures(evaluations: Sequence[Evaluation], runs: Sequence[Run]) -> list[Picture]:
    """One for every test set."""
    limits = {}
    for run in of_kind(runs, "search"):
        found = read_found(run)
        limit_ms = None if found is None else found.number("limit_ms")
        if limit_ms is not None and any_finite([limit_ms]):
            limits[f"limit {milliseconds(limit_ms)} ms"] = limit_ms
    pictures = []
    for number_of_set, test_set in enumerate(dict.fromkeys(one.test_set for one in evaluations), 1):
        points = []
        for one in evaluations:
            latency_ms, bleu = plottable([one.latency_ms, one.bleu("tokenized")])
            if one.test_set == test_set and any_finite([latency_ms]) and any_finite([bleu]):
                points.append(Point(one.name, latency_ms, bleu, one.latency_source))
        if points:
            pictures.append(_quality_picture(f"quality-{number_of_set}", test_set, points, limits))
    return pictures


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


class _Latencies:
    """What the report knows of the latency of architectures that were not timed when they were evaluated."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.measured_ms: dict[Architecture, float] = {}
        for run in of_kind(runs, "search"):
            found = read_found(run)
            measured_ms = None if found is None else found.number("measured_ms")
            if found is not None and measured_ms is not None:
                self.measured_ms[found.architecture] = measured_ms
        totals = (LatencyPredictor.load(run.path) for run in of_kind(runs, "predictor"))
        self.predictor = next((predictor for predictor in totals if predictor.target == "total"), None)

    def of(self, architecture: Architecture | None) -> tuple[float | None, str]:
        """Milliseconds, and where they are from."""
        if architecture is None:
            return None, PREDICTED
        if architecture in self.measured_ms:
            return self.measured_ms[architecture], FOUND
        return None if self.predictor is None else self.predictor.predict_ms(architecture), PREDICTED


def model_architecture(folder: Path) -> Architecture | None:
    """That of the standalone model in ``folder``; None where there is none. Raises ConfigError when it is damaged."""
    path = folder / "config.json"
    values = read_json(path, "a model's config.json") if path.is_file() else {}
    if "architecture" not in values:
        return None
    return Architecture.from_dict(values["architecture"], where=f"{path}: architecture")


def _architecture(run: Run) -> Architecture | None:
    chosen, model = run.locate("architecture"), run.locate("model")
    if chosen is not None:
        return Architecture.from_json(chosen)
    return None if model is None else model_architecture(model)


def _model_name(run: Run, values: dict[str, Any], runs: Sequence[Run]) -> str:
    """As the report calls the model's own run, if that is part of it; else the path that was evaluated."""
    model = run.locate("model")
    names = {other.path.resolve(): other.name for other in of_kind(runs, "super", "sub")}
    name = None if model is None else names.get(model.resolve())
    chosen = run.config.get("architecture")
    shown = printable(values.get("model")) if name is None else name
    return f"{shown} ({printable(chosen)})" if isinstance(chosen, str) else shown


def _test_set(run: Run) -> str:
    data, source = run.config.get("data"), run.config.get("source")
    if isinstance(data, str):
        return printable(f"{Path(data).name} {run.config.get('split')}")
    return printable(Path(source).name) if isinstance(source, str) else "test"
