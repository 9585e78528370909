"""Scoring in parts: what is decided from a few sentences is what all of them would have decided."""

import itertools
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hat.search import EvolutionConfig, Scoreboard, ScoringConfig, Task, evolutionary_search, random_search
from hat.search.loss_estimate import References
from hat.space import Architecture, SearchSpace
from hat.space.encoding import gene_choices, gene_of

SPACE = SearchSpace.model_validate(
    {
        "qkv_dim": 8,
        "encoder": {"embed_dim": [8, 16, 24], "num_layers": [1, 2, 3], "ffn_dim": [8, 16], "self_attn_heads": [1, 2]},
        "decoder": {
            "embed_dim": [8, 16, 24], "num_layers": [1, 2, 3], "ffn_dim": [8, 16], "self_attn_heads": [1, 2],
            "cross_attn_heads": [1, 2], "attended_encoder_layers": [1],
        },
    }
)  # fmt: skip
SIZES = (32, 32, 64, 128, 256)
EVOLUTION = EvolutionConfig(generations=6, population=40, parents=8, mutations=16, crossovers=16)
SCORING = ScoringConfig(references=6)
FULL = SCORING.model_copy(update={"stop_early": False})


class Sentences:
    """Made-up validation data: architectures differ by effects of their choices, sentence by sentence.

    Args:
        seed: of everything.
        noise: how differently an effect shows in different sentences, in nats per token.
        own: what every architecture has on every sentence beside its effects.
    """

    def __init__(self, seed: int, noise: float = 0.0, own: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        count = sum(SIZES)
        self.tokens = rng.integers(4, 40, count).astype(float)
        self.hardness = rng.normal(3.0, 0.8, count)
        choices = gene_choices(SPACE)
        self.effects = [{c: -0.1 * rng.random() * c / max(options) for c in options} for options in choices]
        self.shapes = [{c: rng.normal(0, noise, count) for c in options} for options in choices]
        self.cost = [{c: rng.uniform(0.5, 2) * c / max(options) for c in options} for options in choices]
        self.own, self.seed = own, seed
        self.asked: list[tuple[Architecture, int]] = []

    def all_losses(self, architecture: Architecture) -> np.ndarray:
        gene = gene_of(SPACE, architecture)
        per_token = self.hardness + sum(e[v] + s[v] for e, s, v in zip(self.effects, self.shapes, gene, strict=True))
        rng = np.random.default_rng([self.seed, *gene])
        return (per_token + rng.normal(0, self.own, len(self.tokens))) * self.tokens

    def score(self, architecture: Architecture) -> float:
        return float(self.all_losses(architecture).sum() / self.tokens.sum())

    def latency_ms(self, architecture: Architecture) -> float:
        return float(sum(cost[v] for cost, v in zip(self.cost, gene_of(SPACE, architecture), strict=True)))

    def losses(self, architectures: Sequence[Architecture], part: int) -> list[list[float]]:
        start = sum(SIZES[:part])
        self.asked += [(architecture, part) for architecture in architectures]
        return [self.all_losses(item)[start : start + SIZES[part]].tolist() for item in architectures]

    def scoreboard(self, config: ScoringConfig = SCORING) -> Scoreboard:
        starts = np.cumsum([0, *SIZES])
        tokens = [self.tokens[a:b].astype(int).tolist() for a, b in itertools.pairwise(starts)]
        return Scoreboard(self.losses, tokens, config)

    def task(self) -> Task:
        rng = random.Random(self.seed)
        latencies = sorted(self.latency_ms(SPACE.sample(rng)) for _ in range(100))
        return Task(SPACE, self.latency_ms, latencies[50])


def sample(number: int, seed: int = 1) -> list[Architecture]:
    rng = random.Random(seed)
    found: dict[Architecture, None] = {}
    while len(found) < number:
        found[SPACE.sample(rng)] = None
    return list(found)


@pytest.mark.parametrize("search", [evolutionary_search, random_search])
@pytest.mark.parametrize("seed", range(3))
def test_where_parts_tell_all_the_search_is_the_same(search: Callable[..., object], seed: int) -> None:
    """Every part has the same differences between architectures: then only the number of sentences may differ."""
    data = Sentences(seed)
    boards, found, courses = [data.scoreboard(FULL), data.scoreboard()], [], []
    for board in boards:
        course: list[Architecture] = []
        ranking = search(
            data.task(),
            board,
            EVOLUTION,
            random.Random(seed),
            lambda g, course=course: course.append(g.best.architecture),
        )
        found.append([candidate.architecture for candidate in ranking])
        courses.append(course)
        assert ranking[0].complete and ranking[0].score == data.score(ranking[0].architecture)
        assert len(set(data.asked)) == len(data.asked)  # nothing twice
        assert board.sentences == sum(SIZES[part] for _, part in data.asked)
        data.asked.clear()
    assert set(found[0]) == set(found[1]) and found[0][0] == found[1][0] and courses[0] == courses[1]
    assert boards[0].sentences == len(found[0]) * sum(SIZES)
    assert boards[1].sentences < boards[0].sentences / 4


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_nearly_as_good_where_sentences_differ(seed: int) -> None:
    data = Sentences(seed, noise=0.03, own=0.02)
    full, parts = data.scoreboard(FULL), data.scoreboard()
    best = [evolutionary_search(data.task(), b, EVOLUTION, random.Random(seed))[0] for b in (full, parts)]
    assert best[1].score <= best[0].score + 2 * SCORING.tolerance
    assert all(candidate.score == data.score(candidate.architecture) for candidate in best)
    assert parts.sentences < full.sentences / 3


@pytest.mark.parametrize("seed", range(5))
def test_settling_tells_the_best_from_the_others(seed: int) -> None:
    data, items = Sentences(seed, noise=0.03, own=0.05), sample(60)
    board = data.scoreboard()
    board.settle(items, 10)
    ranking = sorted(items, key=lambda item: board.estimate(item).score)
    assert board.estimate(ranking[0]).complete
    true = sorted(map(data.score, items))
    assert data.score(ranking[0]) <= true[0] + SCORING.tolerance
    # Those kept are the best ones, but for some that are as good to within a few standard errors.
    assert all(data.score(item) <= true[9] + 4 * SCORING.tolerance for item in ranking[:10])
    assert board.sentences < len(items) * sum(SIZES)


@pytest.mark.parametrize("seed", range(5))
def test_a_front_is_complete_and_no_other_is_on_it(seed: int) -> None:
    data, items = Sentences(seed, noise=0.02, own=0.02), sample(50)
    board = data.scoreboard()
    latencies = {item: data.latency_ms(item) for item in items}
    board.settle_front(latencies)
    lowest = np.inf
    for item in sorted(items, key=lambda item: (latencies[item], data.score(item))):
        if data.score(item) < lowest - SCORING.tolerance:
            assert board.estimate(item).complete  # nothing as fast is better by what counts
        lowest = min(lowest, data.score(item))
    assert board.sentences < len(items) * sum(SIZES)


def test_a_plain_function_is_one_part() -> None:
    calls: list[Architecture] = []
    board = Scoreboard.of(lambda architecture: calls.append(architecture) or 2.5)
    items = sample(5)
    board.settle(items, 2)
    board.settle(items, 2)
    assert calls == items and board.scored == board.sentences == 5
    assert all(board.estimate(item).complete and board.estimate(item).score == 2.5 for item in items)


def test_a_part_with_another_number_of_sentences_is_a_bug() -> None:
    board = Scoreboard(lambda architectures, part: [[1.0, 2.0] for _ in architectures], [[1], [1, 1]], SCORING)
    with pytest.raises(ValueError, match="part 0 must hold 1 sentences, has 2"):
        board.settle(sample(1), 1)


def test_mixtures_of_the_references_are_predicted_almost_exactly() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.integers(4, 40, 400).astype(float)
    known = (3 + rng.normal(0, 0.5, 400) + rng.normal(0, 0.1, (8, 400))) * tokens
    references = References(tokens)
    references.add(list(known))
    mixture = known.mean(0) + 0.25 * tokens
    score, error = references.predict(mixture[:50])
    assert score == pytest.approx(mixture.sum() / tokens.sum(), abs=1e-6) and error < 1e-6
    assert references.predict(mixture) == (mixture.sum() / tokens.sum(), 0.0)


@pytest.mark.parametrize(("references", "seen"), [(0, 64), (1, 64), (4, 32), (8, 64), (24, 128)])
def test_errors_are_as_large_as_they_say(references: int, seen: int) -> None:
    """Architectures that share a few directions in which they differ, and have something of their own."""
    rng = np.random.default_rng(seen)
    inside, sizes = 0, []
    for _ in range(300):
        tokens = rng.integers(4, 40, 512).astype(float)
        directions = rng.normal(0, 0.1, (4, 512))
        hardness = rng.normal(3, 0.8, 512)
        weights = rng.normal(0, 1, (references + 1, 4))
        per_token = hardness + weights @ directions + rng.normal(0, 0.05, (references + 1, 512))
        losses = per_token * tokens
        known = References(tokens)
        if references:
            known.add(list(losses[1:]))
        score, error = known.predict(losses[0, :seen])
        difference = score - losses[0].sum() / tokens.sum()
        inside += abs(difference) <= 1.96 * error
        sizes.append(error)
    assert 0.85 <= inside / 300 <= 0.995
    if references > 4:
        assert np.mean(sizes) < 0.02  # pairing pays: hardness alone makes 0.1 of it


def test_more_references_than_are_used() -> None:
    rng = np.random.default_rng(1)
    references = References(np.full(100, 10.0))
    references.add(list(rng.uniform(20, 30, (50, 100))))
    references.add(list(rng.uniform(20, 30, (50, 100))))
    assert references.number == 100
    score, error = references.predict(np.full(20, 25.0))
    assert 2.0 < score < 3.0 and 0 < error < 0.2
