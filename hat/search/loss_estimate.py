"""Predicting an architecture's loss on sentences it has not seen from those of architectures that have seen all."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

MOST = 64
"""References that are used: the best ones, which the candidates that matter are most like."""
SHRINKAGE = 10.0
"""How strongly a prediction is held to the mean of the references; chosen so that errors are as large as they say."""


class References:
    """Architectures whose losses on all sentences are known.

    Args:
        tokens: target tokens of each sentence, (N,), in the order in which sentences are scored.
    """

    def __init__(self, tokens: FloatArray) -> None:
        self._tokens = tokens
        self._losses = np.empty((0, len(tokens)))
        self._inputs: FloatArray = tokens[:, None]
        """What losses are predicted from, (N, inputs): tokens, the references' mean, their differences from it."""
        self.number = 0
        """How many have been added."""

    def add(self, losses: Sequence[FloatArray]) -> None:
        """Take in the losses of more architectures: sums over the tokens of each sentence in nats, (N,) each."""
        self.number += len(losses)
        everything = np.vstack([self._losses, *losses])
        order = np.argsort(everything.sum(1), kind="stable")[:MOST]
        self._losses = everything[order]
        mean = self._losses.mean(0)
        self._inputs = np.ascontiguousarray(np.vstack([self._tokens, mean, self._losses - mean]).transpose())

    def predict(self, losses: FloatArray) -> tuple[float, float]:
        """The loss per token on all sentences, and its standard error, from the losses on the first n, (n,).

        A regression of the losses on the references' mean and on the number of tokens, and, held near 0, on how each
        reference differs from the mean. A sentence's loss is a sum over its tokens, so its variance grows with their
        number, and sentences weigh accordingly. The error is that of predicting the sum over the rest: what sentences
        scatter, and how well those that were seen decide the coefficients. Without references, both are those of the
        mean per token.

        Source: ridge regression; the generalised regression estimator of survey sampling.
        """
        seen, tokens = len(losses), self._tokens
        if seen == len(tokens):
            return float(losses.sum() / tokens.sum()), 0.0
        scale = np.sqrt(tokens[:seen])
        scaled, wanted = self._inputs[:seen] / scale[:, None], losses / scale
        rest = self._inputs[seen:].sum(0)
        squares = scaled.T @ scaled
        penalised = squares + np.diag(_penalties(scaled))
        coefficients = np.linalg.solve(penalised, scaled.T @ wanted)
        residuals = wanted - scaled @ coefficients
        freedom = seen - float(np.trace(np.linalg.solve(penalised, squares)))
        variance = float(residuals @ residuals) / max(1.0, freedom)
        spread = float(tokens[seen:].sum() + rest @ np.linalg.solve(penalised, rest))
        score = float((losses.sum() + rest @ coefficients) / tokens.sum())
        return score, math.sqrt(max(0.0, variance * spread)) / float(tokens.sum())


def _penalties(scaled: FloatArray) -> FloatArray:
    """On the square of each coefficient of the inputs, (n, inputs) → (inputs,): the references' differences shrink."""
    seen, inputs = scaled.shape
    penalties = np.full(inputs, 1e-9 * float((scaled**2).sum()))  # a single reference has no difference to solve for
    differences = scaled[:, 2:]
    if differences.size:
        penalties[2:] += SHRINKAGE * seen * float((differences**2).mean()) / differences.shape[1]
    return penalties
