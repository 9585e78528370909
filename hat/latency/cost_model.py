"""A latency predictor that adds up what the parts of a network cost: few numbers, so few measurements. No torch."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from hat.config import Section
from hat.errors import ConfigError
from hat.latency.mlp import FloatArray

TERM_NAMES = (
    "constant",
    "encoder width",
    "encoder layers",
    "encoder layers x width",
    "encoder layers x width x ffn",
    "encoder self-attention heads",
    "decoder width",
    "decoder layers",
    "decoder layers x width",
    "decoder layers x width x ffn",
    "decoder self-attention heads",
    "decoder cross-attention heads",
    "attended encoder layers",
    "attended encoder layers x encoder width",
    "decoder layers squared",
)
"""What is paid for. Heads and attended layers are counted over all layers of a stack."""

_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_REWEIGHTINGS = 10
_LOWEST_SHARE = 0.01


class CostModelOptions(Section):
    """How the costs are fitted."""

    outlier: float = Field(default=1.5, gt=0)
    """A row whose relative error is more than this many (robust) standard deviations counts less, as Huber has it:
    latency sets hold rows that were measured while the machine did something else."""
    change_penalty: float = Field(default=1.0, gt=0)
    """With ``adapt``: how much a change of a cost is held back. 0.1 to 10 do about equally well on the public sets."""


def cost_terms(features: FloatArray) -> FloatArray:
    """The terms of n architectures, (n, 10) → (n, 15).

    All layers of a stack have one width, so sums over layers of width times anything follow from the ten averages:
    nothing is lost by not looking at the single layers.
    """
    e, e_layers, e_ffn, e_heads, d, d_layers, d_ffn, self_heads, cross_heads, attended = features.T
    return np.stack(
        [
            np.ones(len(features)), e, e_layers, e_layers * e, e_layers * e * e_ffn, e_layers * e_heads,
            d, d_layers, d_layers * d, d_layers * d * d_ffn, d_layers * self_heads, d_layers * cross_heads,
            d_layers * attended, d_layers * attended * e, d_layers**2,
        ],
        axis=1,
    )  # fmt: skip


@dataclass(frozen=True)
class CostModel:
    """Latency as a sum of costs."""

    costs_ms: tuple[float, ...]
    """Milliseconds for one unit of each term, in the order of ``TERM_NAMES``. Only their sum is meant to be read as a
    latency: where terms rise and fall together in the data, a single cost can be anything, even below zero."""
    lowest_ms: float
    """No prediction is below this, however far an architecture is from those that were measured."""

    def predict_ms(self, features: FloatArray) -> FloatArray:
        """Latencies of n architectures, (n, 10) → (n,), rounded to a nanosecond."""
        total = (cost_terms(features) * np.array(self.costs_ms)).sum(axis=1)
        return np.asarray(np.round(np.maximum(total, self.lowest_ms), 6))


def fit_cost_model(train: tuple[FloatArray, FloatArray], options: CostModelOptions) -> CostModel:
    """Fit the costs to the smallest relative error.

    Ridge regression on standardised terms, every row divided by its latency, rows far off weighted down (Huber,
    iterated). The penalty is the one of the smallest leave-one-out error, which has a closed form.

    Args:
        train: features (n, 10) and latencies in ms (n,), above 0.
        options: the recipe.

    Raises:
        ConfigError: if there are fewer than 3 rows.
    """
    features, latency_ms = train
    if len(latency_ms) < 3:
        raise ConfigError(f"train_rows: must be at least 3 for kind structured, is {len(latency_ms)}.")
    terms = cost_terms(features)
    mean, scale = terms.mean(axis=0), terms.std(axis=0)
    varies = scale > 1e-9 * np.abs(mean)
    mean[0], scale[0], varies[0] = 0.0, 1.0, True
    # A term that never varied in the data costs nothing of its own: the constant holds what it adds.
    rows = np.where(varies, (terms - mean) / np.where(varies, scale, 1.0), 0.0) / latency_ms[:, None]
    best = min((_ridge(rows, penalty, options.outlier) for penalty in _PENALTIES), key=lambda fit: fit[1])[0]
    costs = np.where(varies, best / np.where(varies, scale, 1.0), 0.0)
    costs[0] -= float((costs[1:] * mean[1:]).sum())
    return CostModel(tuple(costs.tolist()), float(latency_ms.mean()) * _LOWEST_SHARE)


def adapt_cost_model(source: CostModel, train: tuple[FloatArray, FloatArray], options: CostModelOptions) -> CostModel:
    """Fit the costs of another device or task to a few rows: those of ``source``, scaled, changed where rows insist.

    The smallest relative error, with a penalty on every change of a cost by the latency that it brings to the average
    row: between the tasks of one device a single factor explains nearly everything, and five rows tell it.

    Args:
        source: what was fitted to many rows elsewhere.
        train: features (n, 10) and latencies in ms (n,), above 0.
        options: ``change_penalty`` is used.

    Raises:
        ConfigError: if there are fewer than 2 rows.
    """
    features, latency_ms = train
    if len(latency_ms) < 2:
        raise ConfigError(f"train_rows: must be at least 2 to adapt a predictor, is {len(latency_ms)}.")
    terms, costs = cost_terms(features), np.array(source.costs_ms)
    elsewhere_ms = source.predict_ms(features)
    unit = elsewhere_ms.mean() / terms.mean(axis=0)  # the change of each cost that brings one more average latency
    rows = np.column_stack([elsewhere_ms, terms * unit]) / latency_ms[:, None]
    penalty = np.diag([0.0, *([options.change_penalty] * len(unit))])
    factor, *changes = np.linalg.solve(rows.T @ rows + penalty, rows.sum(axis=0)).tolist()
    adapted = factor * costs + np.array(changes) * unit
    return CostModel(tuple(adapted.tolist()), float(latency_ms.mean()) * _LOWEST_SHARE)


def _ridge(rows: FloatArray, penalty: float, outlier: float) -> tuple[FloatArray, float]:
    """Weights that bring ``rows`` near 1, and the mean (Huber-weighted) leave-one-out error; (n, k) → (k,), float."""
    weights = np.ones(len(rows))
    for _ in range(_REWEIGHTINGS):
        square = (rows * weights[:, None]).T @ rows
        size = np.trace(square) / len(square)
        ridge = np.full(len(square), penalty * size)
        ridge[0] = 1e-12 * size  # the constant is free
        inverse = np.linalg.inv(square + np.diag(ridge))
        solution = inverse @ (rows * weights[:, None]).sum(axis=0)
        error = rows @ solution - 1
        deviation = 1.4826 * float(np.median(np.abs(error))) + 1e-12
        weights = np.minimum(1.0, outlier * deviation / np.maximum(np.abs(error), 1e-12))
    leverage = np.einsum("ij,jk,ik->i", rows * weights[:, None], inverse, rows)
    left_out = np.abs(error) / np.maximum(1 - leverage, 1e-6)
    return solution, float((weights * left_out).sum() / weights.sum())
