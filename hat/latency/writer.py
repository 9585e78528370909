"""Writing latency data sets: rows are added one by one, so that a power cut loses one at most. No torch."""

import csv
import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hat.artifacts import write_text
from hat.errors import DataError
from hat.latency.csv_lines import values_of
from hat.latency.layout import (
    DRIFT_COLUMNS,
    OWN_COLUMNS,
    PUBLIC_COLUMNS,
    architecture_in,
    public_values,
    read_lines,
    value_of,
)
from hat.latency.statistics import Timed
from hat.space import Architecture
from hat.space.encoding import features


@dataclass(frozen=True)
class MeasuredRow:
    """What a later decision about a row of ours needs."""

    architecture: Architecture
    anchor_ms: float | None
    """As it was measured; None without an anchor."""
    retakes: int
    """How often the row was measured anew."""


class LatencyWriter:
    """Adds rows to a CSV of ours, so that a run killed at any moment loses at most the row being written.

    A torn last line, which a power cut can leave, is removed when the file is opened again.

    Args:
        path: the file; made if needed.
        anchored: whether an anchor is timed beside every architecture.

    Raises:
        DataError: if the file exists and does not start with our columns.
    """

    def __init__(self, path: str | Path, anchored: bool = True) -> None:
        self.path = Path(path)
        all_columns = PUBLIC_COLUMNS + OWN_COLUMNS
        self.columns = tuple(name for name in all_columns if anchored or name not in DRIFT_COLUMNS)
        if not self.path.exists():
            write_text(self.path, _line(self.columns))
            return
        columns, _ = read_lines(self.path)
        if columns != list(self.columns):
            raise DataError(
                f"{self.path}: must start with the columns this version writes, does not; choose another output folder."
            )
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def rows(self) -> list[MeasuredRow]:
        """What the file holds, in order. Raises DataError when a row is damaged."""
        columns, lines = read_lines(self.path)
        rows = []
        for number, line in lines:
            where = f"{self.path}, line {number}"
            row = dict(zip(columns, values_of(line, len(columns), where), strict=True))
            architecture = architecture_in(row["architecture"], public_values(row, where), where)
            anchor_ms = value_of(row, "anchor_ms", where) if "anchor_ms" in row else None
            retakes = int(value_of(row, "retakes", where)) if "retakes" in row else 0
            rows.append(MeasuredRow(architecture, anchor_ms, retakes))
        return rows

    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures that the file holds, in order. Raises DataError when a row is damaged."""
        return tuple(row.architecture for row in self.rows())

    def append(self, architecture: Architecture, timed: Timed) -> None:
        """Add one row; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._row(architecture, timed, 0))
            file.flush()
            os.fsync(file.fileno())

    def retake(self, row: MeasuredRow, timed: Timed) -> None:
        """Put a new measurement of a row at the end, instead of the row; a power cut leaves the one or the other."""
        lines, index = self._find(row)
        del lines[index]
        self._write([*lines, self._row(row.architecture, timed, row.retakes + 1)])

    def count_retake(self, row: MeasuredRow) -> None:
        """Keep a row as it is, where it is, as one that was measured once more for nothing."""
        lines, index = self._find(row)
        values = values_of(lines[index], len(self.columns), str(self.path))
        values[self.columns.index("retakes")] = str(row.retakes + 1)
        lines[index] = _line(values)
        self._write(lines)

    def _find(self, row: MeasuredRow) -> tuple[list[str], int]:
        """All rows as they are written, and which of them this is."""
        _, lines = read_lines(self.path)
        return [f"{line}\n" for _, line in lines], self.architectures().index(row.architecture)

    def _write(self, lines: Sequence[str]) -> None:
        write_text(self.path, _line(self.columns) + "".join(lines))

    def _row(self, architecture: Architecture, timed: Timed, retakes: int) -> str:
        encoder, decoder, total = timed.sample.encoder, timed.sample.decoder, timed.sample.total
        error_ms = None if timed.relative_error is None else timed.relative_error * total.mean_ms
        values = [
            *features(architecture),
            encoder.mean_ms, decoder.mean_ms, encoder.std_ms, decoder.std_ms,
            encoder.median_ms, encoder.p90_ms, decoder.median_ms, decoder.p90_ms,
            total.mean_ms, total.std_ms, total.median_ms, total.p90_ms, total.p99_ms,
            error_ms, timed.sample.runs, timed.anchor_ms, retakes,
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            json.dumps(architecture.to_dict(), separators=(",", ":")),
        ]  # fmt: skip
        named = dict(zip(PUBLIC_COLUMNS + OWN_COLUMNS, values, strict=True))
        return _line([named[name] for name in self.columns])


def _line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
