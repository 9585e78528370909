"""Learning rates of the authors' program, at the updates where it was asked."""

import json
from pathlib import Path

import pytest

from hat.training.optimizer import ScheduleConfig, learning_rate

IWSLT = ScheduleConfig(kind="inverse_sqrt", peak=5e-4, warmup_updates=10_000, warmup_start=1e-7)
WMT = ScheduleConfig(kind="cosine", peak=1e-3, warmup_updates=10_000, warmup_start=1e-7, minimum=1e-7)
LAST_COSINE_UPDATE = 40_000


def points(shared: Path, name: str) -> list[tuple[int, float]]:
    values = json.loads((shared / "reference/golden/lr_schedules.json").read_text(encoding="utf-8"))[name]
    assert len(values) > 10
    return [(int(update), float(rate)) for update, rate in values]


def test_inverse_square_root(shared: Path) -> None:
    for update, rate in points(shared, "iwslt_inverse_sqrt"):
        assert learning_rate(IWSLT, update, 50_000) == pytest.approx(rate, rel=1e-12), update


def test_cosine(shared: Path) -> None:
    expected = points(shared, "wmt_cosine")
    # At the very last update theirs jumps back to the peak; ours ends at the minimum.
    assert expected.pop() == (LAST_COSINE_UPDATE, 1e-3)
    for update, rate in expected:
        assert learning_rate(WMT, update, LAST_COSINE_UPDATE) == pytest.approx(rate, rel=1e-9), update
    assert learning_rate(WMT, LAST_COSINE_UPDATE, LAST_COSINE_UPDATE) == WMT.minimum
