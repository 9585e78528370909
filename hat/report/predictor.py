"""Latency predictors: predicted against measured, and how far they can be trusted."""

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hat.latency.predictor import LatencyPredictor
from hat.latency.rows import FloatArray
from hat.report.document import Block, Folded, Gallery, Note, Picture, Section, Table, Text
from hat.report.predictions import PREDICTIONS_FILE, Comparison
from hat.report.predictor_run import PredictorRun
from hat.report.runs import record
from hat.report.theme import chart, light
from hat.report.wording import LATENCIES, NONE, STATISTICS, decimal, milliseconds, percent, printable, spans, whole
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
        blocks += [Gallery((_scatter(trained, comparison), _errors(trained, comparison))), *_parts(comparison)]
        if trained.dataset_changed:
            blocks.append(Note(_ANOTHER))
    blocks += [_metrics(trained), Folded("What it was trained on", (_ranges(trained.predictor),))]
    return Section(run.name, (*blocks, *record(run)))


_ANOTHER = (
    "Its data set is not what it was any more. The pictures show what it was trained and tested on, as "
    f"{PREDICTIONS_FILE} has it."
)


def _parts(comparison: Comparison) -> list[Block]:
    """What there is to say of test rows, and of those that were left out."""
    if comparison.parts is None:
        return [Note(f"Which rows it was trained and tested on is not known: there is no {PREDICTIONS_FILE}.")]
    blocks: list[Block] = []
    if not len(comparison.rows("test")):
        blocks.append(Text("No rows were set aside for a test."))
    flagged = comparison.rows("flagged")
    if len(flagged):
        told = (
            f"Left out of training, validation and test, since the check of the data set finds that they were measured "
            f"under other conditions: {len(flagged)} of {len(comparison.parts)} rows, {spans(flagged.tolist())} (the "
            "first row below the column names is row 0)."
        )
        blocks.append(Text(told))
    return blocks


def draw_predicted(axes: "Axes", predictor: LatencyPredictor, comparison: Comparison) -> None:
    """Draw predicted against measured latencies, as the paper's Figure 6, with the band that nine in ten are in.

    Args:
        axes: where.
        predictor: says how wide the band is, and what latencies are.
        comparison: the latencies.
    """
    measured_ms, predicted_ms = comparison.measured_ms, comparison.predicted_ms
    error, latency = predictor.calibration.relative_error_90, LATENCIES[predictor.statistic]
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
    axes.set(xlabel=f"measured {latency} (ms)", ylabel=f"predicted {latency} (ms)")
    axes.legend(loc="upper left")


def _scatter(trained: PredictorRun, comparison: Comparison) -> Picture:
    latency = LATENCIES[trained.predictor.statistic]
    description = f"Predicted against measured {latency} of {len(comparison.measured_ms)} architectures."
    draw = functools.partial(draw_predicted, predictor=trained.predictor, comparison=comparison)
    return chart(f"predicted-{trained.run.key}", "Predicted and measured", description, draw)


def _errors(trained: PredictorRun, comparison: Comparison) -> Picture:
    measured_ms, predicted_ms = comparison.measured_ms, comparison.predicted_ms
    error, latency = trained.predictor.calibration.relative_error_90, LATENCIES[trained.predictor.statistic]
    off = 100 * (measured_ms / predicted_ms - 1)

    def draw(axes: "Axes") -> None:
        axes.axhline(0, color=light("muted"), linewidth=0.8)
        if error is not None:
            axes.axhspan(-100 * error, 100 * error, color=light("slate-tint"), alpha=0.8, linewidth=0)
        _points(axes, comparison, predicted_ms, off)
        axes.set(xlabel=f"predicted {latency} (ms)", ylabel="longer than predicted (%)")

    caption = "" if error is None else f"Shaded: the 90 % band, ±{percent(100 * error)} of the prediction."
    description = "By how much measurements differ from predictions, in percent of the prediction."
    return chart(f"errors-{trained.run.key}", "Errors", description, draw, caption)


def _points(axes: "Axes", comparison: Comparison, x: FloatArray, y: FloatArray) -> None:
    """Test rows and those that were left out apart from the others, where they are known."""
    size = 7 if len(x) > 300 else 12
    test, flagged = comparison.rows("test"), comparison.rows("flagged")
    others = np.setdiff1d(np.arange(len(x)), np.concatenate([test, flagged]))
    name = "rows" if comparison.parts is None else "other rows"
    if len(others):
        of_others = f"{name} ({len(others)})"
        axes.scatter(x[others], y[others], color=light("blue"), s=size, alpha=0.6, linewidth=0, label=of_others)
    if len(flagged):
        left_out = f"left out as disturbed ({len(flagged)})"
        axes.scatter(x[flagged], y[flagged], color=light("pink"), s=16, marker="x", linewidth=1, label=left_out)
    if len(test):
        axes.scatter(x[test], y[test], color=light("orange"), s=20, linewidth=0, label=f"test rows ({len(test)})")


def _metrics(trained: PredictorRun) -> Table:
    comparison, error = trained.comparison, trained.predictor.calibration.relative_error_90
    rows = [
        ("kind", printable(trained.metrics.get("kind"))),
        ("predicts", f"{trained.predictor.target} latency, {STATISTICS[trained.predictor.statistic]} of the runs"),
        ("test rows", whole(trained.tested("rows"))),
        ("RMSE, ms", milliseconds(trained.tested("rmse_ms"))),
        ("MAPE", percent(trained.tested("mape_percent"), 2)),
        ("R²", decimal(trained.tested("r2"), 3)),
        ("Kendall's tau", decimal(trained.tested("kendall_tau"), 3)),
        ("training rows", whole(trained.metric("train_rows"))),
        ("validation rows", whole(trained.metric("valid_rows"))),
        ("90 % interval", NONE if error is None else f"± {percent(100 * error)}"),
    ]
    if comparison is not None and comparison.parts is not None:
        rows.insert(-1, ("left out as disturbed", whole(len(comparison.rows("flagged")))))
    if comparison is not None and len(comparison.rows("test")) and error is not None:
        rows.append(("test rows within it", percent(_coverage_percent(comparison, error), 0)))
    return Table(("measure", "value"), tuple(rows))


def _coverage_percent(comparison: Comparison, error: float) -> float:
    rows = comparison.rows("test")
    off = np.abs(comparison.measured_ms[rows] / comparison.predicted_ms[rows] - 1)
    return float(100 * np.mean(off <= error))


def _ranges(predictor: LatencyPredictor) -> Table:
    lowest, highest = predictor.calibration.lowest, predictor.calibration.highest
    rows = tuple(
        (name.replace("_", " "), decimal(low), decimal(high))
        for name, low, high in zip(FEATURE_NAMES, lowest, highest, strict=True)
    )
    return Table(("feature", "lowest", "highest"), rows)
