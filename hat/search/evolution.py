"""Evolutionary search for the best architecture under a latency limit.

It sees genes, architectures, and two functions; what a score or a latency is, it does not know.
"""

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field, model_validator

from hat.config import Section
from hat.errors import InfeasibleError, SearchError
from hat.space.architecture import Architecture
from hat.space.encoding import Gene, architecture_of, gene_choices, gene_of
from hat.space.search_space import SearchSpace

DRAWS = 20
"""Draws in a row that may be over the limit before the last one is pulled towards a fast member."""
REPEATS = 100
"""Draws in a row that may give networks the population holds already before it stays smaller."""
FIRST_DRAWS = 1000
"""Draws without any network within the limit before the search says that there is none."""


class EvolutionConfig(Section):
    """Settings of the evolutionary search.

    Source: HAT (arXiv:2005.14187), section 3.3, for the defaults.
    """

    generations: int = Field(default=30, gt=0)
    """How often the population is renewed."""
    population: int = Field(default=125, gt=1)
    """Candidates of a generation: parents + mutations + crossovers."""
    parents: int = Field(default=25, gt=0)
    """Best candidates, which stay and have children."""
    mutations: int = Field(default=50, ge=0)
    """Children that redraw some genes of one parent."""
    crossovers: int = Field(default=50, ge=0)
    """Children that take each gene from one of two parents."""
    mutation_prob: float = Field(default=0.3, gt=0, le=1)
    """Probability that a gene is redrawn from its choices."""

    def shortened(self) -> "EvolutionConfig":
        """The same with a fifth of the generations, for a search that goes on from what another has found."""
        return self.model_copy(update={"generations": max(1, self.generations // 5)})

    @model_validator(mode="after")
    def _check(self) -> "EvolutionConfig":
        total = self.parents + self.mutations + self.crossovers
        if self.population != total:
            raise ValueError(
                f"population must be parents + mutations + crossovers = {total}, is {self.population}; "
                f"set population: {total} or change a part"
            )
        return self


@dataclass(frozen=True)
class Candidate:
    """An architecture that was scored."""

    architecture: Architecture
    score: float
    """Lower is better."""
    latency_ms: float


@dataclass(frozen=True)
class Generation:
    """What one generation brought."""

    number: int
    """0 is the random first population."""
    best: Candidate
    mean_score: float
    """Over the whole population."""
    newly_scored: int
    """Architectures scored for the first time."""


def evolutionary_search(
    space: SearchSpace,
    score: Callable[[Architecture], float],
    latency_ms: Callable[[Architecture], float],
    limit_ms: float,
    config: EvolutionConfig,
    rng: random.Random,
    on_generation: Callable[[Generation], None] = lambda generation: None,
    start: Iterable[Architecture] = (),
) -> list[Candidate]:
    """Look for the architecture with the lowest score among those within the latency limit.

    Every distinct architecture is scored once. Where draws keep exceeding the limit, a child is pulled gene by gene
    towards a member known to be fast enough, so that the search always ends; where a small space has nothing new left,
    generations become smaller.

    Args:
        space: where to look.
        score: lower is better; called once for each distinct architecture.
        latency_ms: predicted latency.
        limit_ms: highest latency of a candidate.
        config: sizes of the population and its parts.
        rng: source of every random choice.
        on_generation: told about every generation.
        start: members for the first population, as far as they are within the limit and there is room; random ones
            follow.

    Returns:
        Everything that was scored, best first; never empty.

    Raises:
        InfeasibleError: if no architecture within the limit is found; names the fastest one seen.
        SearchError: if a score or a latency is no number.

    Source: HAT (arXiv:2005.14187), section 2.3.
    """
    search = _Evolution(space, score, latency_ms, limit_ms, config, rng)
    population = search.first_population(start)
    for number in range(config.generations + 1):
        scored_before = len(search.scored)
        population = sorted(population, key=lambda member: _by_score(search.evaluate(member)))
        mean = sum(search.evaluate(member).score for member in population) / len(population)
        on_generation(Generation(number, search.evaluate(population[0]), mean, len(search.scored) - scored_before))
        if number < config.generations:
            population = search.next_population(population[: config.parents])
    return sorted(search.scored.values(), key=_by_score)


def _by_score(candidate: Candidate) -> tuple[float, float, str]:
    """Best first; ties go to the faster one, then to a fixed order, so that a seed decides everything."""
    return candidate.score, candidate.latency_ms, candidate.architecture.model_dump_json()


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates that no other beats in both score and latency, fastest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency_ms, *_by_score(c))):
        if not front or candidate.score < front[-1].score:
            front.append(candidate)
    return front


@dataclass(frozen=True)
class _Member:
    """A gene and what it stands for."""

    gene: Gene
    architecture: Architecture
    latency_ms: float


class _Evolution:
    """Makes populations, and remembers everything scored so far."""

    def __init__(
        self,
        space: SearchSpace,
        score: Callable[[Architecture], float],
        latency_ms: Callable[[Architecture], float],
        limit_ms: float,
        config: EvolutionConfig,
        rng: random.Random,
    ) -> None:
        self.space = space
        self.score = score
        self.predict_ms = latency_ms
        self.limit_ms = limit_ms
        self.config = config
        self.rng = rng
        self.choices = gene_choices(space)
        self.scored: dict[Architecture, Candidate] = {}
        self.fastest = self.member(gene_of(space, space.smallest()))

    def member(self, gene: Gene) -> _Member:
        """What a gene stands for, with its predicted latency. Raises SearchError when that is no number."""
        architecture = architecture_of(self.space, gene)
        latency_ms = self.predict_ms(architecture)
        if math.isnan(latency_ms):
            raise SearchError(
                f"the predicted latency must be a number, is nan for {architecture}; fit the predictor again."
            )
        return _Member(gene, architecture, latency_ms)

    def draw(self, make: Callable[[], Gene]) -> _Member:
        """A member from ``make``; the fastest one so far is remembered."""
        member = self.member(make())
        if member.latency_ms < self.fastest.latency_ms:
            self.fastest = member
        return member

    def fits(self, member: _Member) -> bool:
        """Whether a network is predicted to be within the limit."""
        return member.latency_ms <= self.limit_ms

    def evaluate(self, member: _Member) -> Candidate:
        """The score of a network, computed only the first time. Raises SearchError when it is no number."""
        known = self.scored.get(member.architecture)
        if known is not None:
            return known
        score = self.score(member.architecture)
        if not math.isfinite(score):
            raise SearchError(
                f"the score of every SubTransformer must be a number, is {score} for {member.architecture}; "
                "is the SuperTransformer trained well?"
            )
        candidate = Candidate(member.architecture, score, member.latency_ms)
        self.scored[member.architecture] = candidate
        return candidate

    def random_gene(self) -> Gene:
        """A uniformly drawn gene."""
        return tuple(self.rng.choice(choices) for choices in self.choices)

    def neighbour_of_fastest(self) -> Gene:
        """The fastest gene so far with one value redrawn."""
        values = list(self.fastest.gene)
        position = self.rng.randrange(len(values))
        values[position] = self.rng.choice(self.choices[position])
        return tuple(values)

    def mutate(self, gene: Gene) -> Gene:
        """The gene with each value redrawn with probability ``mutation_prob``."""
        probability = self.config.mutation_prob
        return tuple(
            self.rng.choice(choices) if self.rng.random() < probability else value
            for value, choices in zip(gene, self.choices, strict=True)
        )

    def cross(self, first: Gene, second: Gene) -> Gene:
        """Each value from either of two genes."""
        return tuple(self.rng.choice(pair) for pair in zip(first, second, strict=True))

    def first_population(self, start: Iterable[Architecture]) -> list[_Member]:
        """Different networks within the limit. Raises InfeasibleError when there seem to be none."""
        known = (self.draw(functools.partial(gene_of, self.space, architecture)) for architecture in start)
        members = list(itertools.islice(filter(self.fits, known), self.config.population))
        for number in range(FIRST_DRAWS):
            if self.fits(self.fastest):
                members = members or [self.fastest]
                return self.fill(members, self.config.population - len(members), self.random_gene)
            # Where the smallest network is too slow, look anywhere first, then around the fastest so far.
            self.draw(self.random_gene if number < FIRST_DRAWS // 4 else self.neighbour_of_fastest)
        raise InfeasibleError(
            f"no SubTransformer of this space is predicted to run within {self.limit_ms:.4g} ms: the fastest of "
            f"{FIRST_DRAWS} needs {self.fastest.latency_ms:.4g} ms ({self.fastest.architecture}); raise the limit or "
            "widen the space towards smaller networks."
        )

    def next_population(self, parents: Sequence[_Member]) -> list[_Member]:
        """The parents and their children, who inherit from the whole genes, layers that are not active included."""
        genes = [parent.gene for parent in parents]
        population = self.fill(parents, self.config.mutations, lambda: self.mutate(self.rng.choice(genes)))
        return self.fill(
            population, self.config.crossovers, lambda: self.cross(self.rng.choice(genes), self.rng.choice(genes))
        )

    def fill(self, population: Sequence[_Member], count: int, make: Callable[[], Gene]) -> list[_Member]:
        """``population`` with up to ``count`` more members from ``make``: different networks within the limit."""
        result = list(population)
        present = {member.architecture for member in result}
        wanted, repeats = len(result) + count, 0
        while len(result) < wanted and repeats < REPEATS:
            member = self.fitting(make)
            if member.architecture in present:
                repeats += 1
                continue
            repeats = 0
            present.add(member.architecture)
            result.append(member)
        return result

    def fitting(self, make: Callable[[], Gene]) -> _Member:
        """A member within the limit: from ``make``, or pulled towards the fastest one where that keeps failing."""
        for _ in range(DRAWS):
            member = self.draw(make)
            if self.fits(member):
                return member
        return self.pull_to_fastest(member.gene)

    def pull_to_fastest(self, gene: Gene) -> _Member:
        """Take over values of the fastest member, in random order, about as few as bring the network within the limit.

        Halving the number of values taken over finds it in a few steps; all of them give the fastest member, so that
        the result is within the limit whatever the latency depends on.
        """
        order = self.rng.sample(range(len(gene)), len(gene))
        result = self.fastest
        too_few, enough = 0, len(gene)
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            taken = set(order[:middle])
            values = zip(gene, self.fastest.gene, strict=True)
            member = self.member(tuple(fast if i in taken else own for i, (own, fast) in enumerate(values)))
            if self.fits(member):
                result, enough = member, middle
            else:
                too_few = middle
        return result
