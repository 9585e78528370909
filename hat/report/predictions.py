"""``predictions.csv`` of a predictor: what it was trained and tested on, as it was then."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hat.artifacts import read_text
from hat.config import shorten
from hat.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

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


def read_predictions(path: Path) -> Comparison:
    """The table that hat-train-predictor leaves; columns are found by name.

    Raises:
        DataError: naming the file and the line, if it is damaged.
    """
    first, *rest = [line.removesuffix("\r") for line in read_text(path, _WHAT).removeprefix("\ufeff").split("\n")]
    columns = _values(first, f"{path}, line 1")
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
        values = _values(line, where)
        if len(values) != len(columns):
            raise DataError(f"{where}: must have {len(columns)} values, has {len(values)} (damaged or truncated?).")
        row = dict(zip(columns, values, strict=True))
        if row["row"] != str(len(parts)):
            raise DataError(f"{where}: row must be {len(parts)}, is {shorten(row['row'])} (damaged?).")
        if row["part"] not in _PARTS:
            raise DataError(f"{where}: part must be one of: {', '.join(_PARTS)}; is {shorten(row['part'])}.")
        measured_ms.append(_latency_ms(row, "measured_ms", where))
        predicted_ms.append(_latency_ms(row, "predicted_ms", where))
        parts.append(row["part"])
    if not parts:
        raise DataError(f"{path}: must hold at least one row below the column names, is empty.")
    return Comparison(np.array(measured_ms), np.array(predicted_ms), np.array(parts))


def _values(line: str, where: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise DataError(f"{where}: not a line of CSV (damaged or truncated?): {error}.") from None


def _latency_ms(row: dict[str, str], name: str, where: str) -> float:
    """Above 0; of what was measured, an encoder or a decoder may have taken no time."""
    may_be_zero = name == "measured_ms"
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (value == 0 and not may_be_zero):
        least = "of at least 0" if may_be_zero else "above 0"
        raise DataError(f"{where}: {name} must be a number {least}, is {shorten(row[name])}.")
    return value
