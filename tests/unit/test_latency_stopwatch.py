"""The stopwatch: a reading depends on the network alone, not on the pace of the machine, and its bound is one."""

import itertools
import math
import random
import statistics
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch

from hat.latency import stopwatch as module
from hat.latency.pace import Pace
from hat.latency.settings import DeviceRecord, LatencySettings
from hat.latency.statistics import AnchoredSample, LatencySample
from hat.latency.stopwatch import CONFIDENCE, LOOKS, Reading, Stopwatch, upper_bound
from hat.nn import Transformer
from hat.recipes.best_measured import confidence_of
from hat.space import SearchSpace

SPACE = SearchSpace.model_validate(
    {
        "qkv_dim": 8,
        "encoder": {"embed_dim": [8], "num_layers": [1], "ffn_dim": [8], "self_attn_heads": [1]},
        "decoder": {
            "embed_dim": [8], "num_layers": [1, 2], "ffn_dim": [8], "self_attn_heads": [1],
            "cross_attn_heads": [1], "attended_encoder_layers": [1],
        },
    }
)  # fmt: skip
SETTINGS = LatencySettings(
    source_length=3, target_length=3, source_vocab_size=9, target_vocab_size=9, beam=2, device="cpu", threads=1, runs=4
)


def record(anchored: bool) -> DeviceRecord:
    anchor = SPACE.smallest() if anchored else None
    return DeviceRecord(machine="m", gpu=None, torch="2.6", settings=SETTINGS, anchor=anchor)


def some_net() -> Transformer:
    torch.manual_seed(1)
    return Transformer(SPACE.largest(), source_vocab_size=9, target_vocab_size=9)


PACE = Pace(3.0)


class Timer:
    """Stands for a timer on a machine of changing pace: the network takes some times the anchor's 3 ms."""

    def __init__(self, paces: Iterable[float], ratios: Iterable[Sequence[float]]) -> None:
        self.paces, self.ratios = iter(paces), iter(ratios)
        self.looks = 0

    def time(self, net: Transformer, most_runs: int, least_runs: int) -> AnchoredSample:
        self.looks += 1
        ratios = next(self.ratios)
        mean_ms = 3 * next(self.paces) * statistics.median(ratios)
        return AnchoredSample(((0.1, mean_ms),), tuple(ratios))


def stopwatch_with(timer: Timer, monkeypatch: pytest.MonkeyPatch, pace: Pace = PACE) -> Stopwatch:
    monkeypatch.setattr(module, "AnchoredTimer", lambda anchor, settings: timer)
    return Stopwatch(record(anchored=True), pace)


def test_readings_do_not_depend_on_the_pace_but_say_what_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    paces, ratios = [1.0, 2.0, 0.5, 1.2, 3.0], [1.4, 1.5, 1.5, 1.5, 1.6, 1.7, 1.5, 1.5]
    stopwatch = stopwatch_with(Timer(paces, itertools.repeat(ratios)), monkeypatch)
    readings = [stopwatch.read(some_net()) for _ in paces]
    assert [reading.latency_ms for reading in readings] == pytest.approx([4.5] * 5)
    assert [reading.now_ms for reading in readings] == pytest.approx([4.5 * pace for pace in paces])


@pytest.mark.parametrize(("ratio", "exponent"), [(1.0, 1.0), (0.5, 0.6), (0.25, 0.2), (0.1, 0.0), (2.0, 1.0)])
def test_networks_follow_the_pace_as_those_of_the_data_set_did(
    monkeypatch: pytest.MonkeyPatch, ratio: float, exponent: float
) -> None:
    """A network of half the anchor's time follows it by the exponent 0.6, one of twice its time in full."""
    timer = Timer([1.3], [(ratio * 1.3**exponent / 1.3,) * 8])
    reading = stopwatch_with(timer, monkeypatch, Pace(3.0, lag=0.4 / math.log(2))).read(some_net())
    assert reading.now_ms == pytest.approx(3 * ratio * 1.3**exponent)
    assert reading.latency_ms == pytest.approx(3 * ratio)
    assert reading.slowdown == pytest.approx(1.3)


@pytest.mark.parametrize("slower", [1.0, 1.2, 0.8])
def test_at_another_pace_it_is_less_sure(monkeypatch: pytest.MonkeyPatch, slower: float) -> None:
    """Networks differ in how far they follow the anchor; at the data set's pace that does not matter."""
    pace = Pace(3.0, scatter=0.2)
    timer = Timer(itertools.repeat(slower), itertools.repeat((1.0,) * 8))
    reading = stopwatch_with(timer, monkeypatch, pace).read(some_net(), limit_ms=4.0)
    assert reading.latency_ms == pytest.approx(3.0)
    margin = math.exp(2.353 * 0.2 * abs(math.log(slower)))
    assert reading.slowdown == pytest.approx(slower)
    assert (reading.lower_ms, reading.upper_ms) == (pytest.approx(3.0 / margin), pytest.approx(3.0 * margin))


def test_it_does_not_look_for_what_further_looks_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is within what is not known of how the network follows, however often it is measured."""
    timer = Timer(itertools.repeat(1.2), itertools.repeat((1.0,) * 8))
    reading = stopwatch_with(timer, monkeypatch, Pace(3.0, scatter=0.2)).read(some_net(), limit_ms=3.1)
    assert reading.lower_ms <= 3.1 < reading.upper_ms and timer.looks == LOOKS[0]


def test_the_90th_percentile_at_the_pace_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set's median anchor took 3 ms; now the network takes 4.5 to 13 ms, the anchor as long as its mean."""
    runs = ((0.1, 4.5), (0.1, 9.0), (0.1, 13.0))
    sample = LatencySample.of_runs(runs)
    timer = Timer([], [])
    monkeypatch.setattr(timer, "time", lambda net, most_runs, least_runs: AnchoredSample(runs, (2.0,) * 3))
    monkeypatch.setattr(module, "AnchoredTimer", lambda anchor, settings: timer)
    reading = Stopwatch(record(anchored=True), PACE, "p90").read(some_net())
    assert reading.now_ms == sample.total.p90_ms == pytest.approx(13.0)
    anchor_ms = sample.total.mean_ms / 2  # beside this network
    assert reading.latency_ms == pytest.approx(13.0 / anchor_ms * 3.0)
    assert Stopwatch(record(anchored=True), PACE).read(some_net()).latency_ms == pytest.approx(2 * 3.0)
    small = AnchoredSample(runs, (0.5,) * 3)  # it lags: its percentile, too, is brought to the pace by its mean
    monkeypatch.setattr(timer, "time", lambda net, most_runs, least_runs: small)
    pace = Pace(3.0, lag=0.6)
    reading = Stopwatch(record(anchored=True), pace, "p90").read(some_net())
    factor = float(pace.factor(sample.total.mean_ms, sample.total.mean_ms / 0.5))
    assert reading.latency_ms == pytest.approx(13.0 * factor) and factor > 3.0 * 0.5 / sample.total.mean_ms


def test_a_look_for_the_90th_percentile_takes_enough_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def measure(net: Transformer, settings: LatencySettings) -> LatencySample:
        asked.append((settings.runs, settings.least_runs))
        return LatencySample.of_runs([(0.1, 1.0 + run) for run in range(settings.runs)])

    monkeypatch.setattr(module, "measure", measure)
    device = record(anchored=False)
    device = device.model_copy(update={"settings": SETTINGS.model_copy(update={"runs": 100})})
    reading = Stopwatch(device, None, "p90").read(some_net(), limit_ms=1.0)
    assert set(asked) == {(30, 30)} and reading.latency_ms == reading.now_ms == pytest.approx(
        (30 + 1 / 3) * 0.9 + 1 / 3
    )
    assert Stopwatch(device, None).read(some_net(), limit_ms=1.0).now_ms == pytest.approx(7.0)  # 13 runs


@pytest.mark.parametrize(("limit_ms", "looks"), [(2.5, LOOKS[0]), (4.0, LOOKS[0]), (3.0, LOOKS[-1])])
def test_it_looks_until_it_is_sure(monkeypatch: pytest.MonkeyPatch, limit_ms: float, looks: int) -> None:
    generator = np.random.default_rng(1)
    ratios = (generator.normal(1.0, 0.1, 8).tolist() for _ in itertools.count())
    timer = Timer(itertools.repeat(1.0), ratios)
    reading = stopwatch_with(timer, monkeypatch).read(some_net(), limit_ms)
    assert timer.looks == looks
    assert (reading.lower_ms <= limit_ms < reading.upper_ms) == (looks == LOOKS[-1])


def test_asking_often_is_not_wrong_more_often() -> None:
    """The probability that a bound is on the wrong side of the median at one of the numbers of looks, added up."""
    wrong = 0.0
    for number in LOOKS:
        bound = upper_bound([float(value) for value in range(number)], 1 - (1 - confidence_of(1)) / len(LOOKS))
        wrong += sum(math.comb(number, above) for above in range(number - int(bound))) / 2**number
    assert 0.5 * (1 - confidence_of(1)) < wrong <= 1 - confidence_of(1) < 1 - CONFIDENCE


@pytest.mark.parametrize(
    ("number", "looks"), [(1, LOOKS[0]), (2, LOOKS[1]), (5, LOOKS[1]), (6, LOOKS[2]), (20, LOOKS[3])]
)
def test_who_is_to_be_surer_looks_more_often(monkeypatch: pytest.MonkeyPatch, number: int, looks: int) -> None:
    timer = Timer(itertools.repeat(1.0), itertools.repeat((1.0,) * 8))
    reading = stopwatch_with(timer, monkeypatch).read(some_net(), limit_ms=3.3, confidence=confidence_of(number))
    assert reading.upper_ms == 3.0 and timer.looks == looks
    told = [Reading.of([3.0] * looks, confidence_of(number)), Reading.of([3.0] * 7, confidence_of(number))]
    assert [reading.upper_ms for reading in told] == [3.0, math.inf]


@pytest.mark.parametrize("outliers", range(len(LOOKS)))
def test_outliers_cost_looks(monkeypatch: pytest.MonkeyPatch, outliers: int) -> None:
    """So many disturbed looks, from the third on: it is sure as soon as a bound leaves them out."""
    allowed = [0, 1, 2, 3, 6, 9]  # of 8, 12, 15, 18, 27 and 35 looks
    calm, disturbed = (1.0,) * 8, (1.5,) * 8
    ratios = itertools.chain([calm] * 2, [disturbed] * allowed[outliers], itertools.repeat(calm))
    timer = Timer(itertools.repeat(1.0), ratios)
    reading = stopwatch_with(timer, monkeypatch).read(some_net(), limit_ms=3.3, confidence=confidence_of(1))
    assert reading.upper_ms == 3.0 and timer.looks == LOOKS[outliers]


def test_one_disturbed_look_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = itertools.chain([(1.5,) * 8], itertools.repeat((1.0,) * 8))
    timer = Timer(itertools.repeat(1.0), ratios)
    reading = stopwatch_with(timer, monkeypatch).read(some_net(), limit_ms=3.3)
    assert reading.upper_ms == reading.latency_ms == 3.0 and timer.looks == LOOKS[1]


@pytest.mark.parametrize(("look", "turn"), [(0.0, 0.05), (0.04, 0.01), (0.1, 0.1)])
def test_at_the_limit_it_is_hardly_ever_sure(monkeypatch: pytest.MonkeyPatch, look: float, turn: float) -> None:
    """Whatever the runs of one look have in common: one time in twenty at most, on either side."""
    generator, net = np.random.default_rng(1), some_net()
    ratios = ((generator.normal(1, look) * generator.normal(1, turn, 8)).tolist() for _ in itertools.count())
    stopwatch = stopwatch_with(Timer(itertools.repeat(1.0), ratios), monkeypatch)
    readings = [stopwatch.read(net, limit_ms=3.0) for _ in range(400)]
    assert np.mean([reading.upper_ms <= 3.0 for reading in readings]) <= 0.05
    assert np.mean([reading.lower_ms > 3.0 for reading in readings]) <= 0.05


@pytest.mark.parametrize(("anchored", "pace"), [(False, PACE), (True, None)])
def test_without_an_anchor_times_are_as_they_are(anchored: bool, pace: Pace | None) -> None:
    stopwatch = Stopwatch(record(anchored), pace)
    reading = stopwatch.read(some_net())
    assert 0 < reading.latency_ms == reading.now_ms
    assert (reading.lower_ms, reading.upper_ms) == (-math.inf, math.inf)  # one look says nothing about others
    assert reading.slowdown is None


def test_a_network_beside_itself_takes_as_long_as_the_anchor() -> None:
    """The real thing: within what a loaded machine allows."""
    settings = SETTINGS.model_copy(update={"runs": 60})
    device = record(anchored=True).model_copy(update={"settings": settings, "anchor": SPACE.largest()})
    reading = Stopwatch(device, Pace(7.0)).read(some_net())
    assert reading.latency_ms == pytest.approx(7.0, rel=0.3)


@pytest.mark.parametrize(("number", "rank"), [(5, 5), (7, 7), (8, 7), (10, 9), (30, 20), (100, 59)])
def test_upper_bound_is_the_order_statistic_of_the_sign_test(number: int, rank: int) -> None:
    values = [float(value) for value in range(1, number + 1)]
    random.Random(1).shuffle(values)
    assert upper_bound(values, 0.95) == rank


def test_few_values_say_nothing() -> None:
    for number in range(1, 5):  # the toss of four coins is heads only once in 16
        assert upper_bound([1.0] * number, 0.95) == math.inf
    assert upper_bound([1.0] * 7, 0.995) == math.inf


def test_the_median_is_below_the_bound_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    held = [upper_bound(generator.exponential(1.0, 12).tolist(), 0.95) >= np.log(2) for _ in range(2000)]
    assert 0.95 <= np.mean(held) < 0.99
