"""Scores of architectures from as few sentences as it takes to decide between them.

The validation sentences are cut into parts. A candidate is scored on the first, small one, and on each further one
only while it is undecided whether it is among those that the search keeps. What decides is a paired comparison: the
losses of all candidates on one sentence rise and fall together, so a candidate's loss on the sentences it has not seen
is predicted from those of candidates that have seen all (:mod:`hat.search.loss_estimate`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from pydantic import Field

from hat.config import Section, Seed
from hat.errors import SearchError
from hat.search.loss_estimate import FloatArray, References
from hat.space.architecture import Architecture

Losses = Callable[[Sequence[Architecture], int], Sequence[Sequence[float]]]
"""Gives, for each of several architectures, the loss sums in nats of every sentence of the part with this number."""


class ScoringConfig(Section):
    """On how many sentences candidates are scored."""

    parts: int = Field(default=5, ge=1, le=16)
    """The validation pairs are cut into so many parts, each as large as all before it together: five hold a 16th, a
    16th, an eighth, a quarter and a half of them. Fewer where the first one would hold less than 32 pairs."""
    references: int = Field(default=16, gt=0)
    """Candidates, the best on the first part, that are scored on all sentences at the beginning, so that the losses of
    others can be predicted from theirs. Every later one that is scored on all sentences joins them."""
    stop_early: bool = True
    """Score a candidate on further parts only while that can decide something. False scores every candidate on all
    sentences, as the paper does."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """How sure it must be that a candidate is on one side of the border between those that are kept and the others."""
    tolerance: float = Field(default=0.003, ge=0)
    """Nats per token that are not worth more sentences: what a candidate may be better than the best one without being
    noticed, and the standard error with which others are compared."""
    seed: Seed = 1
    """Decides which pairs are in which part. Searches that share scores must share it; it is no part of their seed."""


@dataclass(frozen=True)
class Estimate:
    """What is known of an architecture's score."""

    score: float
    """Nats per token on all sentences; a prediction where it is not complete."""
    error: float
    """The prediction's standard error; 0 for what is complete."""
    complete: bool
    """Whether all sentences were scored."""


class Scoreboard:
    """The losses of all architectures that one search has looked at.

    Args:
        losses: computes them.
        tokens: how many tokens each sentence of each part has.
        config: when to stop.
    """

    def __init__(self, losses: Losses, tokens: Sequence[Sequence[int]], config: ScoringConfig) -> None:
        self._compute = losses
        self._config = config
        self._ends = np.cumsum([len(part) for part in tokens]).tolist()
        self._tokens = np.concatenate([np.asarray(part, dtype=np.float64) for part in tokens])
        self._losses: dict[Architecture, FloatArray] = {}
        self._estimates: dict[Architecture, Estimate] = {}
        self._references = References(self._tokens)
        self._quantile = NormalDist().inv_cdf((1 + config.confidence) / 2)
        self.sentences = 0
        """Sentences scored so far: one architecture on one sentence counts one, wherever its loss came from."""

    @classmethod
    def of(cls, score: Callable[[Architecture], float]) -> "Scoreboard":
        """One that gives every architecture the score of a function, which is called once for each."""
        return cls(lambda architectures, part: [[score(item)] for item in architectures], [[1]], ScoringConfig(parts=1))

    @property
    def scored(self) -> int:
        """How many architectures were scored, completely or not."""
        return len(self._losses)

    def settle(self, architectures: Sequence[Architecture], keep: int) -> None:
        """Score until it is decided which are the ``keep`` best of these, and which is the best.

        The best one's score is complete. Raises SearchError when a score is no number.
        """
        self._advance([item for item in architectures if item not in self._losses])
        if not self._config.stop_early:
            self.complete(architectures)
        missing = self._config.references - self._references.number
        if missing > 0:
            self.complete(sorted(architectures, key=lambda item: self.estimate(item).score)[:missing])
        while undecided := self._undecided(architectures, keep):
            self._advance(undecided)

    def settle_front(self, latencies_ms: Mapping[Architecture, float]) -> None:
        """Score these until it is decided which of them no other beats in both score and latency.

        The scores of those are complete. Raises SearchError when a score is no number.
        """
        self.settle(list(latencies_ms), len(latencies_ms))
        while undecided := self._maybe_in_front(latencies_ms):
            self._advance(undecided)

    def complete(self, architectures: Sequence[Architecture]) -> None:
        """Score these on all sentences."""
        while missing := [item for item in architectures if self._progress(item) < len(self._ends)]:
            self._advance(missing)

    def estimate(self, architecture: Architecture) -> Estimate:
        """What is known of the score of an architecture that was settled with others."""
        known = self._estimates.get(architecture)
        if known is None:
            score, error = self._references.predict(self._losses[architecture])
            complete = self._progress(architecture) == len(self._ends)
            known = self._estimates[architecture] = Estimate(score, error, complete)
        return known

    def margin(self, estimate: Estimate) -> float:
        """How far a score may be from its estimate, with the confidence of the settings."""
        return self._quantile * estimate.error

    def _undecided(self, architectures: Sequence[Architecture], keep: int) -> list[Architecture]:
        """Those of which more must be known."""
        ranking = sorted(architectures, key=lambda item: self.estimate(item).score)
        best = self.estimate(ranking[0])
        if not best.complete:
            return ranking[:1]  # what the others are compared with
        border = math.inf
        if keep < len(ranking):
            border = (self.estimate(ranking[keep - 1]).score + self.estimate(ranking[keep]).score) / 2
        return [item for item in ranking[1:] if self._matters(self.estimate(item), best.score, border)]

    def _matters(self, estimate: Estimate, best: float, border: float) -> bool:
        """Whether more sentences can decide something about a candidate."""
        margin, tolerance = self.margin(estimate), self._config.tolerance
        may_be_best = estimate.score - margin < best - tolerance
        may_be_across = estimate.error > tolerance and abs(estimate.score - border) < margin
        return not estimate.complete and (may_be_best or may_be_across)

    def _maybe_in_front(self, latencies_ms: Mapping[Architecture, float]) -> list[Architecture]:
        """The incomplete ones that no faster one surely beats."""
        undecided, lowest = [], math.inf
        for item in sorted(latencies_ms, key=lambda item: (latencies_ms[item], self.estimate(item).score)):
            estimate = self.estimate(item)
            if not estimate.complete and estimate.score - self.margin(estimate) < lowest:
                undecided.append(item)
            lowest = min(lowest, estimate.score + self.margin(estimate))
        return undecided

    def _progress(self, architecture: Architecture) -> int:
        """How many parts of it are scored."""
        known = self._losses.get(architecture)
        return 0 if known is None else int(self._ends.index(len(known))) + 1

    def _advance(self, architectures: Sequence[Architecture]) -> None:
        """Score each of these on its next part."""
        waiting: dict[int, list[Architecture]] = {}
        for architecture in dict.fromkeys(architectures):
            waiting.setdefault(self._progress(architecture), []).append(architecture)
        for part, members in sorted(waiting.items()):
            for architecture, losses in zip(members, self._compute(members, part), strict=True):
                self._keep(architecture, part, np.asarray(losses, dtype=np.float64))
        completed = waiting.get(len(self._ends) - 1, [])
        if completed:
            self._references.add([self._losses[item] for item in completed])
            self._estimates = {item: known for item, known in self._estimates.items() if known.complete}

    def _keep(self, architecture: Architecture, part: int, losses: FloatArray) -> None:
        if not np.isfinite(losses).all():
            worst = losses[~np.isfinite(losses)][0]
            raise SearchError(
                f"the score of every SubTransformer must be a number, is {worst} for {architecture}; "
                "is the SuperTransformer trained well?"
            )
        before = self._losses.get(architecture, np.empty(0))
        self._losses[architecture] = np.concatenate([before, losses])
        self._estimates.pop(architecture, None)
        self.sentences += len(losses)
        if len(self._losses[architecture]) != self._ends[part]:
            raise ValueError(f"part {part} must hold {self._ends[part] - len(before)} sentences, has {len(losses)}")
