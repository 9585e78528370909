"""Latency predictors: predicted against measured, and how far they can be trusted."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hat.latency.predictor import LatencyPredictor
from hat.report.document import Block, Folded, Gallery, Note, Picture, Section, Table, Text
from hat.report.predictor_run import Comparison, FloatArray, PredictorRun
from hat.report.runs import Run, record
from hat.report.theme import chart, light
from hat.report.wording import NONE, decimal, milliseconds, percent, printable, whole
from hat.space.encoding import FEATURE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def predictor_section(predictors: Sequence[PredictorRun]) -> Section | None:
    """All predictors of the report; None when there are none."""
    parts = tuple(map(_one, predictors))
    return Section("Latency predictor", parts) if parts else None


def _one(trained: PredictorRun) -> Section:
    run, comparison = trained.run, trained.comparison
    blocks: list[Block] = [] if run.finished else [Note("Not finished.")]
    if comparison is None:
        blocks.append(Note(f"No picture: its data set {printable(run.config.get('dataset'))} is not there any more."))
    else:
        error = trained.predictor.calibration.relative_error_90
        blocks.append(Gallery((_scatter(run, comparison, error), _errors(run, comparison, error))))
        if comparison.test_rows is None and trained.tested("rows") is None:
            blocks.append(Text("No rows were set aside for a test."))
        elif comparison.test_rows is None:
            blocks.append(Note(_ANOTHER))
    blocks += [_metrics(trained), Folded("What it was trained on", (_ranges(trained.predictor),))]
    return Section(run.name, (*blocks, *record(run)))


_ANOTHER = (
    "Its test does not give today what it gave then: the data set is another one now, or was split in another way. So "
    "test rows are not told apart, and the pictures may show networks it was never trained for."
)


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


def _metrics(trained: PredictorRun) -> Table:
    comparison, error = trained.comparison, trained.predictor.calibration.relative_error_90
    rows = [
        ("kind", printable(trained.metrics.get("kind"))),
        ("predicts", f"{trained.predictor.target} latency"),
        ("test rows", whole(trained.tested("rows"))),
        ("RMSE, ms", milliseconds(trained.tested("rmse_ms"))),
        ("MAPE", percent(trained.tested("mape_percent"), 2)),
        ("R²", decimal(trained.tested("r2"), 3)),
        ("Kendall's tau", decimal(trained.tested("kendall_tau"), 3)),
        ("training rows", whole(trained.metric("train_rows"))),
        ("validation rows", whole(trained.metric("valid_rows"))),
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
