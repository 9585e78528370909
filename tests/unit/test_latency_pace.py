"""The pace of a data set: how far small networks follow the anchor is learnt, and never made up."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from hat.latency.pace import MOST_LAG, MOST_SCATTER, Pace
from hat.latency.pace_fitting import fit_pace
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
    assert pace.exponent(1.0) == pace.exponent(20.0) == 1.0  # in full, as the anchor itself
    assert pace.exponent(1 / math.e) == pytest.approx(0.5)
    assert pace.exponent(0.01) == 0.0  # it does not go against the anchor
    assert Pace(10.0).exponent(0.01) == 1.0  # without a lag all follow alike


@pytest.mark.parametrize("lag", [0.0, 0.3, 0.6, 1.5])
@pytest.mark.parametrize("true_ms", [0.5, 3.0, 6.0, 10.0, 40.0])
@pytest.mark.parametrize("slower", [0.7, 1.0, 1.3, 3.0])
def test_what_was_measured_at_another_pace_is_brought_back(lag: float, true_ms: float, slower: float) -> None:
    """The exponent is that of the times at the pace itself, which the times as they are now do not tell directly."""
    pace = Pace(10.0, lag)
    now_ms = true_ms * slower ** float(pace.exponent(true_ms / 10.0))
    assert now_ms * pace.factor(now_ms, 10.0 * slower) == pytest.approx(true_ms)
    many = pace.factor(np.array([now_ms, 20.0]), np.array([10.0 * slower, 10.0]))
    assert many.tolist() == pytest.approx([true_ms / now_ms, 1.0])


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


@pytest.mark.parametrize(("changes", "least"), [(0.06, 0.2), (0.1, 0.35)])
def test_a_lag_that_errors_hide_is_rather_learnt_too_small(changes: float, least: float) -> None:
    lags = [Campaign(200, 0.6, changes, anchor_error=0.02, error=0.02, seed=seed).fit().lag for seed in range(8)]
    assert least < np.mean(lags) < 0.6


def test_networks_as_slow_as_the_anchor_tell_no_lag() -> None:
    """A lag by which networks of half the time would not follow at all must not come out of small errors."""
    campaign = Campaign(60, 0.0, changes=0.1, seed=3)
    campaign.now_ms *= ANCHOR_MS / campaign.true_ms * np.random.default_rng(1).uniform(0.95, 1.0, 60)
    assert campaign.fit().lag < 0.5


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


@pytest.mark.parametrize("anchor_now_ms", [8.0, 13.0])
def test_nineteen_in_twenty_networks_are_within_either_bound(anchor_now_ms: float) -> None:
    pace = Pace(10.0, scatter=0.2)
    exponents = 1.0 + 0.2 * np.random.default_rng(1).standard_t(3, 100_000)
    true_ms = 50.0 * (pace.anchor_ms / anchor_now_ms) ** exponents
    lowest, highest = pace.bounds(50.0, anchor_now_ms)
    assert np.mean(true_ms <= 50.0 * highest) == pytest.approx(0.95, abs=0.005)
    assert np.mean(true_ms >= 50.0 * lowest) == pytest.approx(0.95, abs=0.005)


def test_bounds_are_wide_only_at_another_pace_and_go_against_no_anchor() -> None:
    pace = Pace(10.0, lag=0.5, scatter=0.2)
    assert pace.bounds(7.0, 10.0) == (1.0, 1.0)
    off = 2.353 * 0.2
    assert pace.bounds(30.0, 12.0) == pytest.approx((1.2 ** -(1 + off), 1.2 ** -(1 - off)))
    lowest, highest = pace.bounds(0.1, 12.0)  # a network that does not follow at all
    assert (lowest, highest) == (pytest.approx(1.2**-off), 1.0)


def test_rows_that_cannot_tell() -> None:
    few = Campaign(19, 1.0, changes=0.3)
    unknown = few.fit()
    assert (unknown.anchor_ms, unknown.lag) == (float(np.median(few.anchor_now_ms)), 0.0)
    assert 0.1 < unknown.scatter < 0.2  # what is usual
    kept = Campaign(50, 1.0, changes=0.0, anchor_error=0.0)
    assert kept.fit() == Pace(ANCHOR_MS, 0.0, pytest.approx(unknown.scatter))
    large = Campaign(50, 1.0, changes=0.3)
    large.anchor_now_ms /= 100  # every network takes longer than the anchor
    assert large.fit().lag == 0.0


def test_one_network_again_and_again() -> None:
    """A data set may hold nothing but equals: the cost model knows only their mean then."""
    now_ms, anchor_now_ms = np.array([5.0, 5.5] * 20), np.array([10.0, 20.0] * 20)
    pace = fit_pace(np.ones((40, 10)), now_ms, anchor_now_ms)
    assert pace.anchor_ms == 15.0
    assert 0 < pace.lag <= MOST_LAG and 0 <= pace.scatter <= MOST_SCATTER
