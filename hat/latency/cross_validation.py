"""How far a predictor can be trusted, and which kind to take, from rows it was not fitted to."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from hat.config import Section
from hat.latency.cost_model import CostModel
from hat.latency.fitting import FITTERS
from hat.latency.mlp import MLP
from hat.latency.predictor import Calibration
from hat.latency.rows import FloatArray, Rows

FOLDS = 5
_LEAST_ERRORS = 5  # fewer tell nothing of a new one: it would exceed the largest of four once in five times
COVERAGE = 0.9
"""Share of the measurements that an interval is to hold."""


def cross_validated_errors(kind: str, rows: Rows, options: Section, seed: int) -> FloatArray:
    """Relative errors of predictions for rows that the model was not fitted to, (n,), parts of the prediction.

    Args:
        kind: a key of ``FITTERS``.
        rows: all there are.
        options: those of that kind.
        seed: of the folds, and of the fits.

    Raises:
        ConfigError: as the fit does.
    """
    errors = np.empty(len(rows))
    order = np.random.default_rng(seed).permutation(len(rows))
    for held_out in np.array_split(order, min(FOLDS, len(order))):
        rest = order[~np.isin(order, held_out)]
        valid, train = rest[: max(1, len(rest) // 8)], rest[max(1, len(rest) // 8) :]
        model = FITTERS[kind](rows.take(train), rows.take(valid), options, seed)
        errors[held_out] = np.abs(rows.latency_ms[held_out] / model.predict_ms(rows.features[held_out]) - 1)
    return errors


def left_out_errors(fit: Callable[[Rows], MLP | CostModel], rows: Rows) -> FloatArray:
    """As :func:`cross_validated_errors`, for few rows and a quick fit: every row is left out once, alone; (n,)."""
    errors = np.empty(len(rows))
    for row in range(len(rows)):
        model = fit(rows.take(np.arange(len(rows)) != row))
        errors[row] = abs(rows.latency_ms[row] / model.predict_ms(rows.features[row : row + 1])[0] - 1)
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


def calibrate(train: Rows, errors: FloatArray, before: float | None = None) -> Calibration:
    """How far a predictor can be trusted that was fitted to ``train``, with these :func:`cross_validated_errors`.

    Args:
        train: the rows.
        errors: of each.
        before: ``relative_error_90`` of the predictor that this one was adapted from. Where there are too few errors
            for a bound of their own, it is the larger of this and all errors: of n, a new one exceeds the largest at
            most once in n + 1 times.
    """
    lowest, highest = train.features.min(axis=0), train.features.max(axis=0)
    bound = conformal_bound(errors)
    if bound is None and before is not None and len(errors) >= _LEAST_ERRORS:
        bound = max(before, float(errors.max()))
    return Calibration(bound, tuple(lowest.tolist()), tuple(highest.tolist()))
