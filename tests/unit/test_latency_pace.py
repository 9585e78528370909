"""The pace of a data set: how far small networks follow the anchor is learnt, and never made up."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from hat.latency.pace import Pace, fit_pace
from hat.latency.rows import FloatArray
from hat.space import SearchSpace
from hat.space.encoding import features

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs" / "space" / "multi30k.yaml")
ANCHOR_MS = 17.0


class Campaign:
    """Rows of a machine whose pace changes, with errors of the anchor's and of the networks' times."""

    def __init__(
        self,
        rows: int,
        lag: float,
        changes: float,
        anchor_error: float = 0.01,
        error: float = 0.01,
        scatter: float = 0.0,
        seed: int = 1,
    ) -> None:
        rng, generator = random.Random(seed), np.random.default_rng(seed)
        self.features = np.array([features(SPACE.sample(rng)) for _ in range(rows)])
        _, layers, _, _, width, depth, ffn, *_ = self.features.T
        self.true_ms: FloatArray = 2 + 0.3 * layers + depth * (1 + 0.01 * width + 0.004 * ffn)
        change = generator.normal(0, changes, rows)
        change -= np.median(change)
        follows = np.clip(1 + lag * np.minimum(np.log(self.true_ms / ANCHOR_MS), 0), 0, 1)
        follows = follows + scatter * generator.standard_t(3, rows)
        self.now_ms = self.true_ms * np.exp(follows * change + generator.normal(0, error, rows))
        self.anchor_now_ms = ANCHOR_MS * np.exp(change + generator.normal(0, anchor_error, rows))

    def fit(self) -> Pace:
        return fit_pace(self.features, self.now_ms, self.anchor_now_ms)

    def error(self, pace: Pace) -> float:
        """Mean relative error of the rows at one pace."""
        at_pace_ms = self.now_ms * pace.factor(self.now_ms, self.anchor_now_ms)
        return float(np.abs(at_pace_ms / self.true_ms - 1).mean())


def test_how_far_networks_follow() -> None:
    pace = Pace(10.0, lag=0.5)
    slow, eighth = 20.0, 20.0 / math.e**1.5
    assert pace.factor(20.0, slow) == pace.factor(200.0, slow) == 0.5  # in full, as the anchor itself
    assert pace.factor(eighth, slow) == pytest.approx(0.5**0.25)
    assert pace.factor(1.0, slow) == 1.0  # it does not go against the anchor
    assert pace.factor(3.0, 10.0) == pytest.approx(1.0)
    assert pace.exponent(0.5) == pytest.approx(1 - 0.5 * math.log(2))
    many = pace.factor(np.array([20.0, eighth]), np.array([slow, slow]))
    assert many.tolist() == [pace.factor(20.0, slow), pace.factor(eighth, slow)]
    assert Pace(10.0).factor(1.0, slow) == 0.5  # without a lag all follow alike


@pytest.mark.parametrize("lag", [0.0, 0.3, 0.6])
def test_the_lag_is_learnt(lag: float) -> None:
    campaign = Campaign(400, lag, changes=0.15)
    pace = campaign.fit()
    assert pace.lag == pytest.approx(lag, abs=0.08)
    assert pace.anchor_ms == float(np.median(campaign.anchor_now_ms))
    assert campaign.error(pace) < 0.018  # of two times with an error of 0.01 each
    if lag > 0.2:
        assert campaign.error(pace) < 0.8 * campaign.error(Pace(pace.anchor_ms))


@pytest.mark.parametrize("seed", range(5))
def test_disturbed_rows_do_not_decide(seed: int) -> None:
    campaign = Campaign(200, 0.6, changes=0.15, seed=seed)
    campaign.now_ms[::12] *= 1.6
    assert campaign.fit().lag == pytest.approx(0.6, abs=0.15)


@pytest.mark.parametrize("error", [0.01, 0.02])
@pytest.mark.parametrize("seed", range(5))
def test_the_anchors_own_error_is_no_lag(error: float, seed: int) -> None:
    """On a machine that keeps its pace small networks seem not to follow the anchor at all."""
    assert Campaign(200, 0.6, changes=0.0, anchor_error=0.02, error=error, seed=seed).fit().lag < 0.1
    assert Campaign(200, 0.0, changes=0.05, anchor_error=0.02, error=error, seed=seed).fit().lag < 0.1


@pytest.mark.parametrize("scatter", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_how_much_networks_differ_is_learnt(scatter: float, seed: int) -> None:
    assert Campaign(400, 0.5, changes=0.1, scatter=scatter, seed=seed).fit().scatter == pytest.approx(scatter, abs=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_the_anchors_own_error_is_no_scatter(seed: int) -> None:
    """On a machine that keeps its pace, rows tell nothing of it, however many there are."""
    kept = Campaign(400, 0.5, changes=0.0, anchor_error=0.02, error=0.02, scatter=0.4, seed=seed)
    assert kept.fit().scatter < 0.2


def test_nineteen_in_twenty_networks_are_within_the_margin() -> None:
    pace = Pace(10.0, scatter=0.2)
    exponents = 1.0 + 0.2 * np.random.default_rng(1).standard_t(3, 100_000)
    for anchor_now_ms in (8.0, 13.0):
        true_ms = 50.0 * (pace.anchor_ms / anchor_now_ms) ** exponents
        read_ms = 50.0 * pace.factor(50.0, anchor_now_ms)
        assert np.mean(true_ms <= read_ms * pace.margin(anchor_now_ms)) == pytest.approx(0.95, abs=0.005)
        assert np.mean(true_ms >= read_ms / pace.margin(anchor_now_ms)) == pytest.approx(0.95, abs=0.005)
    assert pace.margin(10.0) == 1.0


def test_rows_that_cannot_tell() -> None:
    few = Campaign(19, 1.0, changes=0.3)
    unknown = few.fit()
    assert (unknown.anchor_ms, unknown.lag) == (float(np.median(few.anchor_now_ms)), 0.0)
    assert 0.1 < unknown.scatter < 0.2  # what is usual
    kept = Campaign(50, 1.0, changes=0.0, anchor_error=0.0)
    assert kept.fit() == Pace(ANCHOR_MS, 0.0, unknown.scatter)
    large = Campaign(50, 1.0, changes=0.3)
    large.anchor_now_ms /= 100  # every network takes longer than the anchor
    assert large.fit().lag == 0.0


def test_one_network_again_and_again() -> None:
    """A data set may hold nothing but equals: the cost model knows only their mean then."""
    now_ms, anchor_now_ms = np.array([5.0, 5.5] * 20), np.array([10.0, 20.0] * 20)
    pace = fit_pace(np.ones((40, 10)), now_ms, anchor_now_ms)
    assert math.isfinite(pace.lag) and pace.anchor_ms == 15.0
