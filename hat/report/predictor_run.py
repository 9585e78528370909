"""What hat-train-predictor leaves, read for a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hat.artifacts import read_json
from hat.errors import DataError
from hat.latency.dataset import LatencyDataset
from hat.latency.predictor import LatencyPredictor
from hat.latency.rows import FloatArray
from hat.report.predictions import PREDICTIONS_FILE, Comparison, read_predictions
from hat.report.records import number, section
from hat.report.runs import Run, of_kind

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class PredictorRun:
    """One predictor."""

    run: Run
    predictor: LatencyPredictor
    metrics: dict[str, Any]
    """``metrics.json``; empty where it is missing."""
    comparison: Comparison | None
    """None where neither ``predictions.csv`` nor its data set is there any more."""
    dataset_changed: bool
    """Whether its data set is not any more what ``predictions.csv`` says it was trained on."""

    def metric(self, key: str) -> float | None:
        """A number of rows; None where it is missing. Raises DataError if it is something else."""
        return number(self.metrics, key, self.run.path / METRICS_FILE)

    def tested(self, key: str) -> float | None:
        """A number of the test on the rows set aside for it, likewise."""
        path = self.run.path / METRICS_FILE
        return number(section(self.metrics, "test", path), key, f"{path}: test")


def read_predictors(runs: Sequence[Run]) -> list[PredictorRun]:
    """All predictors of the report. Raises DataError when a file is damaged."""
    return [_read(run) for run in of_kind(runs, "predictor")]


def _read(run: Run) -> PredictorRun:
    predictor = LatencyPredictor.load(run.path)
    path, table, dataset = run.path / METRICS_FILE, run.path / PREDICTIONS_FILE, run.locate("dataset")
    metrics = read_json(path, "a predictor's metrics") if path.exists() else {}
    if not table.exists():
        comparison = None if dataset is None else _predict(predictor, dataset)
        return PredictorRun(run, predictor, metrics, comparison, dataset_changed=False)
    comparison = read_predictions(table)
    changed = dataset is not None and not _fits(comparison.measured_ms, predictor, dataset)
    return PredictorRun(run, predictor, metrics, comparison, changed)


def _predict(predictor: LatencyPredictor, dataset: Path) -> Comparison:
    """The predictor's latencies for its data set, where only that is left."""
    features, measured_ms = _measured(predictor, dataset)
    return Comparison(measured_ms, predictor.predict_features_ms(features))


def _fits(measured_ms: FloatArray, predictor: LatencyPredictor, dataset: Path) -> bool:
    """Whether the data set still holds these latencies and no others."""
    try:
        _, now_ms = _measured(predictor, dataset)
    except DataError:  # measured anew, and not far yet; the section on latencies names what is damaged
        return False
    return now_ms.shape == measured_ms.shape and np.allclose(now_ms, measured_ms, rtol=1e-6, atol=0)


def _measured(predictor: LatencyPredictor, dataset: Path) -> tuple[FloatArray, FloatArray]:
    """Features, (n, 10), and latencies of the kind that is predicted, (n,)."""
    data = LatencyDataset.load(dataset)
    try:
        return data.features, data.latency_ms(predictor.target, predictor.statistic)
    except DataError as error:  # another file now, without the percentiles
        raise DataError(f"{dataset}: {error}") from None
