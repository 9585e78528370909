"""Writing latency data sets. No torch."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hat.artifacts import write_text
from hat.latency.layout import DRIFT_COLUMNS, OWN_COLUMNS, PUBLIC_COLUMNS
from hat.latency.statistics import Timed
from hat.space import Architecture
from hat.space.encoding import features


@dataclass(frozen=True)
class MeasuredRow:
    """What a row of ours says."""

    architecture: Architecture
    timed: Timed
    retakes: int = 0
    """How often it was measured anew."""
    time: str = "1970-01-01T00:00:00Z"
    """When it was measured last, UTC, as ISO 8601 has it."""


def write_latencies(path: str | Path, rows: Iterable[MeasuredRow], anchored: bool = True) -> None:
    """Write a CSV of ours atomically.

    Args:
        path: the file.
        rows: in this order.
        anchored: whether an anchor was timed beside every architecture.
    """
    columns = [name for name in PUBLIC_COLUMNS + OWN_COLUMNS if anchored or name not in DRIFT_COLUMNS]
    lines = [_line([values[name] for name in columns]) for values in map(_values, rows)]
    write_text(path, _line(columns) + "".join(lines))


def _values(row: MeasuredRow) -> dict[str, object]:
    """By column."""
    encoder, decoder, total = row.timed.sample.encoder, row.timed.sample.decoder, row.timed.sample.total
    error = row.timed.relative_error
    values = [
        *features(row.architecture),
        encoder.mean_ms, decoder.mean_ms, encoder.std_ms, decoder.std_ms,
        encoder.median_ms, encoder.p90_ms, decoder.median_ms, decoder.p90_ms,
        total.mean_ms, total.std_ms, total.median_ms, total.p90_ms, total.p99_ms,
        None if error is None else error * total.mean_ms, row.timed.sample.runs, row.timed.anchor_ms, row.retakes,
        row.time, json.dumps(row.architecture.to_dict(), separators=(",", ":")),
    ]  # fmt: skip
    return dict(zip(PUBLIC_COLUMNS + OWN_COLUMNS, values, strict=True))


def _line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
