"""Which architectures to measure next: those that tell the most about what parts of a network cost. No torch."""

import random
from collections.abc import Sequence

import numpy as np

from hat.errors import ConfigError
from hat.latency.cost_model import cost_terms
from hat.latency.rows import FloatArray
from hat.space import Architecture, SearchSpace
from hat.space.encoding import features

_POOL = 2000
"""Random members that are drawn at a time..."""
_PICKS = 200
"""... and how many of them are picked before others are drawn."""
_PRIOR = 0.1
"""What is known of a cost beforehand, in measurements of a network whose term is one standard deviation off."""
_MOST_EMPTY_POOLS = 5


class InformativeChoice:
    """A sequential D-optimal design for the cost terms.

    Each pick is the row whose latency is the least certain given all picks before it: that one adds the most to the
    determinant of the information matrix of a linear model of the (standardised) terms. Its inverse is updated
    by a rank-one formula, so a pick among n rows takes time in the order of n.

    Args:
        table: features (n, 10) of rows that say how much the terms vary.

    Source: V. V. Fedorov, "Theory of Optimal Experiments" (1972); the update is that of Sherman and Morrison.
    """

    def __init__(self, table: FloatArray) -> None:
        terms = cost_terms(table)
        self._mean, scale = terms.mean(axis=0), terms.std(axis=0)
        self._scale = np.where(scale > 1e-9 * np.abs(self._mean), scale, np.inf)  # what never varies tells nothing
        self._covariance = np.eye(terms.shape[1]) / _PRIOR

    def pick(self, table: FloatArray, number: int, first: Sequence[int] = ()) -> list[int]:
        """``number`` different rows of ``table`` (n, 10), at most n, in order; ``first`` ones are given beforehand."""
        rows = self._standardised(table)
        picked = list(first)[:number]
        for row in picked:
            self._measured(rows[row])
        variance = ((rows @ self._covariance) * rows).sum(axis=1)
        variance[picked] = -1.0
        while len(picked) < min(number, len(rows)):
            best = int(variance.argmax())
            direction = self._measured(rows[best])
            variance -= (rows @ direction) ** 2
            picked.append(best)
            variance[picked] = -1.0
        return picked

    def _standardised(self, table: FloatArray) -> FloatArray:
        rows = np.asarray((cost_terms(table) - self._mean) / self._scale)
        rows[:, 0] = 1.0
        return rows

    def _measured(self, row: FloatArray) -> FloatArray:
        """Take a row's measurement into account; what the covariance has lost is the square of what is returned."""
        direction = self._covariance @ row
        direction /= np.sqrt(1 + row @ direction)
        self._covariance -= np.outer(direction, direction)
        return np.asarray(direction)


def choose_informative(space: SearchSpace, samples: int, seed: int) -> list[Architecture]:
    """Different members of ``space``: the smallest, the largest, then the most informative of random ones.

    A larger number of samples goes on where a smaller one ended.

    Raises:
        ConfigError: if the space never gives so many.
    """
    rng = random.Random(seed)
    chosen = dict.fromkeys([space.smallest(), space.largest()])  # keeps the order
    choice: InformativeChoice | None = None
    empty = 0
    while len(chosen) < samples:
        pool = [item for item in dict.fromkeys(space.sample(rng) for _ in range(_POOL)) if item not in chosen]
        empty = 0 if pool else empty + 1
        if empty > _MOST_EMPTY_POOLS:
            raise ConfigError(
                f"samples: this space gives only {len(chosen)} different architectures in reasonable time, not "
                f"{samples}; set samples: {len(chosen)}."
            )
        if not pool:
            continue
        table = _table([*chosen, *pool] if choice is None else pool)
        given = len(chosen) if choice is None else 0
        choice = choice or InformativeChoice(table)
        picked = choice.pick(table, given + _PICKS, first=range(given))
        chosen |= dict.fromkeys(pool[row - given] for row in picked[given:])
    return list(chosen)[:samples]


def _table(architectures: Sequence[Architecture]) -> FloatArray:
    return np.array([features(architecture) for architecture in architectures])
