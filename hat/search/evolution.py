"""Evolutionary search for the best architecture under a latency limit.

It sees genes, architectures, and two functions; what a score or a latency is, it does not know.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import Field, model_validator

from hat.config import Section
from hat.errors import SearchError
from hat.space.architecture import Architecture
from hat.space.encoding import Gene, architecture_of, gene_choices, gene_of
from hat.space.search_space import SearchSpace

ATTEMPTS = 100
"""Draws in a row that may fail (over the limit, or seen already) before something else is tried."""


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

    Returns:
        Everything that was scored, best first; never empty.

    Raises:
        SearchError: if no architecture within the limit is found; names the fastest one seen.

    Source: HAT (arXiv:2005.14187), section 2.3.
    """
    search = _Evolution(space, score, latency_ms, limit_ms, config, rng)
    population = search.first_population()
    for number in range(config.generations + 1):
        scored_before = len(search.scored)
        candidates = sorted((search.evaluate(gene) for gene in population), key=_by_score)
        mean = sum(candidate.score for candidate in candidates) / len(candidates)
        on_generation(Generation(number, candidates[0], mean, len(search.scored) - scored_before))
        if number < config.generations:
            parents = [gene_of(space, candidate.architecture) for candidate in candidates[: config.parents]]
            population = search.next_population(parents)
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


class _Evolution:
    """The genes, and everything scored so far."""

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
        self.latencies: dict[Architecture, float] = {}
        self.fastest = gene_of(space, space.smallest())

    def latency_ms(self, gene: Gene) -> float:
        """Predicted latency of a gene's network; remembers the fastest gene."""
        architecture = architecture_of(self.space, gene)
        if architecture not in self.latencies:
            self.latencies[architecture] = self.predict_ms(architecture)
            fastest = architecture_of(self.space, self.fastest)
            if fastest not in self.latencies or self.latencies[architecture] < self.latencies[fastest]:
                self.fastest = gene
        return self.latencies[architecture]

    def fits(self, gene: Gene) -> bool:
        """Whether a gene's network is predicted to be within the limit."""
        return self.latency_ms(gene) <= self.limit_ms

    def evaluate(self, gene: Gene) -> Candidate:
        """The score of a gene's network, computed only the first time."""
        architecture = architecture_of(self.space, gene)
        if architecture not in self.scored:
            self.scored[architecture] = Candidate(architecture, self.score(architecture), self.latency_ms(gene))
        return self.scored[architecture]

    def draw(self) -> Gene:
        """A uniformly drawn gene."""
        return tuple(self.rng.choice(choices) for choices in self.choices)

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

    def first_population(self) -> list[Gene]:
        """Distinct genes within the limit. Raises SearchError when there seem to be none."""
        self.latency_ms(self.fastest)
        for _ in range(10 * ATTEMPTS):
            if self.fits(self.fastest):
                return self.fill([], self.config.population, self.draw)
            self.latency_ms(self.draw())
        fastest = architecture_of(self.space, self.fastest)
        raise SearchError(
            f"no SubTransformer of this space is predicted to run within {self.limit_ms:.1f} ms: the fastest of "
            f"{len(self.latencies)} needs {self.latencies[fastest]:.1f} ms ({fastest}); raise the limit or widen the "
            "space towards smaller networks."
        )

    def next_population(self, parents: list[Gene]) -> list[Gene]:
        """The parents and their children."""
        population = self.fill(parents, self.config.mutations, lambda: self.mutate(self.rng.choice(parents)))
        return self.fill(
            population,
            self.config.crossovers,
            lambda: self.cross(self.rng.choice(parents), self.rng.choice(parents)),
        )

    def fill(self, population: list[Gene], count: int, make: Callable[[], Gene]) -> list[Gene]:
        """``population`` with up to ``count`` more genes from ``make``, all distinct networks within the limit."""
        result = list(population)
        present = {architecture_of(self.space, gene) for gene in result}
        wanted, failures = len(result) + count, 0
        while len(result) < wanted and failures < ATTEMPTS:
            gene = make()
            for _ in range(ATTEMPTS):
                if self.fits(gene):
                    break
                gene = make()
            else:
                gene = self.pull_to_fastest(gene)
            architecture = architecture_of(self.space, gene)
            if architecture in present:
                failures += 1
                continue
            failures = 0
            present.add(architecture)
            result.append(gene)
        return result

    def pull_to_fastest(self, gene: Gene) -> Gene:
        """Take over values of the fastest known gene, in random order, until the network is within the limit."""
        values = list(gene)
        for position in self.rng.sample(range(len(values)), len(values)):
            values[position] = self.fastest[position]
            if self.fits(tuple(values)):
                break
        return tuple(values)
