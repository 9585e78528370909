"""Latency data sets: reading ours and the public ones, splitting. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from hat.errors import ConfigError, DataError
from hat.latency.csv_lines import values_of
from hat.latency.layout import architecture_in, public_values, read_lines, value_of
from hat.latency.pace import Pace
from hat.latency.pace_fitting import fit_pace
from hat.latency.rows import FloatArray
from hat.latency.statistics import Statistic
from hat.space import Architecture
from hat.space.encoding import FEATURE_NAMES

IntArray = npt.NDArray[np.int64]
Target = Literal["total", "encoder", "decoder"]

MOST_SLOWDOWN = 50.0
"""No machine changes its pace by more than this and still measures anything."""


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
    name: str = "a latency data set"
    """What error messages call it."""

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
                    f"{self.name}: must have the column latency_p90_{target} for statistic p90, has not; use mean, or "
                    "measure it with hat-measure-latency."
                )
            return self.p90_ms[target]
        parts = {"encoder": self.encoder_ms, "decoder": self.decoder_ms, "total": self.encoder_ms + self.decoder_ms}
        return parts[target]

    @classmethod
    def load(cls, path: str | Path) -> "LatencyDataset":
        """Read a CSV of ours or of the public layout; columns are found by name, others are ignored.

        Raises:
            DataError: naming the file and the line, if a column is missing, a value is no number, not finite or
                negative, or the architecture is damaged or does not match the features.
        """
        path = Path(path)
        columns, lines = read_lines(path)
        if not lines:
            raise DataError(f"{path}: must hold at least one row below the column names, is empty.")
        numbers, architectures, anchor_ms = [], [], []
        percentiles: dict[Target, list[float]] = {
            target: [] for target in get_args(Target) if f"latency_p90_{target}" in columns
        }
        for number, line in lines:
            values = values_of(line, len(columns), f"{path}, line {number}")
            row = dict(zip(columns, values, strict=True))
            numbers.append(public_values(row, f"{path}, line {number}"))
            if "anchor_ms" in row:
                anchor_ms.append(value_of(row, "anchor_ms", f"{path}, line {number}"))
            for target, column in percentiles.items():
                column.append(value_of(row, f"latency_p90_{target}", f"{path}, line {number}"))
            if "architecture" in row:
                architectures.append(architecture_in(row["architecture"], numbers[-1], f"{path}, line {number}"))
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
            name=str(path),
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
            left_out = f" ({len(self) - rows} of {len(self)} are left out)" if rows < len(self) else ""
            raise DataError(f"{self.name}: must have at least 10 rows to be split 8:1:1, has {rows}{left_out}.")
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


def _check_anchors(anchor_ms: Sequence[float], line_numbers: Sequence[int], path: Path) -> None:
    """Refuse a row whose anchor cannot have taken what the file says."""
    pace = np.array(anchor_ms) / np.median(anchor_ms)
    far = np.flatnonzero((pace > MOST_SLOWDOWN) | (pace < 1 / MOST_SLOWDOWN))
    if len(far) > 0:
        raise DataError(
            f"{path}, line {line_numbers[far[0]]}: anchor_ms must be within {MOST_SLOWDOWN:g} times that of the other "
            f"rows, is {pace[far[0]]:.3g} times their median (damaged?)."
        )
