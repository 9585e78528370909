"""Latency data sets: reading ours and the public ones, adding rows safely, splitting. No torch.

One row per architecture. The ten features and four latency columns have the public sets' names and order, so that
either program reads the other's files; our own columns follow, the architecture last.
"""

import csv
import io
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from hat.artifacts import read_text, write_text
from hat.config import shorten
from hat.errors import ConfigError, DataError
from hat.latency.csv_lines import number_of, values_of
from hat.latency.pace import Pace
from hat.latency.pace_fitting import fit_pace
from hat.latency.rows import FloatArray
from hat.latency.statistics import LatencySample, Statistic
from hat.space import Architecture
from hat.space.encoding import FEATURE_NAMES, features

IntArray = npt.NDArray[np.int64]
Target = Literal["total", "encoder", "decoder"]

LATENCY_COLUMNS = ("latency_mean_encoder", "latency_mean_decoder", "latency_std_encoder", "latency_std_decoder")
"""The public sets' columns, in milliseconds; their total is the sum of the two means."""
PUBLIC_COLUMNS = FEATURE_NAMES + LATENCY_COLUMNS
OWN_COLUMNS = (
    "latency_median_encoder",
    "latency_p90_encoder",
    "latency_median_decoder",
    "latency_p90_decoder",
    "latency_mean_total",
    "latency_std_total",
    "latency_median_total",
    "latency_p90_total",
    "latency_p99_total",
    "runs",
    "anchor_ms",
    "retakes",
    "time",
    "architecture",
)
"""What our files hold beyond that: milliseconds, the number of runs, what the anchor that was timed in turn took at the
same pace, how often the row was measured anew because of that, the time of day, compact JSON. All times are as they
were measured."""
DRIFT_COLUMNS = ("anchor_ms", "retakes")
"""Those that a file does not hold whose latencies were measured without an anchor."""

MOST_SLOWDOWN = 50.0
"""No machine changes its pace by more than this and still measures anything."""

_WHAT = "a latency data set (CSV)"


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts of a data set."""

    train: IntArray
    valid: IntArray
    test: IntArray


@dataclass(frozen=True)
class AnchoredTimes:
    """Times as they were measured, and the pace that was learnt from them."""

    total_ms: FloatArray
    """Shape (n,): of the rows' networks."""
    anchor_ms: FloatArray
    """Shape (n,): of the anchor, timed in turn with each."""
    pace: Pace
    """The median pace of all rows, and how networks follow its changes, learnt from all rows."""


@dataclass(frozen=True)
class LatencyDataset:
    """Measured latencies of n architectures.

    Where an anchor was timed in turn with them, latencies are given as if the machine had always kept the same pace:
    each row's times are multiplied by what the pace says of the row's total and of its own anchor.
    """

    features: FloatArray
    """Shape (n, 10), in the order of ``FEATURE_NAMES``."""
    encoder_ms: FloatArray
    """Shape (n,): trimmed means."""
    decoder_ms: FloatArray
    """Shape (n,): trimmed means."""
    encoder_std_ms: FloatArray
    """Shape (n,)."""
    decoder_std_ms: FloatArray
    """Shape (n,)."""
    architectures: tuple[Architecture, ...] | None
    """None where the file does not hold them, as the public ones."""
    anchored: AnchoredTimes | None = None
    """None where no anchor was timed, as in the public files."""
    p90_ms: Mapping[Target, FloatArray] = field(default_factory=dict)
    """90th percentiles, shape (n,) each; nothing where the file does not hold them, as the public ones."""

    def __len__(self) -> int:
        return len(self.features)

    @property
    def pace(self) -> Pace | None:
        """The pace that latencies are given at; None where no anchor was timed."""
        return None if self.anchored is None else self.anchored.pace

    def latency_ms(self, target: Target = "total", statistic: Statistic = "mean") -> FloatArray:
        """Latencies of one kind, shape (n,); the mean total is the sum of encoder and decoder.

        Raises:
            DataError: if the file does not hold the 90th percentiles that are asked for.
        """
        if statistic == "p90":
            if target not in self.p90_ms:
                raise DataError(
                    f"the data set must have the column latency_p90_{target} for statistic p90, has not; use mean, or "
                    "measure it with hat-measure-latency."
                )
            return self.p90_ms[target]
        parts = {"encoder": self.encoder_ms, "decoder": self.decoder_ms, "total": self.encoder_ms + self.decoder_ms}
        return parts[target]

    @classmethod
    def load(cls, path: str | Path, unfinished: bool = False) -> "LatencyDataset":
        """Read a CSV of ours or of the public layout; columns are found by name, others are ignored.

        Args:
            path: the file.
            unfinished: whether rows are still being added: a last line without its end is then left out.

        Raises:
            DataError: naming the file and the line, if a column is missing, a value is no number, not finite or
                negative, or the architecture is damaged or does not match the features.
        """
        path = Path(path)
        columns, lines = _read_lines(path, unfinished)
        if not lines:
            raise DataError(f"{path}: must hold at least one row below the column names, is empty.")
        numbers, architectures, anchor_ms = [], [], []
        percentiles: dict[Target, list[float]] = {
            target: [] for target in get_args(Target) if f"latency_p90_{target}" in columns
        }
        for number, line in lines:
            values = values_of(line, len(columns), f"{path}, line {number}")
            row = dict(zip(columns, values, strict=True))
            numbers.append(_numbers(row, f"{path}, line {number}"))
            if "anchor_ms" in row:
                anchor_ms.append(_number(row, "anchor_ms", f"{path}, line {number}"))
            for target, column in percentiles.items():
                column.append(_number(row, f"latency_p90_{target}", f"{path}, line {number}"))
            if "architecture" in row:
                architectures.append(_architecture(row["architecture"], numbers[-1], f"{path}, line {number}"))
        table = np.array(numbers, dtype=np.float64)
        feature_table, now_ms = table[:, : len(FEATURE_NAMES)], table[:, len(FEATURE_NAMES) :]
        anchored, factor = None, np.ones(len(lines))
        if anchor_ms:
            _check_anchors(anchor_ms, [number for number, _ in lines], path)
            times = now_ms[:, 0] + now_ms[:, 1], np.array(anchor_ms)
            anchored = AnchoredTimes(*times, fit_pace(feature_table, *times))
            factor = anchored.pace.factor(*times)
        encoder_ms, decoder_ms, encoder_std_ms, decoder_std_ms = (now_ms * factor[:, None]).T
        return cls(
            features=feature_table,
            encoder_ms=encoder_ms,
            decoder_ms=decoder_ms,
            encoder_std_ms=encoder_std_ms,
            decoder_std_ms=decoder_std_ms,
            architectures=tuple(architectures) or None,
            anchored=anchored,
            p90_ms={target: np.array(column) * factor for target, column in percentiles.items()},
        )

    def split(
        self, seed: int, train_rows: int | None = None, least_train_rows: int = 1, among: IntArray | None = None
    ) -> Split:
        """Train, validation and test rows: 8:1:1 of a permutation of all rows that ``seed`` decides.

        The last tenth is the test part, whatever ``train_rows`` is. Fewer training rows bring fewer validation rows,
        an eighth as many: a predictor said to need 100 measurements must not have chosen its weights on 200 others.

        Args:
            seed: of the permutation.
            train_rows: how many; None takes eight tenths.
            least_train_rows: how few are refused as too few.
            among: numbers of the rows that are split; None takes all.

        Raises:
            DataError: if there are fewer than 10 rows.
            ConfigError: if there are fewer than ``train_rows`` rows to train on.
        """
        among = np.arange(len(self)) if among is None else among
        rows = len(among)
        if rows < 10:
            raise DataError(f"a latency data set must have at least 10 rows to be split 8:1:1, has {rows}.")
        order = among[np.random.default_rng(seed).permutation(rows)].astype(np.int64)
        tenth = rows // 10
        available = rows - 2 * tenth
        if train_rows is None:
            train_rows = available
        if not least_train_rows <= train_rows <= available:
            raise ConfigError(
                f"train_rows: must be from {least_train_rows} to {available}, the rows left of {rows} after validation "
                f"and test, is {train_rows}."
            )
        valid_rows = min(tenth, max(1, train_rows // 8))
        return Split(order[:train_rows], order[available : available + valid_rows], order[rows - tenth :])


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
        columns, _ = _read_lines(self.path)
        if columns != list(self.columns):
            raise DataError(
                f"{self.path}: must start with the columns this version writes, does not; choose another output folder."
            )
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def rows(self) -> list[MeasuredRow]:
        """What the file holds, in order. Raises DataError when a row is damaged."""
        columns, lines = _read_lines(self.path)
        rows = []
        for number, line in lines:
            where = f"{self.path}, line {number}"
            row = dict(zip(columns, values_of(line, len(columns), where), strict=True))
            architecture = _architecture(row["architecture"], _numbers(row, where), where)
            anchor_ms = _number(row, "anchor_ms", where) if "anchor_ms" in row else None
            retakes = int(_number(row, "retakes", where)) if "retakes" in row else 0
            rows.append(MeasuredRow(architecture, anchor_ms, retakes))
        return rows

    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures that the file holds, in order. Raises DataError when a row is damaged."""
        return tuple(row.architecture for row in self.rows())

    def append(self, architecture: Architecture, sample: LatencySample, anchor_ms: float | None = None) -> None:
        """Add one row; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._row(architecture, sample, anchor_ms, 0))
            file.flush()
            os.fsync(file.fileno())

    def retake(self, row: MeasuredRow, sample: LatencySample, anchor_ms: float) -> None:
        """Put a new measurement of a row at the end, instead of the row; a power cut leaves the one or the other."""
        self._replace(row, self._row(row.architecture, sample, anchor_ms, row.retakes + 1))

    def count_retake(self, row: MeasuredRow) -> None:
        """Keep a row as it is, at the end, as one that was measured once more for nothing."""
        columns, lines = _read_lines(self.path)
        (line,) = [
            line for (_, line), known in zip(lines, self.architectures(), strict=True) if known == row.architecture
        ]
        values = dict(zip(columns, values_of(line, len(columns), str(self.path)), strict=True))
        self._replace(row, _line([(values | {"retakes": row.retakes + 1})[name] for name in self.columns]))

    def _replace(self, row: MeasuredRow, new: str) -> None:
        architectures = self.architectures()
        header, *lines = [line for line in self.path.read_text(encoding="utf-8").split("\n") if line.strip()]
        kept = [line for line, known in zip(lines, architectures, strict=True) if known != row.architecture]
        write_text(self.path, "".join(f"{line}\n" for line in (header, *kept)) + new)

    def _row(self, architecture: Architecture, sample: LatencySample, anchor_ms: float | None, retakes: int) -> str:
        encoder, decoder, total = sample.encoder, sample.decoder, sample.total
        values = [
            *features(architecture),
            encoder.mean_ms, decoder.mean_ms, encoder.std_ms, decoder.std_ms,
            encoder.median_ms, encoder.p90_ms, decoder.median_ms, decoder.p90_ms,
            total.mean_ms, total.std_ms, total.median_ms, total.p90_ms, total.p99_ms, sample.runs, anchor_ms, retakes,
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            json.dumps(architecture.to_dict(), separators=(",", ":")),
        ]  # fmt: skip
        named = dict(zip(PUBLIC_COLUMNS + OWN_COLUMNS, values, strict=True))
        return _line([named[name] for name in self.columns])


def _line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _read_lines(path: Path, unfinished: bool = False) -> tuple[list[str], list[tuple[int, str]]]:
    """The column names, and every further line that is not blank with its number. Raises DataError.

    Of an unfinished file, a last line without its end is left out.
    """
    text = read_text(path, _WHAT).removeprefix("\ufeff")  # spreadsheets like to put a mark there
    if not text.strip():
        raise DataError(f"{path}: must be {_WHAT}, is empty.")
    first, *rest = [line.removesuffix("\r") for line in text.split("\n")]
    if unfinished:
        rest = rest[:-1]  # what follows the last end of a line: nothing, or the beginning of a row
    columns = [name.strip() for name in values_of(first, None, f"{path}, line 1")]
    missing = [name for name in PUBLIC_COLUMNS if name not in columns]
    if missing:
        raise DataError(f"{path}, line 1: must name the columns of {_WHAT}, lacks {', '.join(missing)}.")
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}, line 1: must name every column once, names one twice.")
    return columns, [(number, line) for number, line in enumerate(rest, 2) if line.strip()]


def _numbers(row: dict[str, str], where: str) -> list[float]:
    """The features and latencies of a row: features and the mean of the whole above 0, all others at least 0."""
    numbers = [_number(row, name, where) for name in PUBLIC_COLUMNS]
    total_ms = numbers[len(FEATURE_NAMES)] + numbers[len(FEATURE_NAMES) + 1]
    if total_ms == 0 or math.isinf(total_ms):
        raise DataError(f"{where}: latency_mean_encoder and latency_mean_decoder must have a sum above 0 and finite.")
    return numbers


def _check_anchors(anchor_ms: Sequence[float], line_numbers: Sequence[int], path: Path) -> None:
    """Refuse a row whose anchor cannot have taken what the file says."""
    pace = np.array(anchor_ms) / np.median(anchor_ms)
    far = np.flatnonzero((pace > MOST_SLOWDOWN) | (pace < 1 / MOST_SLOWDOWN))
    if len(far) > 0:
        raise DataError(
            f"{path}, line {line_numbers[far[0]]}: anchor_ms must be within {MOST_SLOWDOWN:g} times that of the other "
            f"rows, is {pace[far[0]]:.3g} times their median (damaged?)."
        )


def _number(row: dict[str, str], name: str, where: str) -> float:
    """One value: above 0, but a part's latency and a deviation may be 0."""
    may_be_zero = name in (*LATENCY_COLUMNS, "retakes") or name.startswith("latency_p90_")
    return number_of(row, name, where, may_be_zero)


def _architecture(text: str, numbers: list[float], where: str) -> Architecture:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: architecture must be JSON, is {shorten(text)} (damaged or truncated?).") from None
    try:
        architecture = Architecture.from_dict(values, where=f"{where}: architecture")
    except ConfigError as error:
        raise DataError(str(error)) from None
    for name, expected, value in zip(FEATURE_NAMES, features(architecture), numbers, strict=False):
        if not math.isclose(expected, value, rel_tol=1e-6):
            raise DataError(f"{where}: {name} must be {expected:g} as the architecture says, is {value:g}.")
    return architecture
