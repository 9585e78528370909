"""Learning from a data set how its networks followed the machine's pace. No torch."""

from dataclasses import replace

import numpy as np

from hat.latency.cost_model import CostModelOptions, fit_cost_model
from hat.latency.pace import FREEDOM, MOST_LAG, MOST_SCATTER, Pace
from hat.latency.rows import FloatArray, Rows
from hat.latency.statistics import robust_deviation

_LEAST_ROWS = 20
"""Fewer tell nothing: a cost model has about as many terms."""
_ROUNDS = 8
_USUAL_LAG = 1.0
"""What lags are like before any row has told: the width of a half-normal distribution."""
_USUAL_SCATTER = 0.2
"""What scatters are like, likewise."""


def fit_pace(features: FloatArray, now_ms: FloatArray, anchor_now_ms: FloatArray) -> Pace:
    """The median pace of a data set's rows, and how far their networks followed its changes.

    In turns: a cost model is fitted to the rows at one pace; how far each row fell short of the anchor's change is
    regressed on how far it would with a lag of 1, which gives a better lag, and that brings the rows to one pace.

    The anchor's time has an error of its own, which no network follows: it looks like a lag, and is not one. Its square
    is taken to be half of that of what is left unexplained, as the error of a ratio comes from two times; so much is
    taken off, and added to the squares of the changes. So the lag is rather too small than too large, near 0 where the
    changes are no larger than the error, and 0 with fewer than 20 rows.

    Args:
        features: shape (n, 10).
        now_ms: total latencies as they were measured, shape (n,).
        anchor_now_ms: those of the anchor, timed in turn with each row's network, shape (n,).
    """
    pace = Pace(float(np.median(anchor_now_ms)))
    if len(now_ms) < _LEAST_ROWS:
        return replace(pace, scatter=_scatter(np.zeros(0), np.zeros(0), noise=1.0))
    change = np.log(anchor_now_ms) - np.log(pace.anchor_ms)
    for _ in range(_ROUNDS):
        expected_ms, error, noise = _explained(pace, features, now_ms, anchor_now_ms)
        weights = (FREEDOM + 1) / (FREEDOM + (error / noise) ** 2)
        short = change - (np.log(now_ms) - np.log(expected_ms))
        smaller = np.maximum(np.log(pace.anchor_ms) - np.log(expected_ms), 0.0)
        if pace.lag > 0:  # a network that does not follow at all falls short by no more than the change
            smaller = np.minimum(smaller, 1 / pace.lag)
        products = (weights * smaller * (change * short - noise**2 / 2)).sum()
        squares = (weights * smaller**2 * (change**2 + noise**2 / 2)).sum() + (noise / _USUAL_LAG) ** 2
        pace = replace(pace, lag=float(np.clip(products / squares, 0.0, MOST_LAG)))
    _, error, noise = _explained(pace, features, now_ms, anchor_now_ms)
    return replace(pace, scatter=_scatter(error, change, noise))


def _explained(
    pace: Pace, features: FloatArray, now_ms: FloatArray, anchor_now_ms: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """What a cost model expects of every row at one pace, (n,), the logarithmic errors, (n,), and their deviation."""
    same_pace_ms = now_ms * pace.factor(now_ms, anchor_now_ms)
    expected_ms = fit_cost_model(Rows(features, same_pace_ms), CostModelOptions()).predict_ms(features)
    error = np.log(same_pace_ms) - np.log(expected_ms)
    return expected_ms, error, max(robust_deviation(error), 1e-6)


def _scatter(error: FloatArray, change: FloatArray, noise: float) -> float:
    """The expected scatter; a scatter makes the rows' errors grow with the anchor's changes.

    The posterior mean over a grid, for each scatter with the noise that fits best; without rows, or without changes,
    the mean of what is usual.
    """
    scatters, noises = np.linspace(0.0, MOST_SCATTER, 21), noise * np.geomspace(0.2, 2.0, 40)
    # The anchor's error is a part of its change, and of the row's error: that grows together, too.
    of_change = min(1.0, noise**2 / 2 / max(float((change**2).sum()) / max(len(change), 1), 1e-12))
    log_weights = -0.5 * (scatters / _USUAL_SCATTER) ** 2
    for number, scatter in enumerate(scatters):
        squares = noises[:, None] ** 2 + (scatter**2 + of_change**2) * change**2  # (40, n)
        likelihood = -0.5 * np.log(squares) - 0.5 * (FREEDOM + 1) * np.log1p(error**2 / squares / FREEDOM)
        log_weights[number] += likelihood.sum(axis=1).max()
    weights = np.exp(log_weights - log_weights.max())
    return float((weights * scatters).sum() / weights.sum())
