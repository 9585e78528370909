"""How far a predictor can be trusted, and which kind to take, from rows it was not fitted to."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from hat.config import Section
from hat.latency.cost_model import CostModel
from hat.latency.fitting import FITTERS, Rows
from hat.latency.mlp import MLP, FloatArray
from hat.latency.predictor import Calibration

FOLDS = 5
COVERAGE = 0.9
"""Share of the measurements that an interval is to hold."""


def cross_validated_errors(kind: str, rows: Rows, options: Section, seed: int) -> FloatArray:
    """Relative errors of predictions for rows that the model was not fitted to, (n,), parts of the prediction.

    Args:
        kind: a key of ``FITTERS``.
        rows: features (n, 10) and latencies in ms (n,).
        options: those of that kind.
        seed: of the folds, and of the fits.

    Raises:
        ConfigError: as the fit does.
    """
    features, latency_ms = rows
    errors = np.empty(len(latency_ms))
    order = np.random.default_rng(seed).permutation(len(latency_ms))
    for held_out in np.array_split(order, min(FOLDS, len(order))):
        rest = order[~np.isin(order, held_out)]
        valid, train = rest[: max(1, len(rest) // 8)], rest[max(1, len(rest) // 8) :]
        parts = ((features[part], latency_ms[part]) for part in (train, valid))
        predicted_ms = FITTERS[kind](*parts, options, seed).predict_ms(features[held_out])
        errors[held_out] = np.abs(latency_ms[held_out] / predicted_ms - 1)
    return errors


def left_out_errors(fit: Callable[[Rows], MLP | CostModel], rows: Rows) -> FloatArray:
    """As :func:`cross_validated_errors`, for few rows and a quick fit: every row is left out once, alone; (n,)."""
    features, latency_ms = rows
    errors = np.empty(len(latency_ms))
    for row in range(len(latency_ms)):
        others = np.arange(len(latency_ms)) != row
        predicted_ms = fit((features[others], latency_ms[others])).predict_ms(features[row : row + 1])
        errors[row] = abs(latency_ms[row] / predicted_ms[0] - 1)
    return errors


def choose_kind(rows: Rows, options: Mapping[str, Section], seed: int) -> tuple[str, FloatArray]:
    """The kind of the smallest mean cross-validated error, and its errors; ``options`` are those of every kind."""
    errors = {kind: cross_validated_errors(kind, rows, options[kind], seed) for kind in FITTERS}
    best = min(errors, key=lambda kind: float(errors[kind].mean()))
    return best, errors[best]


def conformal_bound(errors: FloatArray) -> float | None:
    """What a new error of the same kind exceeds at most one time in ten; None where there are too few errors to say.

    The ⌈0.9 (n + 1)⌉-th smallest error: exact for errors that could have come in any order, whatever their
    distribution, if the model had been fitted to other rows only.

    Source: V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74 (2015).
    """
    rank = math.ceil(COVERAGE * (len(errors) + 1))
    return None if rank > len(errors) else float(np.sort(errors)[rank - 1])


def calibrate(train: Rows, errors: FloatArray) -> Calibration:
    """How far a predictor can be trusted that was fitted to ``train``, with these :func:`cross_validated_errors`."""
    features, _ = train
    return Calibration(
        conformal_bound(errors), tuple(features.min(axis=0).tolist()), tuple(features.max(axis=0).tolist())
    )
