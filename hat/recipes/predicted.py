"""Predicted beside measured latencies of a data set: the table, and the picture."""

import logging
from pathlib import Path

import numpy as np

from hat.artifacts import atomic_path
from hat.latency.dataset import IntArray, Split
from hat.latency.predictor import LatencyPredictor
from hat.latency.rows import FloatArray
from hat.report.predictions import PREDICTIONS_FILE, Comparison, write_predictions
from hat.report.predictor import draw_predicted
from hat.report.theme import drawing, light

logger = logging.getLogger(__name__)

PICTURE_FILE = "predicted.png"


def compare(measured_ms: FloatArray, predicted_ms: FloatArray, split: Split, flagged: IntArray) -> Comparison:
    """Latencies (n,) with the part that each row is in; ``flagged`` rows are in none."""
    parts = np.full(len(measured_ms), "unused", dtype="<U7")
    for name, rows in {"train": split.train, "valid": split.valid, "test": split.test, "flagged": flagged}.items():
        parts[rows] = name
    return Comparison(measured_ms, predicted_ms, parts)


def write_predicted(folder: Path, predictor: LatencyPredictor, comparison: Comparison, title: str) -> None:
    """Write ``predictions.csv``, and ``predicted.png`` if matplotlib is installed."""
    write_predictions(folder / PREDICTIONS_FILE, comparison)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.info("no picture: matplotlib is not installed (pip install matplotlib)")
        return
    with drawing(), atomic_path(folder / PICTURE_FILE) as temporary:
        figure = Figure(figsize=(5.5, 5.5))
        axes = figure.subplots()
        draw_predicted(axes, predictor, comparison)
        axes.set_title(title, fontsize="small")
        figure.savefig(temporary, format="png", dpi=150, facecolor=light("paper"))
