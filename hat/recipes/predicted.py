"""Predicted beside measured latencies, as a table and as a picture."""

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hat.artifacts import atomic_path, write_text
from hat.latency.dataset import IntArray, Split
from hat.latency.rows import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

TABLE_FILE = "predictions.csv"
PICTURE_FILE = "predicted.png"


@dataclass(frozen=True)
class Predicted:
    """What a predictor says of all rows of a data set."""

    measured_ms: FloatArray
    """Shape (n,)."""
    predicted_ms: FloatArray
    """Shape (n,)."""
    split: Split
    flagged: IntArray
    """Numbers of the rows that were left out because the check of the data set flags them."""
    relative_error_90: float | None
    """The predictor's interval, part of the prediction; None where it has none."""

    def write(self, folder: Path, title: str) -> None:
        """Write the table, and the picture if matplotlib is installed."""
        write_text(folder / TABLE_FILE, self._table())
        try:
            from matplotlib.figure import Figure
        except ImportError:
            logger.info("no picture: matplotlib is not installed (pip install matplotlib)")
            return
        figure = Figure(figsize=(5.5, 5.5), layout="constrained")
        self._draw(figure.subplots(), title)
        with atomic_path(folder / PICTURE_FILE) as temporary:
            figure.savefig(temporary, format="png", dpi=150)

    def _table(self) -> str:
        """Row (0 is the first below the column names), measured and predicted milliseconds, and the part it is in."""
        parts = np.full(len(self.measured_ms), "unused", dtype="<U7")
        named = {"train": self.split.train, "valid": self.split.valid, "test": self.split.test, "flagged": self.flagged}
        for name, rows in named.items():
            parts[rows] = name
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["row", "measured_ms", "predicted_ms", "part"])
        table = zip(self.measured_ms.tolist(), self.predicted_ms.tolist(), parts.tolist(), strict=True)
        writer.writerows([row, *values] for row, values in enumerate(table))
        return buffer.getvalue()

    def _draw(self, axes: "Axes", title: str) -> None:
        """Training and test rows as in the paper's Figure 6, with the band that nine in ten measurements are in."""
        measured_ms, predicted_ms, error = self.measured_ms, self.predicted_ms, self.relative_error_90
        ends = np.array([measured_ms.min(), measured_ms.max()])
        axes.plot(ends, ends, color="black", linewidth=0.8)
        if error is not None:
            longest = ends / (1 - error) if error < 1 else np.full(2, predicted_ms.max())
            axes.fill_between(
                ends, ends / (1 + error), longest, color="gray", alpha=0.2, linewidth=0, label="90 % band"
            )
        rows_of = {"left out": (self.flagged, "0.6", 5), "train": (self.split.train, "C0", 7)}
        rows_of["test"] = self.split.test, "C1", 7
        for name, (rows, color, size) in rows_of.items():
            if len(rows):
                axes.scatter(measured_ms[rows], predicted_ms[rows], s=size, color=color, label=f"{name} ({len(rows)})")
        axes.set(xlabel="measured latency (ms)", ylabel="predicted latency (ms)")
        axes.set_title(title, fontsize="small")
        axes.legend()
