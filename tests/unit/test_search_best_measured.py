"""Searching on until the limit is kept when it is measured: with everything known, what comes out is known, too."""

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

import pytest

from hat.errors import BackendError, InfeasibleError, SearchError
from hat.latency.stopwatch import CONFIDENCE, Reading
from hat.recipes.best_measured import confidence_of, search_and_measure
from hat.search import Candidate
from hat.space import Architecture, SearchSpace

SPACE = SearchSpace.model_validate(
    {
        "qkv_dim": 8,
        "encoder": {"embed_dim": [8, 16], "num_layers": [1, 2], "ffn_dim": [8, 16], "self_attn_heads": [1, 2]},
        "decoder": {
            "embed_dim": [8, 16], "num_layers": [1, 2, 3], "ffn_dim": [8, 16], "self_attn_heads": [1, 2],
            "cross_attn_heads": [1, 2], "attended_encoder_layers": [1],
        },
    }
)  # fmt: skip


class World:
    """Some architectures with scores, predicted and true latencies, and a search that always finds the best."""

    def __init__(self, seed: int, error: Callable[[random.Random, Architecture], float], interval: float = 0.0) -> None:
        self.interval = interval
        rng = random.Random(seed)
        self.architectures = list(dict.fromkeys(SPACE.sample(rng) for _ in range(60)))
        self.predicted_ms = {a: 10.0 * len(a.decoder.layers) + rng.uniform(0, 5) for a in self.architectures}
        self.true_ms = {a: self.predicted_ms[a] * error(rng, a) for a in self.architectures}
        self.score = {a: 5.0 - 0.1 * self.predicted_ms[a] + rng.uniform(0, 0.5) for a in self.architectures}
        self.read_ones: list[Architecture] = []
        self.confidences: list[float] = []
        self.failing: set[Architecture] = set()

    def find(self, latency_ms: Callable[[Architecture], float], known: Sequence[Candidate]) -> list[Candidate]:
        fitting = [a for a in self.architectures if latency_ms(a) <= LIMIT_MS]
        if not fitting:
            raise InfeasibleError("nothing is within the limit")
        candidates = [Candidate(a, self.score[a], latency_ms(a)) for a in fitting]
        return sorted(candidates, key=lambda candidate: candidate.score)

    def read(self, architecture: Architecture, confidence: float) -> Reading:
        self.read_ones.append(architecture)
        self.confidences.append(confidence)
        if architecture in self.failing:
            raise BackendError("no memory")
        ms = self.true_ms[architecture]
        return Reading(ms, ms * (1 - self.interval), ms * (1 + self.interval), ms)

    def search(self, most: int = 60) -> Architecture:
        found, reading = search_and_measure(
            self.find, lambda architecture: self.predicted_ms[architecture], self.read, LIMIT_MS, most
        )
        assert reading.latency_ms == self.true_ms[found.architecture] and reading.upper_ms <= LIMIT_MS
        return found.architecture

    def best(self) -> Architecture:
        highest_ms = LIMIT_MS / (1 + self.interval)
        able = (a for a in self.architectures if a not in self.failing)
        return min((a for a in able if self.true_ms[a] <= highest_ms), key=lambda a: self.score[a])


LIMIT_MS = 27.0


@pytest.mark.parametrize("seed", range(20))
def test_right_predictions_need_one_measurement(seed: int) -> None:
    world = World(seed, lambda rng, architecture: 1.0)
    assert world.search() == world.best()
    assert len(world.read_ones) == 1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("factor", [1.05, 1.3, 2.0])
def test_predictions_that_are_all_too_low_need_two(seed: int, factor: float) -> None:
    world = World(seed, lambda rng, architecture: factor)
    assert world.search() == world.best()
    assert len(world.read_ones) <= 2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("factor", [0.9, 1.0, 1.2])
def test_right_predictions_at_the_limit_are_left_for_ones_surely_below(seed: int, factor: float) -> None:
    world = World(seed, lambda rng, architecture: factor, interval=0.02)
    found = world.search()
    assert len(world.read_ones) <= 3
    if factor >= 1:
        assert found == world.best()


def test_a_wide_interval_of_one_that_is_surely_too_slow_does_not_rule_out_the_others() -> None:
    world = World(1, lambda rng, architecture: 1.1)
    slow, fast = world.architectures[:2]
    world.architectures, world.predicted_ms = [slow, fast], {slow: 26.0, fast: 20.0}
    world.score = {slow: 1.0, fast: 2.0}
    read = {slow: Reading(28.6, 27.1, 37.0, 28.6), fast: Reading(22.0, 21.0, 23.0, 22.0)}
    world.true_ms = {slow: 28.6, fast: 22.0}
    world.read = lambda one, confidence: read[one]  # type: ignore[method-assign]
    assert world.search() == fast


@pytest.mark.parametrize(("own_ms", "found"), [(26.0, True), (27.1, False)])
def test_one_that_takes_far_longer_than_predicted_does_not_rule_out_the_fastest(own_ms: float, found: bool) -> None:
    """As a whole, its correction would: 25 times 29 / 26 is more than the limit."""
    world = World(1, lambda rng, architecture: 1.0)
    slow, fast = world.architectures[:2]
    world.architectures, world.predicted_ms = [slow, fast], {slow: 26.0, fast: 25.0}
    world.score, world.true_ms = {slow: 1.0, fast: 2.0}, {slow: 29.0, fast: own_ms}
    if found:
        assert world.search() == fast
    else:
        with pytest.raises(SearchError, match=r"\(2 measured, 0 failed\) .* 1\.10 times their prediction"):
            world.search()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("restless", [1, 2])
def test_some_restless_seconds_do_not_rule_out_everything(seed: int, restless: int) -> None:
    """The first readings are right, but anything up to three times as much is possible; then the machine is calm."""
    world = World(seed, lambda rng, architecture: 1.0, interval=0.02)
    calm = world.read

    def read(architecture: Architecture, confidence: float) -> Reading:
        reading = calm(architecture, confidence)
        if len(world.read_ones) > restless:
            return reading
        return dataclasses.replace(reading, lower_ms=reading.latency_ms / 3, upper_ms=reading.latency_ms * 3)

    world.read = read  # type: ignore[method-assign]
    world.search()
    assert len(world.read_ones) <= restless + 2


def test_what_stands_in_the_way_is_said() -> None:
    """At what pace the machine was; and no bound where there is none."""
    world = World(1, lambda rng, architecture: 1.5)
    calm = world.read
    world.read = lambda *asked: dataclasses.replace(calm(*asked), slowdown=1.3)  # type: ignore[method-assign]
    with pytest.raises(SearchError, match=r"surely at most 1.50 times, .*; the anchor took 1.30 times its time in the"):
        world.search(most=1)
    world.read = lambda *asked: dataclasses.replace(calm(*asked), upper_ms=math.inf)  # type: ignore[method-assign]
    with pytest.raises(
        SearchError,
        match=r"their prediction, the fastest [0-9.]+ ms \(enc .*\)\. Is .* raise the limit or measured_candidates\.",
    ):
        world.search(most=1)


def test_another_error_of_the_search_is_not_taken_for_that() -> None:
    world = World(1, lambda rng, architecture: 2.0)
    find = world.find

    def failing(latency_ms: Callable[[Architecture], float], known: Sequence[Candidate]) -> list[Candidate]:
        if known:
            raise SearchError("the score of every SubTransformer must be a number")
        return find(latency_ms, known)

    world.find = failing  # type: ignore[method-assign]
    with pytest.raises(SearchError, match="must be a number"):
        world.search()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_errors_nothing_is_measured_twice_and_the_limit_is_kept(seed: int) -> None:
    world = World(seed, lambda rng, architecture: rng.uniform(0.8, 1.5))
    world.search()
    assert len(world.read_ones) == len(set(world.read_ones))


def test_it_gives_up_after_so_many() -> None:
    world = World(1, lambda rng, architecture: 100.0 if rng.random() < 0.99 else 1.0)
    with pytest.raises(SearchError, match=r"\(1 measured, 0 failed\) surely runs within 27 ms .* 100.00 times their"):
        world.search()  # corrected so far up, nothing is left
    world = World(1, lambda rng, architecture: 27.01 / (10.0 * len(architecture.decoder.layers)))
    with pytest.raises(SearchError, match=r"none of the best candidates \(3 measured, 0 failed\)"):
        world.search(most=3)
    assert len(world.read_ones) == 3


@pytest.mark.parametrize("seed", range(5))
def test_what_the_device_cannot_run_is_passed_over(seed: int) -> None:
    world = World(seed, lambda rng, architecture: 1.0)
    world.failing = {world.best()}
    world.failing.add(world.best())  # the next best, too
    assert world.search() == world.best()
    assert len(world.read_ones) == 3
    world.failing = set(world.architectures)
    with pytest.raises(SearchError, match=r"no candidate could be measured here \([0-9]+ failed, see above\)"):
        world.search()


def test_each_network_must_be_surer_than_the_one_before_and_all_chances_add_up_to_that_of_the_search() -> None:
    world = World(1, lambda rng, architecture: 27.01 / (10.0 * len(architecture.decoder.layers)))
    first = world.find(world.predicted_ms.__getitem__, ())[0].architecture
    world.failing = {first}  # its number is given to the next
    with pytest.raises(SearchError, match=r"\(3 measured, 1 failed\)"):
        world.search(most=4)
    assert world.confidences == [confidence_of(number) for number in (1, 1, 2, 3)]
    for most in (1, 2, 20, 1000):
        chances = sum(1 - confidence_of(number) for number in range(1, most + 1))
        assert chances == pytest.approx((1 - CONFIDENCE) * (1 - 1 / (most + 1)))
