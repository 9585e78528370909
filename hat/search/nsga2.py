"""Search for all trade-offs of score and latency at once, by the genetic algorithm NSGA-II of pymoo."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hat.errors import ConfigError
from hat.search.candidate import Candidate, Generation, Task
from hat.search.draws import Draws
from hat.search.evolution import EvolutionConfig, cross, mutate
from hat.search.feasible import Member, member_of
from hat.search.scoreboard import Scoreboard
from hat.search.seen import Seen
from hat.space.architecture import Architecture
from hat.space.encoding import architecture_of

MATINGS = 10
"""Rounds of mating that may give networks the population holds already before a generation stays smaller."""


def nsga2_search(
    task: Task,
    scores: Scoreboard,
    config: EvolutionConfig,
    rng: random.Random,
    on_generation: Callable[[Generation], None] = lambda generation: None,
    start: Iterable[Architecture] = (),
) -> list[Candidate]:
    """Look for the architectures that no other beats in both score and latency.

    Arguments, result and errors are those of :func:`hat.search.evolutionary_search`. The candidates on the front are
    scored on all sentences. A generation has as many children as the evolution's, made in the same two ways; parents
    are chosen, and survive, by rank and crowding.

    Raises:
        ConfigError: if pymoo is not installed.

    Source: NSGA-II as pymoo 0.6 implements it.
    """
    check_pymoo()
    draws, seen = Draws(task, rng), Seen(scores)
    first = draws.members(start, config.population)
    first = draws.fill(first, config.population - len(first), draws.random_gene)
    algorithm = _algorithm(draws, [member.gene for member in first], config)
    survivors: list[Member] = []
    for number in range(config.generations + 1):
        children = algorithm.ask()
        born = _members(task, children)
        seen.add(born)
        scores.settle_front(_latencies_ms([*survivors, *born]))
        last = number == config.generations
        if last:
            scores.settle_front(_latencies_ms(seen))
        on_generation(seen.generation(number, [*survivors, *born], last))
        if children is not None:  # else the space has nothing new left
            for population, members in ((algorithm.pop, survivors), (children, born)):
                if members:
                    population.set("F", _objectives(seen, members))
            algorithm.tell(infills=children)
            survivors = _members(task, algorithm.pop)
    return seen.ranking()


def check_pymoo() -> None:
    """Raise ConfigError if pymoo is not installed."""
    try:
        import pymoo.core.algorithm  # noqa: F401
    except ImportError:
        raise ConfigError(
            "algorithm: nsga2 needs the package pymoo, which is not installed; pip install pymoo."
        ) from None


def _latencies_ms(members: Iterable[Member]) -> dict[Architecture, float]:
    return {member.architecture: member.latency_ms for member in members}


def _members(task: Task, population: Any) -> list[Member]:
    """The members that pymoo's population stands for; none for None."""
    genes = [] if population is None else population.get("X").tolist()
    return [member_of(task, tuple(gene)) for gene in genes]


def _objectives(seen: Seen, members: Sequence[Member]) -> Any:
    return np.array([(seen.candidate(member).score, member.latency_ms) for member in members])


def _algorithm(draws: Draws, genes: Sequence[Sequence[int]], config: EvolutionConfig) -> Any:
    """NSGA-II on genes of the space, as pymoo wants it."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.config import Config
    from pymoo.core.crossover import Crossover
    from pymoo.core.duplicate import DuplicateElimination
    from pymoo.core.problem import Problem
    from pymoo.operators.mutation.nom import NoMutation

    Config.warnings["not_compiled"] = False  # pymoo would print it on stdout, where results go
    rng, space = draws.rng, draws.task.space
    share_of_mutations = config.mutations / max(1, config.mutations + config.crossovers)

    class Children(Crossover):  # type: ignore[misc]
        """A child is a mutation of the first parent or a crossing of both, within the limits."""

        def _do(self, problem: Any, parents: Any, **kwargs: Any) -> Any:
            pairs = zip(*parents.tolist(), strict=True)
            return np.array([[self._child(tuple(first), tuple(second)) for first, second in pairs]])

        def _child(self, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
            by_mutation = rng.random() < share_of_mutations
            gene = mutate(draws, first, config.mutation_prob) if by_mutation else cross(rng, first, second)
            return draws.pulled(gene).gene

    class SameNetworks(DuplicateElimination):  # type: ignore[misc]
        """Genes that differ only in layers that are not active are duplicates."""

        def _do(self, population: Any, other: Any, is_duplicate: Any) -> Any:
            present = set() if other is None else {architecture_of(space, tuple(gene)) for gene in _genes(other)}
            for index, gene in enumerate(_genes(population)):
                architecture = architecture_of(space, tuple(gene))
                is_duplicate[index] |= architecture in present
                if other is None:
                    present.add(architecture)
            return is_duplicate

    algorithm = NSGA2(
        pop_size=config.population,
        n_offsprings=config.mutations + config.crossovers,
        sampling=np.array(genes),
        crossover=Children(n_parents=2, n_offsprings=1, prob=1.0),
        mutation=NoMutation(),
        eliminate_duplicates=SameNetworks(),
    )
    algorithm.mating.n_max_iterations = MATINGS
    problem = Problem(n_var=len(genes[0]), n_obj=2)
    return algorithm.setup(problem, termination=("n_gen", config.generations + 2), seed=rng.getrandbits(31))


def _genes(population: Any) -> list[list[int]]:
    genes: list[list[int]] = population.get("X").tolist()
    return genes
