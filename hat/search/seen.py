"""What one search has seen so far: its candidates by their scores, and the record of a generation."""

from collections.abc import Iterable, Iterator, Sequence

from hat.search.candidate import Candidate, Generation, by_score
from hat.search.feasible import Member
from hat.search.scoreboard import Scoreboard
from hat.space.architecture import Architecture


class Seen:
    """The members one search has looked at.

    Args:
        scores: says how good they are.
    """

    def __init__(self, scores: Scoreboard) -> None:
        self.scores = scores
        self._members: dict[Architecture, Member] = {}
        self._reported = scores.scored

    def add(self, members: Iterable[Member]) -> None:
        """Take them in, before they are scored."""
        self._members.update((member.architecture, member) for member in members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def candidate(self, member: Member) -> Candidate:
        """A member with its score."""
        estimate = self.scores.estimate(member.architecture)
        return Candidate(member.architecture, estimate.score, member.latency_ms, estimate.complete)

    def best(self, members: Iterable[Member], number: int) -> list[Member]:
        """The so many best of these."""
        return sorted(members, key=lambda member: by_score(self.candidate(member)))[:number]

    def ranking(self) -> list[Candidate]:
        """Everything that was seen, best first."""
        return sorted(map(self.candidate, self._members.values()), key=by_score)

    def generation(self, number: int, population: Sequence[Member], last: bool) -> Generation:
        """The record of a generation; after the last one, it is certain which candidate is the best of all."""
        if last:
            self.scores.settle(list(self._members), 1)
        ranking = self.ranking()
        best = next(candidate for candidate in ranking if candidate.complete)
        mean = sum(self.candidate(member).score for member in population) / len(population)
        new, self._reported = self.scores.scored - self._reported, self.scores.scored
        return Generation(number, best, mean, new, self.scores.sentences)
