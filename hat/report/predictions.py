"""``predictions.csv`` of a predictor: what it was trained and tested on, as it was then."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hat.artifacts import read_text, write_text
from hat.config import shorten
from hat.errors import DataError
from hat.latency.csv_lines import number_of, values_of
from hat.latency.dataset import IntArray
from hat.latency.rows import FloatArray

PREDICTIONS_FILE = "predictions.csv"

_WHAT = "predicted beside measured latencies (CSV)"
_COLUMNS = ("row", "measured_ms", "predicted_ms", "part")
_PARTS = ("train", "valid", "test", "flagged", "unused")


@dataclass(frozen=True)
class Comparison:
    """Predictions beside measurements."""

    measured_ms: FloatArray
    """Shape (n,)."""
    predicted_ms: FloatArray
    """Shape (n,)."""
    parts: npt.NDArray[np.str_] | None = None
    """Shape (n,): ``train``, ``valid``, ``test``, ``flagged`` (left out, since the check of the data set flags them) or
    ``unused``; None where that is not known."""

    def rows(self, part: str) -> IntArray:
        """Numbers of the rows of one part; none where the parts are not known."""
        found: list[int] = [] if self.parts is None else np.flatnonzero(self.parts == part).tolist()
        return np.asarray(found, dtype=np.int64)


def write_predictions(path: Path, comparison: Comparison) -> None:
    """Write a table whose parts are known; row 0 is the first below the column names of the data set."""
    assert comparison.parts is not None, "only what a file says has no parts"
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    columns = comparison.measured_ms, comparison.predicted_ms, comparison.parts
    table = zip(*(column.tolist() for column in columns), strict=True)
    writer.writerows([row, *values] for row, values in enumerate(table))
    write_text(path, buffer.getvalue())


def read_predictions(path: Path) -> Comparison:
    """The table that hat-train-predictor leaves; columns are found by name.

    Raises:
        DataError: naming the file and the line, if it is damaged.
    """
    first, *rest = [line.removesuffix("\r") for line in read_text(path, _WHAT).removeprefix("\ufeff").split("\n")]
    columns = values_of(first, None, f"{path}, line 1")
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        problem = f"lacks {', '.join(missing)}" if first.strip() else "is empty"
        raise DataError(f"{path}, line 1: must name the columns of {_WHAT}, {problem}.")
    measured_ms, predicted_ms = [], []
    parts: list[str] = []
    for number, line in enumerate(rest, 2):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = dict(zip(columns, values_of(line, len(columns), where), strict=True))
        if row["row"] != str(len(parts)):
            raise DataError(f"{where}: row must be {len(parts)}, is {shorten(row['row'])} (damaged?).")
        if row["part"] not in _PARTS:
            raise DataError(f"{where}: part must be one of: {', '.join(_PARTS)}; is {shorten(row['part'])}.")
        measured_ms.append(number_of(row, "measured_ms", where))
        predicted_ms.append(number_of(row, "predicted_ms", where))
        parts.append(row["part"])
    if not parts:
        raise DataError(f"{path}: must hold at least one row below the column names, is empty.")
    return Comparison(np.array(measured_ms), np.array(predicted_ms), np.array(parts))
