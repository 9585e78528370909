"""Random search: as many candidates as an evolution has, all drawn at random."""

import random
from collections.abc import Callable, Iterable

from hat.search.candidate import Candidate, Generation, Task
from hat.search.draws import Draws
from hat.search.evolution import EvolutionConfig
from hat.search.feasible import Member
from hat.search.scoreboard import Scoreboard
from hat.search.seen import Seen
from hat.space.architecture import Architecture


def random_search(
    task: Task,
    scores: Scoreboard,
    config: EvolutionConfig,
    rng: random.Random,
    on_generation: Callable[[Generation], None] = lambda generation: None,
    start: Iterable[Architecture] = (),
) -> list[Candidate]:
    """Look for the best architecture among random ones, as many as :func:`hat.search.evolutionary_search` has.

    Arguments, result and errors are the same. A generation draws as many new ones as the evolution's has children.

    Source: HAT (arXiv:2005.14187), section 4.3, which compares the evolution with it (its Figure 9).
    """
    draws, seen = Draws(task, rng), Seen(scores)
    population = draws.members(start, config.population)
    count, best = config.population - len(population), list[Member]()
    for number in range(config.generations + 1):
        population = draws.fill(population, count, draws.random_gene, known=(member.architecture for member in seen))
        seen.add(population)
        rivals = [*population, *best]
        scores.settle([member.architecture for member in rivals], 1)
        best = seen.best(rivals, 1)
        on_generation(seen.generation(number, rivals, last=number == config.generations))
        population, count = [], config.mutations + config.crossovers
    return seen.ranking()
