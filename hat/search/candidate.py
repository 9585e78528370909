"""What a search finds, and what is to be found."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hat.space.architecture import Architecture
from hat.space.search_space import SearchSpace


@dataclass(frozen=True)
class Limit:
    """The most that a network may take of something."""

    name: str
    """Of what, for example ``parameters``."""
    unit: str
    """For example ``MB``; may be empty."""
    most: float
    """Above 0."""
    value: Callable[[Architecture], float]
    """How much of it a network takes; 0 or more."""

    def show(self, value: float) -> str:
        """A value in words."""
        return (
            f"{value:.4g}{self.unit and ' '}{self.unit}"
            if value < 1e4
            else f"{value:,.0f}{self.unit and ' '}{self.unit}"
        )


@dataclass(frozen=True)
class Task:
    """Where to look, and what every candidate must keep."""

    space: SearchSpace
    latency_ms: Callable[[Architecture], float]
    """Predicted latency."""
    limit_ms: float = math.inf
    """Highest latency; above 0."""
    limits: tuple[Limit, ...] = ()
    """What else must hold."""

    def __post_init__(self) -> None:
        if not all(most > 0 for most in (self.limit_ms, *(limit.most for limit in self.limits))):
            raise ValueError("every limit must be above 0")

    def all_limits(self) -> tuple[Limit, ...]:
        """All of them, the latency's first if there is one."""
        latency = Limit("latency", "ms", self.limit_ms, self.latency_ms)
        return (latency, *self.limits) if self.limit_ms < math.inf else self.limits


@dataclass(frozen=True)
class Candidate:
    """An architecture that was scored."""

    architecture: Architecture
    score: float
    """Lower is better."""
    latency_ms: float
    complete: bool = True
    """Whether the score is of all sentences; if not, it is estimated from some of them."""


@dataclass(frozen=True)
class Generation:
    """What one generation brought."""

    number: int
    """0 is the random first population."""
    best: Candidate
    """Of this and all generations before."""
    mean_score: float
    """Over the whole population."""
    newly_scored: int
    """Architectures scored for the first time."""
    sentences: int
    """Sentences scored since the search began: one candidate on one sentence counts one."""


def by_score(candidate: Candidate) -> tuple[float, float, str]:
    """Best first; ties go to the faster one, then to a fixed order, so that a seed decides everything."""
    return candidate.score, candidate.latency_ms, candidate.architecture.model_dump_json()


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates that no other beats in both score and latency, fastest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency_ms, *by_score(c))):
        if not front or candidate.score < front[-1].score:
            front.append(candidate)
    return front
