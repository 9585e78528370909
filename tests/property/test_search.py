"""The evolutionary search over random spaces, with scores and latencies that need no model."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from random_spaces import random_space

from hat.errors import InfeasibleError, SearchError
from hat.search import (
    ALGORITHMS,
    Candidate,
    EvolutionConfig,
    Generation,
    Limit,
    Scoreboard,
    Task,
    evolutionary_search,
    pareto_front,
    random_search,
)
from hat.space import Architecture, SearchSpace
from hat.space.encoding import architecture_of, gene_choices, gene_of

SMALL = EvolutionConfig(generations=6, population=20, parents=5, mutations=9, crossovers=6)
SEEDS = range(20)
SPACES = Path(__file__).parents[2] / "configs" / "space"

Function = Callable[[Architecture], float]


def table_function(space: SearchSpace, seed: int) -> Function:
    """A sum of arbitrary values of the choices, so that smaller is not faster, and a little of the whole network."""
    rng = random.Random(seed)
    tables = [{choice: rng.random() for choice in choices} for choices in gene_choices(space)]

    def value(architecture: Architecture) -> float:
        gene = gene_of(space, architecture)
        own = random.Random(f"{seed} {architecture.model_dump_json()}").random()
        return sum(table[choice] for table, choice in zip(tables, gene, strict=True)) + 0.1 * own

    return value


def members(space: SearchSpace) -> set[Architecture]:
    """All members of a small space."""
    return {architecture_of(space, gene) for gene in itertools.product(*gene_choices(space))}


def small_space(seed: int, most_genes: int = 600) -> SearchSpace:
    """A random space with more than one member."""
    for index in itertools.count():
        space = random_space(random.Random(f"{seed} {index}"), max_depth=2, max_choices=2)
        genes = 1
        for choices in gene_choices(space):
            genes *= len(choices)
        if genes <= most_genes and space.size() > 1:
            return space
    raise AssertionError


class Problem:
    """A space with its two functions, which count their calls."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.true_score, self.true_latency = table_function(space, 2 * seed), table_function(space, 2 * seed + 1)
        self.scored: Counter[Architecture] = Counter()
        self.predicted = 0
        self.generations: list[Generation] = []

    def score(self, architecture: Architecture) -> float:
        self.scored[architecture] += 1
        return self.true_score(architecture)

    def latency_ms(self, architecture: Architecture) -> float:
        self.predicted += 1
        return self.true_latency(architecture)

    def search(
        self,
        limit_ms: float,
        config: EvolutionConfig = SMALL,
        seed: int = 1,
        algorithm: str = "evolution",
        limits: Sequence[Limit] = (),
        start: Sequence[Architecture] = (),
    ) -> list[Candidate]:
        task = Task(self.space, self.latency_ms, limit_ms, tuple(limits))
        rng, scores = random.Random(seed), Scoreboard.of(self.score)
        return ALGORITHMS[algorithm](task, scores, config, rng, self.generations.append, start)


def problems() -> Iterator[tuple[Problem, float]]:
    """Random problems with a limit that 1 to 60 % of random members meet."""
    for seed in SEEDS:
        rng = random.Random(f"problem {seed}")
        problem = Problem(random_space(rng), seed)
        latencies = sorted(problem.true_latency(problem.space.sample(rng)) for _ in range(100))
        yield problem, latencies[rng.randrange(60)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_search_promises(algorithm: str) -> None:
    for problem, limit in itertools.islice(problems(), 20 if algorithm == "evolution" else 6):
        found = problem.search(limit, algorithm=algorithm)
        assert all(candidate.latency_ms <= limit for candidate in found)
        assert all(candidate.architecture in problem.space for candidate in found)
        assert all(candidate.latency_ms == problem.true_latency(candidate.architecture) for candidate in found)
        assert [candidate.score for candidate in found] == sorted(candidate.score for candidate in found)
        # Every network that was scored comes back, and was scored once.
        assert set(problem.scored.values()) == {1}
        assert {candidate.architecture for candidate in found} == set(problem.scored)
        assert len(found) == len(problem.scored)

        generations = problem.generations
        assert [generation.number for generation in generations] == list(range(SMALL.generations + 1))
        best = [generation.best.score for generation in generations]
        assert best == sorted(best, reverse=True)
        assert best[-1] == found[0].score
        assert sum(generation.newly_scored for generation in generations) == len(found)
        assert all(generation.mean_score >= generation.best.score for generation in generations)
        assert all(generation.newly_scored <= SMALL.population for generation in generations)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_seed_decides_everything(algorithm: str) -> None:
    for problem, limit in itertools.islice(problems(), 3):
        first, generations = problem.search(limit, algorithm=algorithm), list(problem.generations)
        problem.generations.clear()
        random.seed(99)
        assert problem.search(limit, algorithm=algorithm) == first
        assert problem.generations == generations
    assert problem.search(limit, seed=2, algorithm=algorithm) != first


def test_finds_the_best_member_of_small_spaces() -> None:
    config = EvolutionConfig(generations=20, population=60, parents=15, mutations=30, crossovers=15)
    exact = 0
    for seed in range(3):
        problem = Problem(small_space(seed), seed)
        everything = members(problem.space)
        assert len(everything) == problem.space.size()
        latencies = sorted(map(problem.true_latency, everything))
        limit = latencies[len(latencies) // 3]
        optimum = min(problem.true_score(a) for a in everything if problem.true_latency(a) <= limit)
        found = problem.search(limit, config)
        assert len(found) <= len(everything) and found[0].score >= optimum
        exact += found[0].score == optimum
    assert exact == 3


def test_limits_that_one_or_two_members_meet() -> None:
    for seed in range(5):
        problem = Problem(small_space(seed, most_genes=100), seed)
        fastest, second = sorted(map(problem.true_latency, members(problem.space)))[:2]
        assert [candidate.latency_ms for candidate in problem.search(fastest)] == [fastest]
        assert {candidate.latency_ms for candidate in problem.search(second)} == {fastest, second}


def test_limits_that_hardly_any_member_meets() -> None:
    """The smallest network is the fastest; of a million uniform draws some 120 are within the limit."""
    space = SearchSpace.from_yaml(SPACES / "wmt.yaml")

    def latency(architecture: Architecture) -> float:
        return sum(sum(layer.model_dump().values()) for layer in architecture.encoder.layers) + 3000 * sum(
            layer.ffn_dim > 1024 for layer in architecture.decoder.layers
        )

    limit = latency(space.smallest()) + 1024.0
    generations: list[Generation] = []
    scores = Scoreboard.of(lambda a: -latency(a))
    found = evolutionary_search(Task(space, latency, limit), scores, SMALL, random.Random(1), generations.append)
    assert all(candidate.latency_ms <= limit for candidate in found)
    assert found[0].latency_ms == limit  # one encoder layer grew to the next width
    assert generations[0].newly_scored == SMALL.population  # the first ones were pulled there


def test_an_impossible_limit_names_the_fastest() -> None:
    for seed in range(5):
        problem = Problem(random_space(random.Random(seed)), seed)
        with pytest.raises(InfeasibleError, match=r"^no SubTransformer of .* 1e-05 ms: the fastest of ") as caught:
            problem.search(1e-5)
        assert problem.predicted < 10_000  # at a tenth of a millisecond each, a second
        assert not problem.scored and not problem.generations
        named = float(str(caught.value).partition(" needs ")[2].split()[0])
        rng = random.Random(seed)
        lowest = min(problem.true_latency(problem.space.sample(rng)) for _ in range(500))
        assert 0 <= named <= lowest * 1.001  # printed with four digits


def test_a_limit_is_met_where_the_smallest_member_is_slow() -> None:
    """Here every active layer is faster when it is larger; of a million uniform draws five are within the limit."""
    space = SearchSpace.from_yaml(SPACES / "wmt.yaml")

    def latency(architecture: Architecture) -> float:
        layers = [*architecture.encoder.layers, *architecture.decoder.layers]
        return sum(1000 / layer.ffn_dim + 4 / layer.self_attn_heads for layer in layers)

    limit = 1.05 * (7 * (1000 / 3072 + 4 / 8))
    assert latency(space.smallest()) > 1.9 * limit
    found = evolutionary_search(Task(space, latency, limit), Scoreboard.of(latency), SMALL, random.Random(1))
    assert all(candidate.latency_ms <= limit for candidate in found)


@pytest.mark.parametrize("part", ["mutations", "crossovers"])
def test_children_of_each_kind_are_new(part: str) -> None:
    parts = {"mutations": 0, "crossovers": 0} | {part: 12}
    for problem, limit in itertools.islice(problems(), 5):
        problem.search(limit, EvolutionConfig(generations=3, population=20, parents=8, **parts))
        assert sum(generation.newly_scored for generation in problem.generations[1:]) >= 10


def test_fewer_members_than_a_population() -> None:
    for seed in range(8):
        problem = Problem(small_space(seed, most_genes=60), seed)
        everything = members(problem.space)
        config = EvolutionConfig(
            generations=2,
            population=3 * len(everything),
            parents=len(everything),
            mutations=2 * len(everything),
            crossovers=0,
        )
        problem.search(float("inf"), config)
        assert set(problem.scored) <= everything
        assert problem.generations[0].newly_scored >= 0.9 * len(everything)


def test_a_space_with_one_member() -> None:
    problem = Problem(one_member(), 1)
    found = problem.search(float("inf"))
    assert [candidate.architecture for candidate in found] == [problem.space.smallest()]
    assert [generation.newly_scored for generation in problem.generations] == [1] + [0] * SMALL.generations


def one_member() -> SearchSpace:
    stack = {"embed_dim": 4, "num_layers": 1, "ffn_dim": 4, "self_attn_heads": 1}
    decoder = {**stack, "cross_attn_heads": 1, "attended_encoder_layers": 1}
    return SearchSpace.model_validate({"qkv_dim": 4, "encoder": stack, "decoder": decoder})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_reported(value: float) -> None:
    problem = Problem(one_member(), 1)
    problem.true_score = lambda architecture: value
    with pytest.raises(SearchError, match=rf"score of every SubTransformer must be a number, is {value} for enc 4x1"):
        problem.search(float("inf"))


def test_a_latency_that_is_no_number_is_reported() -> None:
    problem = Problem(one_member(), 1)
    problem.true_latency = lambda architecture: float("nan")
    with pytest.raises(SearchError, match="the predicted latency must be a number, is nan for enc 4x1"):
        problem.search(1.0)


def test_beats_random_search_with_as_many_scores() -> None:
    """A structured problem: every layer adds to quality and to latency, at rates that differ."""
    space = SearchSpace.from_yaml(SPACES / "wmt.yaml")
    config = EvolutionConfig(generations=10, population=50, parents=10, mutations=20, crossovers=20)
    wins = 0
    for seed in range(3):
        score, latency = structured(space, seed)
        rng = random.Random(seed)
        limit = sorted(latency(space.sample(rng)) for _ in range(200))[60]
        task = Task(space, latency, limit)
        found = evolutionary_search(task, Scoreboard.of(score), config, random.Random(seed))
        drawn = random_search(task, Scoreboard.of(score), config, random.Random(seed))
        assert len(drawn) >= len(found)
        wins += found[0].score < drawn[0].score
    assert wins == 3


def structured(space: SearchSpace, seed: int) -> tuple[Function, Function]:
    rng = random.Random(f"structured {seed}")
    gain, cost = ([rng.uniform(0.5, 2.0) for _ in gene_choices(space)] for _ in range(2))

    def sizes(architecture: Architecture) -> list[float]:
        gene = gene_of(space, architecture)
        return [choice / max(choices) for choice, choices in zip(gene, gene_choices(space), strict=True)]

    return (
        lambda architecture: -sum(g * size**0.5 for g, size in zip(gain, sizes(architecture), strict=True)),
        lambda architecture: sum(c * size for c, size in zip(cost, sizes(architecture), strict=True)),
    )


def test_pareto_front_equals_brute_force() -> None:
    architecture = one_member().smallest()
    for seed in range(200):
        rng = random.Random(seed)
        pairs = [(float(rng.randrange(8)), float(rng.randrange(8))) for _ in range(rng.randrange(1, 30))]
        candidates = [Candidate(architecture, *pair) for pair in pairs]
        expected = {
            (one.latency_ms, one.score)
            for one in candidates
            if not any(
                other.latency_ms <= one.latency_ms
                and other.score <= one.score
                and (other.latency_ms, other.score) != (one.latency_ms, one.score)
                for other in candidates
            )
        }
        front = [(candidate.latency_ms, candidate.score) for candidate in pareto_front(candidates)]
        assert front == sorted(expected)  # fastest first, equal ones once
    assert pareto_front([]) == []


def test_a_search_that_begins_with_what_is_known_is_never_worse() -> None:
    for problem, limit_ms in itertools.islice(problems(), 6):
        first = problem.search(limit_ms)
        start = [candidate.architecture for candidate in first]
        again = problem.search(limit_ms, seed=7, start=start)
        assert again[0].score <= first[0].score
        tighter_ms = first[0].latency_ms * 0.999
        fitting = [candidate.score for candidate in first if candidate.latency_ms <= tighter_ms]
        if fitting:
            found = problem.search(tighter_ms, seed=7, start=start)
            assert found[0].score <= min(fitting)
            assert all(candidate.latency_ms <= tighter_ms for candidate in found)
