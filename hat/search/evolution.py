"""Evolutionary search for the best architecture within the limits.

It sees genes, architectures, and functions; what a score or a latency is, it does not know.
"""

import functools
import random
from collections.abc import Callable, Iterable, Sequence

from pydantic import Field, model_validator

from hat.config import Section
from hat.search.candidate import Candidate, Generation, Task
from hat.search.draws import Draws
from hat.search.feasible import Member
from hat.search.scoreboard import Scoreboard
from hat.search.seen import Seen
from hat.space.architecture import Architecture
from hat.space.encoding import Gene


class EvolutionConfig(Section):
    """Sizes of a search.

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


def evolutionary_search(
    task: Task,
    scores: Scoreboard,
    config: EvolutionConfig,
    rng: random.Random,
    on_generation: Callable[[Generation], None] = lambda generation: None,
    start: Iterable[Architecture] = (),
) -> list[Candidate]:
    """Look for the architecture with the lowest score within the limits.

    Each generation, the scoreboard decides who are the best ``parents``, and scores no candidate on more sentences
    than that takes. Which children they have depends on who they are, not on their order, so a scoreboard that scores
    everything on all sentences leads to the same networks as one that stops early, as long as both choose the same.

    Args:
        task: the space and the limits.
        scores: scores architectures; it may know some already.
        config: sizes of the population and its parts.
        rng: source of every random choice.
        on_generation: told about every generation.
        start: members for the first population, as far as they are within the limits and there is room; random ones
            follow.

    Returns:
        Everything that was scored, best first; never empty. The best one's score is complete.

    Raises:
        InfeasibleError: if no architecture within the limits is found; says which one is at fault.
        SearchError: if a score or a latency is no number.

    Source: HAT (arXiv:2005.14187), section 2.3.
    """
    draws, seen = Draws(task, rng), Seen(scores)
    population = draws.members(start, config.population)
    population = draws.fill(population, config.population - len(population), draws.random_gene)
    for number in range(config.generations + 1):
        seen.add(population)
        scores.settle([member.architecture for member in population], config.parents)
        on_generation(seen.generation(number, population, last=number == config.generations))
        if number < config.generations:
            population = _next_population(draws, seen.best(population, config.parents), config)
    return seen.ranking()


def _next_population(draws: Draws, parents: Sequence[Member], config: EvolutionConfig) -> list[Member]:
    """The parents and their children, who inherit from the whole genes, layers that are not active included."""
    genes = sorted(parent.gene for parent in parents)
    choose = functools.partial(draws.rng.choice, genes)
    population = draws.fill(parents, config.mutations, lambda: mutate(draws, choose(), config.mutation_prob))
    return draws.fill(population, config.crossovers, lambda: cross(draws.rng, choose(), choose()))


def mutate(draws: Draws, gene: Gene, probability: float) -> Gene:
    """The gene with each value redrawn with some probability."""
    rng = draws.rng
    return tuple(
        rng.choice(choices) if rng.random() < probability else value
        for value, choices in zip(gene, draws.choices, strict=True)
    )


def cross(rng: random.Random, first: Gene, second: Gene) -> Gene:
    """Each value from either of two genes."""
    return tuple(rng.choice(pair) for pair in zip(first, second, strict=True))
