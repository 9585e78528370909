"""Drawing different networks that are all within the limits."""

import random
from collections.abc import Callable, Iterable, Sequence

from hat.search.candidate import Task
from hat.search.feasible import Member, feasible_member, member_of
from hat.space.architecture import Architecture
from hat.space.encoding import Gene, gene_choices, gene_of

DRAWS = 20
"""Draws in a row that may be over a limit before the last one is pulled towards a member that is not."""
REPEATS = 100
"""Draws in a row that may give networks that are there already before no more are looked for."""


class Draws:
    """Members of a space within the limits.

    Where draws keep exceeding a limit, the last one is pulled choice by choice towards a member known to keep them all,
    so that drawing always ends.

    Args:
        task: the space and the limits.
        rng: source of every random choice.

    Raises:
        InfeasibleError: if no network within the limits is found.
    """

    def __init__(self, task: Task, rng: random.Random) -> None:
        self.task = task
        self.rng = rng
        self.choices = gene_choices(task.space)
        self._safe = feasible_member(task, rng)

    def random_gene(self) -> Gene:
        """A uniformly drawn gene."""
        return tuple(self.rng.choice(choices) for choices in self.choices)

    def members(self, architectures: Iterable[Architecture], most: int) -> list[Member]:
        """The first ``most`` of these that keep the limits."""
        result: list[Member] = []
        for architecture in architectures:
            if len(result) == most:
                break
            member = self._look(gene_of(self.task.space, architecture))
            if member.excess == 0:
                result.append(member)
        return result

    def fill(
        self, population: Sequence[Member], count: int, make: Callable[[], Gene], known: Iterable[Architecture] = ()
    ) -> list[Member]:
        """``population`` with up to ``count`` more members from ``make``, each within the limits and none twice.

        Args:
            population: what is there already.
            count: how many more; fewer where the space has nothing new left.
            make: gives genes.
            known: other networks that are not wanted again.
        """
        result = list(population)
        present = {member.architecture for member in result}.union(known)
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

    def fitting(self, make: Callable[[], Gene]) -> Member:
        """A member within the limits: from ``make``, or pulled there where that keeps failing."""
        for _ in range(DRAWS):
            member = self._look(make())
            if member.excess == 0:
                return member
        return self.pulled(member.gene)

    def _look(self, gene: Gene) -> Member:
        """What a gene stands for; the fastest one within the limits is what others are pulled towards."""
        member = member_of(self.task, gene)
        if member.excess == 0 and member.latency_ms < self._safe.latency_ms:
            self._safe = member
        return member

    def pulled(self, gene: Gene) -> Member:
        """A member within the limits that has as many values of ``gene``, or about so, as that allows.

        Takes over values of the safe member in random order.

        Halving the number of values taken over finds it in a few steps; all of them give the safe member, so that the
        result is within the limits whatever they are on.
        """
        own = self._look(gene)
        if own.excess == 0:
            return own
        order = self.rng.sample(range(len(gene)), len(gene))
        result = self._safe
        too_few, enough = 0, len(gene)
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            taken = set(order[:middle])
            values = zip(gene, self._safe.gene, strict=True)
            member = member_of(self.task, tuple(safe if i in taken else own for i, (own, safe) in enumerate(values)))
            if member.excess == 0:
                result, enough = member, middle
            else:
                too_few = middle
        return result
