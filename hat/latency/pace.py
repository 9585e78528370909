"""What a machine's pace does to latencies that were measured at different times, network by network. No torch.

An *anchor* that is timed in turn with every network says how much longer the machine takes when it heats up or shares
its processor. But small networks, of fewer weights to read, slow down less than large ones.
"""

from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from hat.latency.cost_model import CostModelOptions, fit_cost_model
from hat.latency.rows import FloatArray, Rows

_LEAST_ROWS = 20
"""Of fewer rows a cost model tells nothing but the networks' latencies."""
_ROUNDS = 8
_FREEDOM = 3.0
"""Of the Student t distribution that errors and exponents are taken to have, as in the cost model..."""
_SURE = 2.353
"""... of whose draws nineteen in twenty are below so many times its scale."""
_SCATTERS = np.arange(0.0, 1.01, 0.05)
_USUAL_SCATTER = 0.2
"""What scatters are taken to be like, a half-normal distribution of this width, before any row has told."""


@dataclass(frozen=True)
class Pace:
    """The pace that latencies are given at, and how networks follow when the machine's pace is another.

    Where the anchor takes a times as long, networks that take as long as it or longer take a times as long, too. Those
    that take less take a^e times as long, ``e = 1 - lag * log(time of the anchor / time of the network)``, 0 at least.
    """

    anchor_ms: float
    """Total latency of the anchor at this pace."""
    lag: float = 0.0
    """How much less networks follow that take a 2.718th of the anchor's time; 0 where all follow alike."""
    scatter: float = 0.0
    """How far single networks' exponents are from that: the scale of a Student t distribution, 3 degrees of freedom."""

    def exponent(self, ratio: float | FloatArray) -> FloatArray:
        """How far networks follow, from 0 to 1, that take ``ratio`` times as long as the anchor."""
        return np.asarray(np.clip(1 + self.lag * np.log(ratio), 0.0, 1.0))

    def margin(self, anchor_now_ms: float) -> float:
        """By how many times a latency at this pace may be too low, or too high, because networks differ.

        It is 1 where the anchor takes as long as at this pace, and grows with what must be taken away; nineteen in
        twenty networks are within it on either side.
        """
        return float(np.exp(_SURE * self.scatter * abs(np.log(anchor_now_ms / self.anchor_ms))))

    @overload
    def factor(self, now_ms: float, anchor_now_ms: float) -> float: ...

    @overload
    def factor(self, now_ms: FloatArray, anchor_now_ms: FloatArray) -> FloatArray: ...

    def factor(self, now_ms: float | FloatArray, anchor_now_ms: float | FloatArray) -> float | FloatArray:
        """What a network's times are to be multiplied by, to be what they are at this pace.

        Args:
            now_ms: total latency of the network as it was measured; or of n networks, shape (n,).
            anchor_now_ms: that of the anchor, timed in turn with it; likewise.
        """
        exponent = self.exponent(np.divide(now_ms, anchor_now_ms))
        factor = np.asarray(np.divide(self.anchor_ms, anchor_now_ms) ** exponent)
        return float(factor) if factor.ndim == 0 else factor


def fit_pace(features: FloatArray, now_ms: FloatArray, anchor_now_ms: FloatArray) -> Pace:
    """The median pace of a data set's rows, and how far their networks followed its changes.

    In turns: a cost model is fitted to the rows at one pace; what it does not explain of them as they were measured is
    regressed on the anchor's changes, which gives a better lag, and that brings the rows to one pace.

    The anchor's time has an error of its own, which no network follows: it looks like a lag, and is not one. Its square
    is taken to be half of that of what is left unexplained, as the error of a ratio comes from two times; so much is
    taken off, and holds the lag at 0 where changes are no larger. There it stays, too, with fewer than 20 rows.

    How much single networks differ from that, the scatter, is read from errors that grow with the anchor's changes.

    Args:
        features: shape (n, 10).
        now_ms: total latencies as they were measured, shape (n,).
        anchor_now_ms: those of the anchor, timed in turn with each row's network, shape (n,).
    """
    pace = Pace(float(np.median(anchor_now_ms)))
    if len(now_ms) < _LEAST_ROWS:
        return replace(pace, scatter=_scatter(np.zeros(0), np.zeros(0), noise=1.0))
    change = np.log(anchor_now_ms / pace.anchor_ms)
    smaller = np.maximum(np.log(anchor_now_ms / now_ms), 0.0)
    for _ in range(_ROUNDS):
        same_pace_ms = now_ms * pace.factor(now_ms, anchor_now_ms)
        expected_ms = fit_cost_model(Rows(features, same_pace_ms), CostModelOptions()).predict_ms(features)
        error = np.log(same_pace_ms / expected_ms)
        noise = max(1.4826 * float(np.median(np.abs(error))), 1e-6)
        weights = (_FREEDOM + 1) / (_FREEDOM + (error / noise) ** 2)
        missing = change - np.log(now_ms / expected_ms)  # of what all would take that followed the anchor in full
        lagging = (weights * smaller * (change * missing - noise**2 / 2)).sum()
        changes = (weights * smaller**2 * (change**2 + noise**2 / 2)).sum()
        pace = Pace(pace.anchor_ms, max(0.0, float(lagging / changes)) if changes > 0 else 0.0)
    return replace(pace, scatter=_scatter(error, change, noise))


def _scatter(error: FloatArray, change: FloatArray, noise: float) -> float:
    """What is to be expected of the scatter after the rows' errors, which it makes grow with the anchor's changes.

    The mean of its posterior distribution; without rows, or where all were measured at one pace, that of the prior.
    """
    noises = noise * np.geomspace(0.2, 2.0, 40)
    # The anchor's error is a part of its change, and of the row's error: that grows together, too.
    own = min(1.0, noise**2 / 2 / max(float((change**2).sum()) / max(len(change), 1), 1e-12))
    squares = noises[:, None, None] ** 2 + (_SCATTERS[:, None] ** 2 + own**2) * change**2  # (noises, scatters, n)
    likelihood = -0.5 * np.log(squares) - 0.5 * (_FREEDOM + 1) * np.log1p(error**2 / squares / _FREEDOM)
    posterior = likelihood.sum(axis=2).max(axis=0) - 0.5 * (_SCATTERS / _USUAL_SCATTER) ** 2
    weights = np.exp(posterior - posterior.max())
    return float((weights * _SCATTERS).sum() / weights.sum())
