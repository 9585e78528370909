"""Latency data sets: how long networks take, how steady the machine was, and which rows are not like the others."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hat.artifacts import read_json
from hat.config import flatten, shorten
from hat.errors import DataError
from hat.latency.dataset import AnchoredTimes
from hat.latency.lint import Findings
from hat.latency.rows import FloatArray
from hat.latency.settings import DEVICE_FILE
from hat.report.document import Block, Facts, Folded, Gallery, Note, Picture, Section, Table, Text
from hat.report.latency_run import LatencyData, off_percent
from hat.report.records import number, section
from hat.report.runs import Run, record
from hat.report.theme import chart, light
from hat.report.wording import decimal, milliseconds, moment, percent, printable, whole
from hat.space.encoding import FEATURE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DEPTH = FEATURE_NAMES.index("decoder_layer_num")
_MOST_OUTLIERS = 20


def latency_section(latencies: Sequence[tuple[Run, LatencyData | None]]) -> Section | None:
    """All latency data sets; None when there are none."""
    parts = tuple(_one(run, latency) for run, latency in latencies)
    return Section("Latency on the device", parts) if parts else None


def _one(run: Run, latency: LatencyData | None) -> Section:
    blocks: list[Block] = []
    if not run.finished:
        rows = 0 if latency is None else len(latency.data)
        samples, passes = (printable(run.config.get(name)) for name in ("samples", "passes"))
        told = f"Not finished: {rows} of {samples} architectures are measured, not all of them in all {passes} passes."
        blocks.append(Note(told))
    if latency is not None:
        pictures = [_distribution(run, latency), _by_depth(run, latency)]
        if latency.data.anchored is not None:
            pictures.append(_anchor_picture(run, latency, latency.data.anchored))
        if latency.findings is not None:
            pictures.append(_residuals(run, latency, latency.findings))
        blocks += [Gallery(tuple(pictures)), _statistics(latency), *_findings(latency)]
    device = _device(run.path / DEVICE_FILE)
    return Section(run.name, (*blocks, *device, *record(run)))


def _statistics(latency: LatencyData) -> Table:
    data = latency.data
    columns = ("latency, ms", "rows", "fastest", "median", "mean", "90th percentile", "slowest")
    series: dict[str, FloatArray] = {
        "whole translation": data.latency_ms(),
        "encoder": data.encoder_ms,
        "decoder": data.decoder_ms,
    }
    if data.anchored is not None:
        series["anchor, by the clock"] = data.anchored.anchor_ms
    rows = []
    for name, values in series.items():
        numbers = (values.min(), np.median(values), values.mean(), np.quantile(values, 0.9), values.max())
        rows.append((name, whole(len(values)), *(milliseconds(float(value)) for value in numbers)))
    return Table(columns, tuple(rows))


def _findings(latency: LatencyData) -> list[Block]:
    findings = latency.findings
    if findings is None:
        return [Text("Too few rows to look for disturbed ones.")]
    words = (
        f"Noise of single rows: {percent(findings.noise_percent)} (standard deviation). The errors of a perfect "
        "predictor would average about four fifths of it. "
    )
    if not findings.shifted and not findings.outliers:
        return [Text(words + "No stretch of rows is shifted, and no single row is far off.")]
    blocks: list[Block] = [
        Text(
            words
            + f"Shifted stretches: {len(findings.shifted)}; single rows that are far off: {len(findings.outliers)} "
            "(the first row below the column names is row 0)."
        )
    ]
    found = [
        (f"rows {stretch.first_row} to {stretch.last_row}", "shifted", percent(stretch.shift_percent))
        for stretch in findings.shifted
    ]
    found += [(f"row {outlier.row}", "far off", percent(outlier.off_percent)) for outlier in findings.outliers]
    table = Table(("where", "what", "longer than expected"), tuple(found), text_columns=2)
    return [*blocks, table if len(found) <= _MOST_OUTLIERS else Folded(f"All {len(found)} findings", (table,))]


def _distribution(run: Run, latency: LatencyData) -> Picture:
    values = latency.data.latency_ms()

    def draw(axes: "Axes") -> None:
        axes.hist(values, bins=min(40, max(8, len(values) // 8)), color=light("blue"), alpha=0.85, linewidth=0)
        median = float(np.median(values))
        axes.axvline(median, color=light("orange"), linewidth=1.4)
        axes.annotate(
            f" median {milliseconds(median)} ms", (median, 1), (2, -2), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=8, color=light("orange"),
        )  # fmt: skip
        axes.set(xlabel="latency (ms)", ylabel="architectures")
        axes.grid(axis="x", visible=False)

    caption = "At the median pace of the data set." if latency.data.pace is not None else ""
    description = f"Histogram of the latencies of {len(values)} architectures."
    return chart(f"distribution-{run.key}", "Latencies", description, draw, caption)


def _by_depth(run: Run, latency: LatencyData) -> Picture:
    data = latency.data
    depth = data.features[:, _DEPTH]

    def draw(axes: "Axes") -> None:
        scatter = np.random.default_rng(0).uniform(-0.22, 0.22, len(depth))
        many = len(depth) > 300
        size, alpha = (5, 0.5) if many else (11, 0.7)
        axes.scatter(depth + scatter, data.latency_ms(), s=size, alpha=alpha, color=light("blue"), linewidth=0)
        for layers in np.unique(depth):
            median = float(np.median(data.latency_ms()[depth == layers]))
            axes.plot([layers - 0.3, layers + 0.3], [median, median], color=light("orange"), linewidth=2)
        axes.set(xlabel="decoder layers", ylabel="latency (ms)", xticks=np.unique(depth))
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)

    description = "Latency of every architecture by its number of decoder layers, with the medians."
    caption = "Every point is an architecture; the bars are medians."
    return chart(f"depth-{run.key}", "By decoder depth", description, draw, caption)


def _anchor_picture(run: Run, latency: LatencyData, anchored: AnchoredTimes) -> Picture:
    anchor_ms = anchored.anchor_ms
    rows = np.arange(len(anchor_ms), dtype=np.float64)
    places, axis = (rows, "row") if latency.minutes is None else (latency.minutes, "minutes after the first row")
    low, median, high = (float(np.quantile(anchor_ms, share)) for share in (0.05, 0.5, 0.95))

    def draw(axes: "Axes") -> None:
        axes.axhspan(low, high, color=light("slate-tint"), alpha=0.7, linewidth=0)
        axes.axhline(median, color=light("orange"), linewidth=1.2)
        axes.plot(places, anchor_ms, "o-", markersize=2.2, linewidth=0.7, color=light("teal"))
        axes.set(xlabel=axis, ylabel="anchor, by the clock (ms)")

    caption = (
        f"The same network, timed beside every row: median {milliseconds(median)} ms, 5 % to 95 % of the rows "
        f"{milliseconds(low)} to {milliseconds(high)} ms. Its changes are taken out of the latencies, in full where a "
        f"network takes as long, by {100 * float(anchored.pace.exponent(0.5)):.0f} % where it takes half as long."
    )
    name = f"anchor-{run.key}"
    return chart(name, "The machine's pace", "Time of the anchor network over the measuring.", draw, caption)


def _residuals(run: Run, latency: LatencyData, findings: Findings) -> Picture:
    off = off_percent(latency.data, findings)
    rows = np.arange(len(off))
    outliers = [outlier.row for outlier in findings.outliers]

    def draw(axes: "Axes") -> None:
        for stretch in findings.shifted:
            axes.axvspan(stretch.first_row - 0.5, stretch.last_row + 0.5, color=light("orange-tint"), linewidth=0)
        axes.axhline(0, color=light("muted"), linewidth=0.8)
        calm = ~np.isin(rows, outliers)
        axes.scatter(rows[calm], off[calm], s=5, color=light("blue"), alpha=0.7, linewidth=0)
        axes.scatter(rows[outliers], off[outliers], s=16, color=light("pink"), marker="x", linewidth=1.2)
        axes.set(xlabel="row", ylabel="longer than expected (%)")

    caption = (
        f"Measured against what a cost model of the undisturbed rows expects; noise {percent(findings.noise_percent)}. "
        "Shaded: shifted stretches; crosses: rows that are far off."
    )
    description = f"How much longer each row took than expected; {len(findings.shifted)} stretches are shifted."
    return chart(f"noise-{run.key}", "Noise and disturbed rows", description, draw, caption)


def _device(path: Path) -> list[Block]:
    """The device record, whatever it holds."""
    if not path.exists():
        return []
    values: dict[str, Any] = read_json(path, "a device record")
    sessions = _sessions(values.get("sessions"), path)
    values = {name: value for name, value in values.items() if name not in ("format", "anchor", "sessions")}
    rows = tuple(
        (printable(name).removeprefix("settings.").replace("_", " "), printable(value))
        for name, value in flatten(values).items()
        if value is not None
    )
    return [Folded("Device and call", (Facts(rows), *sessions))]


def _sessions(sessions: object, path: Path) -> list[Block]:
    """What was seen when measuring began and ended, a row each time; nothing where the record does not say."""
    if sessions is None or sessions == []:
        return []
    if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
        raise DataError(f"{path}: sessions must be a list of objects, is {shorten(sessions)}.")
    rows = []
    for place, session in enumerate(sessions, 1):
        for end, name in (("start", "begins"), ("end", "ends")):
            where = f"{path}: sessions, item {place - 1}"
            seen = section(session, end, where)
            keys = "load_average", "temperature_celsius", "frequency_mhz"
            load, celsius, mhz = (number(seen, key, f"{where}: {end}") for key in keys)
            cells = decimal(load), decimal(celsius, 1), whole(mhz)
            rows.append((f"session {place} {name}", moment(seen.get("time")), *cells))
    columns = "measuring", "time", "load of the last minute", "temperature, °C", "frequency, MHz"
    return [Table(columns, tuple(rows), text_columns=2)]
