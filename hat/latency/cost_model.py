"""A latency predictor that adds up what the parts of a network cost: few numbers, so few measurements. No torch."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from hat.config import Section
from hat.errors import ConfigError
from hat.latency.rows import FloatArray, Rows

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

_ENCODER_TERMS = (0, 1, 2, 3, 4, 5)
"""What the encoder alone pays for..."""
_DECODER_TERMS = (0, 6, 7, 8, 9, 10, 11, 12, 13, 14)
"""... and the decoder; each has a constant of its own."""
_ITERATIONS = 40
_LOWEST_SHARE = 0.01


class CostModelOptions(Section):
    """How the costs are fitted."""

    degrees_of_freedom: float = Field(default=3.0, gt=0)
    """Of the Student t distribution that relative errors are taken to have: the fewer, the less a row far off counts.
    Latency sets hold rows that were measured while the machine did something else. 1000 is as good as normal."""
    change_penalty: float = Field(default=1.0, gt=0)
    """With ``adapt``: how much a change of a cost is held back. 0.1 to 10 do about equally well on the public sets."""


def cost_terms(features: FloatArray) -> FloatArray:
    """The terms of n architectures, (n, 10) → (n, 15).

    All layers of a stack have one width, so sums over layers of width times anything follow from the ten averages:
    nothing is lost by not looking at the single layers, unless a product's kernel depends on its size, as that of int8
    and bfloat16 on the backend ``eager`` does.
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


def fit_cost_model(train: Rows, options: CostModelOptions) -> CostModel:
    """Fit the costs to small relative errors, of which some may be large.

    Where ``train.encoder_ms`` is known, encoder and decoder are fitted each to its own time, and their costs added.

    Raises:
        ConfigError: if there are fewer than 3 rows.
    """
    if len(train) < 3:
        raise ConfigError(f"train_rows: must be at least 3 for kind structured, is {len(train)}.")
    terms, encoder_ms = cost_terms(train.features), train.encoder_ms
    costs = np.zeros(len(TERM_NAMES))
    if encoder_ms is None or (encoder_ms <= 0).any() or (encoder_ms >= train.latency_ms).any():
        costs += _fit(terms, train.latency_ms, options)
    else:
        for names, part_ms in ((_ENCODER_TERMS, encoder_ms), (_DECODER_TERMS, train.latency_ms - encoder_ms)):
            costs[list(names)] += _fit(terms[:, names], part_ms, options)
    return CostModel(tuple(costs.tolist()), float(train.latency_ms.mean()) * _LOWEST_SHARE)


def adapt_cost_model(source: CostModel, train: Rows, options: CostModelOptions) -> CostModel:
    """Fit the costs of another device or task to a few rows: those of ``source``, scaled, changed where rows insist.

    The smallest relative error, with a penalty on every change of a cost by the latency that it brings to the average
    row: between the tasks of one device a single factor explains nearly everything, and five rows tell it.

    Args:
        source: what was fitted to many rows elsewhere.
        train: the rows, 2 or more.
        options: ``change_penalty`` is used.

    Raises:
        ConfigError: if there are fewer than 2 rows.
    """
    features, latency_ms = train.features, train.latency_ms
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


def _fit(terms: FloatArray, latency_ms: FloatArray, options: CostModelOptions) -> FloatArray:
    """Costs in ms of terms whose first is the constant; (n, k), (n,) → (k,).

    Bayesian linear regression of the relative error: the noise has Student's t distribution, every standardised term
    but the constant a normal prior of its own width. Expectation maximisation finds the widths, so that a term that
    the rows do not speak of costs next to nothing, and one that they do is not held back.

    Source: D. J. C. MacKay, "Bayesian interpolation", Neural Computation 4 (1992), with the weights of K. L. Lange,
    R. J. A. Little and J. M. G. Taylor, "Robust statistical modeling using the t distribution", JASA 84 (1989).
    """
    mean, scale = terms.mean(axis=0), terms.std(axis=0)
    varies = scale > 1e-9 * np.abs(mean)
    mean[0], scale[0], varies[0] = 0.0, 1.0, True
    # A term that never varied in the data costs nothing of its own: the constant holds what it adds.
    unit = np.where(varies, np.median(latency_ms) / np.where(varies, scale, 1.0), 0.0)
    rows = (terms - mean) * unit / latency_ms[:, None]  # what would be 1 without noise, if multiplied by the costs
    freedom, weights, variance = options.degrees_of_freedom, np.ones(len(rows)), 0.01
    widths = np.full(terms.shape[1], 0.1)  # squared
    for _ in range(_ITERATIONS):
        widths[0] = 1e12  # the constant is free
        weighted = rows * (weights / variance)[:, None]
        covariance = np.linalg.inv(weighted.T @ rows + np.diag(1 / widths))
        costs = covariance @ weighted.sum(axis=0)
        squares = (rows @ costs - 1) ** 2 + ((rows @ covariance) * rows).sum(axis=1)
        variance = max(float((weights * squares).mean()), 1e-12)
        weights = (freedom + 1) / (freedom + squares / variance)
        widths = np.maximum(costs**2 + np.diag(covariance), 1e-12)
    costs *= unit
    costs[0] -= float((costs[1:] * mean[1:]).sum())
    return np.asarray(costs)
