"""What hat-measure-latency leaves, read for a report."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from hat.artifacts import read_text
from hat.errors import DataError
from hat.latency.cost_model import CostModelOptions, fit_cost_model
from hat.latency.dataset import LatencyDataset
from hat.latency.lint import Findings, check_latencies
from hat.latency.rows import FloatArray, Rows
from hat.report.runs import Run, of_kind

DATA_FILE = "latency.csv"


@dataclass(frozen=True)
class LatencyData:
    """A data set and what there is to say about it."""

    data: LatencyDataset
    findings: Findings | None
    """None where there are too few rows to tell."""
    minutes: FloatArray | None
    """Shape (n,): when rows were measured, after the first; None where the file does not say."""


def read_latencies(runs: Sequence[Run]) -> list[tuple[Run, LatencyData | None]]:
    """All latency runs with their data sets, None where no row is there yet. Raises DataError when one is damaged."""
    return [(run, _read(run)) for run in of_kind(runs, "latency")]


def _read(run: Run) -> LatencyData | None:
    path = run.path / DATA_FILE
    if not run.finished and not path.exists():
        return None
    data = LatencyDataset.load(path)
    try:
        findings = check_latencies(data.features, data.latency_ms(), data.name)
    except DataError:  # too few rows
        findings = None
    return LatencyData(data, findings, _minutes(path, len(data)))


def off_percent(data: LatencyDataset, findings: Findings) -> FloatArray:
    """How much longer than a cost model of the undisturbed rows expects every row took, (n,), percent."""
    calm = np.ones(len(data), dtype=bool)
    for stretch in findings.shifted:
        calm[stretch.first_row : stretch.last_row + 1] = False
    calm[[outlier.row for outlier in findings.outliers]] = False
    latency_ms = data.latency_ms()
    model = fit_cost_model(Rows(data.features[calm], latency_ms[calm]), CostModelOptions())
    off = np.log(latency_ms / model.predict_ms(data.features))
    return np.asarray(100 * np.expm1(off - np.median(off[calm])))


def _minutes(path: Path, rows: int) -> FloatArray | None:
    """When every row was measured, where the file says so."""
    lines = csv.DictReader(io.StringIO(read_text(path, "a latency data set (CSV)").removeprefix("\ufeff")))
    table = [row for row in lines if any(row.values())]
    columns = {name.strip(): name for name in lines.fieldnames or ()}
    try:
        times = [
            datetime.strptime(row[columns["time"]], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
            for row in table
        ]
    except (KeyError, ValueError):
        return None
    return (np.array(times) - times[0]) / 60 if len(times) == rows else None
