"""Latency predictors: predicted against measured, and how far they can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hat.artifacts import read_json
from hat.errors import HatError
from hat.latency.accuracy import Accuracy
from hat.latency.dataset import LatencyDataset
from hat.latency.predictor import LatencyPredictor
from hat.report.document import Block, Folded, Gallery, Note, Picture, Section, Table, Text
from hat.report.records import number, section
from hat.report.runs import Run, of_kind, record
from hat.report.theme import chart, light
from hat.report.wording import NONE, decimal, milliseconds, percent, printable, whole
from hat.space.encoding import FEATURE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Comparison:
    """Predictions beside measurements."""

    measured_ms: FloatArray
    """Shape (n,)."""
    predicted_ms: FloatArray
    """Shape (n,)."""
    test_rows: IntArray | None
    """Which rows were set aside for the test; None where that can no longer be told."""


def predictor_section(runs: Sequence[Run]) -> Section | None:
    """All predictors of the report; None when there are none."""
    parts = tuple(_one(run) for run in of_kind(runs, "predictor"))
    return Section("Latency predictor", parts) if parts else None


def _one(run: Run) -> Section:
    predictor = LatencyPredictor.load(run.path)
    path = run.path / METRICS_FILE
    metrics = read_json(path, "a predictor's metrics") if path.exists() else {}
    dataset = run.locate("dataset")
    blocks: list[Block] = [] if run.finished else [Note("Not finished.")]
    comparison = None if dataset is None else compare(run, predictor, LatencyDataset.load(dataset), metrics)
    if comparison is None:
        blocks.append(Note(f"No picture: its data set {printable(run.config.get('dataset'))} is not there any more."))
    else:
        error = predictor.calibration.relative_error_90
        blocks.append(Gallery((_scatter(run, comparison, error), _errors(run, comparison, error))))
        if comparison.test_rows is None:
            blocks.append(Text("Which rows were set aside for the test cannot be told (any more)."))
    blocks.append(_metrics(run, predictor, metrics, comparison))
    return Section(run.name, (*blocks, Folded("What it was trained on", (_ranges(predictor),)), *record(run)))


def compare(run: Run, predictor: LatencyPredictor, data: LatencyDataset, metrics: dict[str, object]) -> Comparison:
    """The predictor's latencies for its data set, and which rows it was tested on."""
    latency_ms = data.latency_ms(predictor.target)
    predicted_ms = predictor.predict_features_ms(data.features)
    return Comparison(latency_ms, predicted_ms, _test_rows(run, data, (predicted_ms, latency_ms), metrics))


def _test_rows(
    run: Run, data: LatencyDataset, latencies: tuple[FloatArray, FloatArray], metrics: dict[str, object]
) -> IntArray | None:
    """The rows that the predictor was tested on, if the test then says what it said when the predictor was trained."""
    reported = section(metrics, "test", run.path / METRICS_FILE)
    seed, train_rows = run.config.get("seed"), run.config.get("train_rows")
    if not isinstance(seed, int) or not isinstance(train_rows, int | None):
        return None
    try:
        rows = data.split(seed, train_rows).test
    except HatError:
        return None
    predicted_ms, measured_ms = latencies
    test = Accuracy.of(predicted_ms[rows], measured_ms[rows])
    rmse_ms = number(reported, "rmse_ms", run.path / METRICS_FILE)
    same = rmse_ms is not None and math.isclose(rmse_ms, test.rmse_ms, rel_tol=1e-3)
    return rows if same and reported.get("rows") == test.rows else None


def _scatter(run: Run, comparison: Comparison, error: float | None) -> Picture:
    measured_ms, predicted_ms = comparison.measured_ms, comparison.predicted_ms

    def draw(axes: "Axes") -> None:
        ends = np.array([min(measured_ms.min(), predicted_ms.min()), max(measured_ms.max(), predicted_ms.max())])
        if error is not None:
            upper = ends / (1 - error) if error < 1 else ends * math.inf
            axes.fill_between(
                ends, ends / (1 + error), np.minimum(upper, 2 * ends[1]), color=light("slate-tint"), alpha=0.8,
                linewidth=0, label="9 in 10 lie here",
            )  # fmt: skip
        axes.plot(ends, ends, color=light("muted"), linewidth=0.8)
        _points(axes, comparison, measured_ms, predicted_ms)
        axes.set_ylim(0.92 * ends[0], 1.05 * ends[1])
        axes.set(xlabel="measured latency (ms)", ylabel="predicted latency (ms)")
        axes.legend(loc="upper left")

    description = f"Predicted against measured latency of {len(measured_ms)} architectures."
    return chart(f"predicted-{run.key}", "Predicted and measured", description, draw)


def _errors(run: Run, comparison: Comparison, error: float | None) -> Picture:
    measured_ms, predicted_ms = comparison.measured_ms, comparison.predicted_ms
    off = 100 * (measured_ms / predicted_ms - 1)

    def draw(axes: "Axes") -> None:
        axes.axhline(0, color=light("muted"), linewidth=0.8)
        if error is not None:
            axes.axhspan(-100 * error, 100 * error, color=light("slate-tint"), alpha=0.8, linewidth=0)
        _points(axes, comparison, predicted_ms, off)
        axes.set(xlabel="predicted latency (ms)", ylabel="longer than predicted (%)")

    caption = "" if error is None else f"Shaded: the 90 % band, ±{percent(100 * error)} of the prediction."
    description = "By how much measurements differ from predictions, in percent of the prediction."
    return chart(f"errors-{run.key}", "Errors", description, draw, caption)


def _points(axes: "Axes", comparison: Comparison, x: FloatArray, y: FloatArray) -> None:
    """Test rows apart from the others, where they are known."""
    small: dict[str, Any] = {"s": 7 if len(x) > 300 else 12, "alpha": 0.6, "linewidth": 0}
    if comparison.test_rows is None:
        axes.scatter(x, y, color=light("blue"), label=f"rows ({len(x)})", **small)
        return
    test = np.zeros(len(x), dtype=bool)
    test[comparison.test_rows] = True
    axes.scatter(x[~test], y[~test], color=light("blue"), label=f"other rows ({(~test).sum()})", **small)
    axes.scatter(x[test], y[test], color=light("orange"), s=20, linewidth=0, label=f"test rows ({test.sum()})")


def _metrics(run: Run, predictor: LatencyPredictor, metrics: dict[str, object], comparison: Comparison | None) -> Table:
    where = run.path / METRICS_FILE
    test = section(metrics, "test", where)
    error = predictor.calibration.relative_error_90
    rows = [
        ("kind", printable(metrics.get("kind"))),
        ("predicts", f"{predictor.target} latency"),
        ("test rows", whole(number(test, "rows", where))),
        ("RMSE, ms", milliseconds(number(test, "rmse_ms", where))),
        ("MAPE", percent(number(test, "mape_percent", where), 2)),
        ("R²", decimal(number(test, "r2", where), 3)),
        ("Kendall's tau", decimal(number(test, "kendall_tau", where), 3)),
        ("training rows", whole(number(metrics, "train_rows", where))),
        ("validation rows", whole(number(metrics, "valid_rows", where))),
        ("90 % interval", NONE if error is None else f"± {percent(100 * error)}"),
    ]
    if comparison is not None and comparison.test_rows is not None and error is not None:
        rows.append(("test rows within it", percent(_coverage_percent(comparison, error), 0)))
    return Table(("measure", "value"), tuple(rows))


def _coverage_percent(comparison: Comparison, error: float) -> float:
    rows = comparison.test_rows
    off = np.abs(comparison.measured_ms[rows] / comparison.predicted_ms[rows] - 1)
    return float(100 * np.mean(off <= error))


def _ranges(predictor: LatencyPredictor) -> Table:
    lowest, highest = predictor.calibration.lowest, predictor.calibration.highest
    rows = tuple(
        (name.replace("_", " "), decimal(low), decimal(high))
        for name, low, high in zip(FEATURE_NAMES, lowest, highest, strict=True)
    )
    return Table(("feature", "lowest", "highest"), rows)
