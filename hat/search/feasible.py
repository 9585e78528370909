"""Networks within the limits: finding a first one, and saying which limit is at fault where there is none."""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from hat.errors import InfeasibleError, SearchError
from hat.search.candidate import Limit, Task
from hat.space.architecture import Architecture
from hat.space.encoding import Gene, architecture_of, gene_choices, gene_of

FIRST_DRAWS = 200
"""Random networks to begin a descent at, beside the smallest one."""
_RESTARTS = 4  # from how many of the best of them

Value = Callable[[Architecture], float]


class Member(NamedTuple):
    """A gene and what it stands for."""

    gene: Gene
    architecture: Architecture
    latency_ms: float
    excess: float
    """How far it is over the limits: the sum of their overruns as parts of the limits; 0 where it keeps all."""


def member_of(task: Task, gene: Gene) -> Member:
    """What a gene stands for. Raises SearchError when something that is limited is no number."""
    architecture = architecture_of(task.space, gene)
    latency_ms = task.latency_ms(architecture)
    if math.isnan(latency_ms):
        raise SearchError(
            f"the predicted latency must be a number, is nan for {architecture}; fit the predictor again."
        )
    excess = max(0.0, latency_ms / task.limit_ms - 1)
    for limit in task.limits:
        value = limit.value(architecture)
        if math.isnan(value):
            raise SearchError(f"{limit.name}: must be a number, is nan for {architecture}.")
        excess += max(0.0, value / limit.most - 1)
    return Member(gene, architecture, latency_ms, excess)


def feasible_member(task: Task, rng: random.Random) -> Member:
    """A network within all limits.

    Looks at the smallest network, at random ones, and then downhill from them, one choice at a time.

    Raises:
        InfeasibleError: if none is found; names the limit at fault and the best value that is reachable.
    """
    smallest = member_of(task, gene_of(task.space, task.space.smallest()))
    if smallest.excess == 0:
        return smallest
    looked_at: set[Architecture] = set()

    def excess(architecture: Architecture) -> float:
        looked_at.add(architecture)
        return member_of(task, gene_of(task.space, architecture)).excess

    lowest, architecture = _lowest(task, excess, rng)
    if lowest > 0:
        raise InfeasibleError(_explain(task, architecture, looked_at, rng))
    return member_of(task, gene_of(task.space, architecture))


def _lowest(task: Task, value: Value, rng: random.Random) -> tuple[float, Architecture]:
    """The lowest value that is found, and the network that has it; none is lower than 0."""
    choices = gene_choices(task.space)
    known: dict[Architecture, float] = {}

    def value_of(gene: Gene) -> float:
        architecture = architecture_of(task.space, gene)
        if architecture not in known:
            known[architecture] = value(architecture)
        return known[architecture]

    best, drawn = gene_of(task.space, task.space.smallest()), []
    for _ in range(FIRST_DRAWS):
        drawn.append(tuple(rng.choice(options) for options in choices))
        if value_of(drawn[-1]) <= 0:
            return value_of(drawn[-1]), architecture_of(task.space, drawn[-1])
    for start in [best, *sorted(drawn, key=value_of)[:_RESTARTS]]:
        best = min(best, _descend(start, choices, value_of), key=value_of)
    return value_of(best), architecture_of(task.space, best)


def _descend(gene: Gene, choices: tuple[tuple[int, ...], ...], value_of: Callable[[Gene], float]) -> Gene:
    """The gene that no change of a single choice makes better, from this one on; stops at 0."""
    better = True
    while better and value_of(gene) > 0:
        better = False
        for position, options in enumerate(choices):
            others = [(*gene[:position], option, *gene[position + 1 :]) for option in options]
            best = min(others, key=value_of)
            if value_of(best) < value_of(gene):
                gene, better = best, True
    return gene


def _explain(task: Task, nearest: Architecture, looked_at: set[Architecture], rng: random.Random) -> str:
    """Which limit is at fault. One that cannot be kept by itself comes before a combination of them."""
    reachable = []
    for limit in task.all_limits():
        # The networks looked at for all limits together count, too: some may be lower than any on this descent.
        own = _lowest(task, limit.value, rng)
        known = min((limit.value(architecture), str(architecture)) for architecture in looked_at)
        lowest, name = min(own, known, key=lambda found: found[0])
        if lowest > limit.most:
            return _too_low(limit, lowest, str(name), len(looked_at))
        reachable.append(f"{limit.name} {limit.show(lowest)} of {limit.show(limit.most)}")
    values = ", ".join(f"{limit.name} {limit.show(limit.value(nearest))}" for limit in task.all_limits())
    return (
        f"no SubTransformer of this space keeps all limits at once, though each of them alone can be kept (lowest: "
        f"{', '.join(reachable)}); the nearest of {len(looked_at)} has {values} ({nearest}); raise one of the limits."
    )


def _too_low(limit: Limit, lowest: float, name: str, number: int) -> str:
    advice = "raise the limit or widen the space towards smaller networks."
    if limit.name == "latency":
        return (
            f"no SubTransformer of this space is predicted to run within {limit.most:.4g} ms: the fastest of {number} "
            f"needs {lowest:.4g} ms ({name}); {advice}"
        )
    return (
        f"no SubTransformer of this space has {limit.name} of at most {limit.show(limit.most)}: the lowest found is "
        f"{limit.show(lowest)} ({name}); {advice}"
    )
