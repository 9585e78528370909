"""Searches under several limits at once, and the search for all trade-offs, over random spaces."""

import itertools
import random
import sys

import pytest
from random_spaces import random_space
from test_search import SMALL, Problem, members, one_member, small_space, table_function

from hat.errors import ConfigError, InfeasibleError, SearchError
from hat.search import ALGORITHMS, Limit, Scoreboard, Task, evolutionary_search, nsga2_search, pareto_front
from hat.space import Architecture, SearchSpace
from hat.space.counting import count_multiply_adds, count_parameters


def parameters(architecture: Architecture) -> float:
    return count_parameters(architecture).total


def multiply_adds(architecture: Architecture) -> float:
    return count_multiply_adds(architecture, 10, 10).total


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_candidate_keeps_every_limit(algorithm: str) -> None:
    """Or the search ends at once and says why not."""
    ended = {True: 0, False: 0}
    for seed in range(8):
        rng = random.Random(f"limits {seed}")
        problem = Problem(random_space(rng, max_depth=3), seed)
        drawn = [problem.space.sample(rng) for _ in range(50)]

        def one_of(values: list[float], rng: random.Random = rng) -> float:
            return sorted(values)[rng.randrange(len(values))]

        limits = [
            Limit("parameters", "", one_of(list(map(parameters, drawn))), parameters),
            Limit("multiply-adds", "", one_of(list(map(multiply_adds, drawn))), multiply_adds),
        ]
        limit_ms = one_of(list(map(problem.true_latency, drawn)))
        try:
            found = problem.search(limit_ms, algorithm=algorithm, limits=limits)
        except InfeasibleError as error:
            ended[False] += 1
            assert str(error).startswith("no SubTransformer of this space ")
            assert not any(
                problem.true_latency(one) <= limit_ms and all(limit.value(one) <= limit.most for limit in limits)
                for one in drawn
            )
            continue
        ended[True] += 1
        for candidate in found:
            assert candidate.latency_ms <= limit_ms
            assert all(limit.value(candidate.architecture) <= limit.most for limit in limits)
    assert ended[True] >= 4


def test_the_limit_at_fault_is_named_with_the_best_that_is_reachable() -> None:
    for seed in range(5):
        space = random_space(random.Random(seed), max_depth=3)
        fewest = parameters(space.smallest())
        latency = table_function(space, seed)
        limits = (Limit("multiply-adds", "", 1e12, multiply_adds), Limit("parameters", "", fewest - 1, parameters))
        with pytest.raises(InfeasibleError) as caught:
            evolutionary_search(Task(space, latency, 1e6, limits), Scoreboard.of(latency), SMALL, random.Random(1))
        assert f"has parameters of at most {limits[1].show(fewest - 1)}: the lowest found is" in str(caught.value)
        assert f"is {limits[1].show(fewest)} (enc" in str(caught.value)


def test_limits_that_only_exclude_each_other_are_said_to() -> None:
    space = small_space(3)

    def small(architecture: Architecture) -> float:
        return parameters(architecture)

    def large(architecture: Architecture) -> float:
        return 1e9 / parameters(architecture)

    values = sorted(map(parameters, members(space)))
    limits = Limit("parameters", "", values[0], small), Limit("smallness", "MB", 1e9 / values[-1], large)
    with pytest.raises(InfeasibleError) as caught:
        evolutionary_search(Task(space, small, limits=limits), Scoreboard.of(small), SMALL, random.Random(1))
    message = str(caught.value)
    assert "keeps all limits at once, though each of them alone can be kept" in message
    assert f"parameters {limits[0].show(values[0])} of {limits[0].show(values[0])}, smallness" in message
    assert "; the nearest of " in message and message.endswith("; raise one of the limits.")


def test_limits_found_only_downhill() -> None:
    """The smallest network is over one limit and random ones are over the other."""
    space = SearchSpace.model_validate(one_deep_space())

    def width(architecture: Architecture) -> float:
        return sum(layer.ffn_dim for layer in architecture.encoder.layers) / 100

    def narrowness(architecture: Architecture) -> float:
        return 100 / architecture.encoder.embed_dim + 100 / architecture.decoder.embed_dim

    limits = (Limit("narrowness", "", narrowness(space.largest()), narrowness),)
    lowest = 1.5 * width(space.smallest())
    found = evolutionary_search(Task(space, width, lowest, limits), Scoreboard.of(width), SMALL, random.Random(1))
    assert found and all(candidate.latency_ms <= lowest for candidate in found)


def one_deep_space() -> dict[str, object]:
    many = [8 * number for number in range(1, 13)]
    stack = {"embed_dim": many, "num_layers": 6, "ffn_dim": many, "self_attn_heads": [1, 2]}
    return {
        "qkv_dim": 8,
        "encoder": stack,
        "decoder": {**stack, "cross_attn_heads": [1, 2], "attended_encoder_layers": [1, 2]},
    }


@pytest.mark.parametrize("value", [float("nan")])
def test_a_limited_value_that_is_no_number_is_reported(value: float) -> None:
    limit = Limit("size", "MB", 1.0, lambda architecture: value)
    with pytest.raises(SearchError, match="size: must be a number, is nan for enc 4x1"):
        Problem(one_member(), 1).search(1e9, limits=[limit])


@pytest.mark.parametrize("most", [0.0, -1.0, float("nan")])
def test_limits_are_above_zero(most: float) -> None:
    with pytest.raises(ValueError, match="every limit must be above 0"):
        Task(one_member(), parameters, most)
    with pytest.raises(ValueError, match="every limit must be above 0"):
        Task(one_member(), parameters, limits=(Limit("size", "MB", most, parameters),))


def test_nsga2_finds_the_whole_front_of_small_spaces() -> None:
    config = SMALL.model_copy(update={"generations": 15})
    for seed in range(3):
        problem = Problem(small_space(seed, most_genes=200), seed)
        found = nsga2_search(
            Task(problem.space, problem.true_latency), Scoreboard.of(problem.score), config, random.Random(seed)
        )
        front = pareto_front(found)
        for one, other in itertools.permutations(front, 2):
            assert one.latency_ms > other.latency_ms or one.score > other.score
        true = [(problem.true_latency(one), problem.true_score(one)) for one in members(problem.space)]
        expected = {
            (latency, score)
            for latency, score in true
            if not any(a <= latency and b <= score and (a, b) != (latency, score) for a, b in true)
        }
        assert {(candidate.latency_ms, candidate.score) for candidate in front} == expected


def test_one_run_of_nsga2_is_nearly_as_good_as_a_search_at_every_limit() -> None:
    for seed in range(2):
        problem = Problem(random_space(random.Random(seed), max_depth=2), seed)
        config = SMALL.model_copy(update={"generations": 12})
        task = Task(problem.space, problem.true_latency)
        front = pareto_front(nsga2_search(task, Scoreboard.of(problem.true_score), config, random.Random(1)))
        rng = random.Random(seed)
        drawn = [problem.space.sample(rng) for _ in range(500)]
        for limit_ms in (front[len(front) // 3].latency_ms, front[2 * len(front) // 3].latency_ms):
            best = min(candidate.score for candidate in front if candidate.latency_ms <= limit_ms)
            fitting = [problem.true_score(one) for one in drawn if problem.true_latency(one) <= limit_ms]
            assert best <= min(fitting, default=best)


def test_nsga2_says_so_where_pymoo_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pymoo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymoo", None)
    with pytest.raises(
        ConfigError, match=r"algorithm: nsga2 needs the package pymoo, which is not installed; pip install pymoo"
    ):
        Problem(one_member(), 1).search(1.0, algorithm="nsga2")


def test_nsga2_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    Problem(small_space(1), 1).search(1e9, algorithm="nsga2")
    assert capfd.readouterr() == ("", "")
