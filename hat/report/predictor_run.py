"""What hat-train-predictor leaves, read for a report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hat.artifacts import read_json
from hat.errors import HatError
from hat.latency.accuracy import Accuracy
from hat.latency.dataset import LatencyDataset
from hat.latency.predictor import LatencyPredictor
from hat.report.records import number, section
from hat.report.runs import Run, of_kind

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
    """Which rows were set aside for the test; None where there were none, or it can no longer be told."""


@dataclass(frozen=True)
class PredictorRun:
    """One predictor."""

    run: Run
    predictor: LatencyPredictor
    metrics: dict[str, Any]
    """``metrics.json``; empty where it is missing."""
    comparison: Comparison | None
    """None where its data set is not there any more."""

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
    path = run.path / METRICS_FILE
    metrics = read_json(path, "a predictor's metrics") if path.exists() else {}
    return PredictorRun(run, predictor, metrics, _compare(run, predictor, metrics))


def _compare(run: Run, predictor: LatencyPredictor, metrics: dict[str, Any]) -> Comparison | None:
    """The predictor's latencies for its data set, and which rows it was tested on."""
    dataset = run.locate("dataset")
    if dataset is None:
        return None
    data = LatencyDataset.load(dataset)
    latency_ms = data.latency_ms(predictor.target, predictor.statistic)
    predicted_ms = predictor.predict_features_ms(data.features)
    return Comparison(latency_ms, predicted_ms, _test_rows(run, data, (predicted_ms, latency_ms), metrics))


def _test_rows(
    run: Run, data: LatencyDataset, latencies: tuple[FloatArray, FloatArray], metrics: dict[str, Any]
) -> IntArray | None:
    """The rows that the predictor was tested on, if the test then says what it said when the predictor was trained."""
    reported = section(metrics, "test", run.path / METRICS_FILE)
    seed, train_rows = run.config.get("seed"), run.config.get("train_rows")
    if not isinstance(seed, int) or seed < 0 or not isinstance(train_rows, int | None):
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
