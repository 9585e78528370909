"""Measuring in passes: what of all measurements makes a row, and what a disturbance does to it."""

import dataclasses
import random
from pathlib import Path

import pytest

from hat.errors import DataError
from hat.latency.measurements import Measurement, MeasurementFile, kept, together
from hat.latency.settings import LatencySettings
from hat.latency.statistics import LatencySample
from hat.recipes.latency_rows import measured_rows, off_pace
from hat.recipes.measure_latency import of_a_pass
from hat.space import Architecture, SearchSpace

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs/space/demo.yaml")
SMALL, LARGE = SPACE.smallest(), SPACE.largest()


def made(
    number: int = 1, pace: float = 1.0, architecture: Architecture = SMALL, total_ms: float = 6.0, anchored: bool = True
) -> Measurement:
    """One beside an anchor of 4 ms, when everything took ``pace`` times as long; the turns differ a little."""
    turns = (0.9, 1.0, 1.1)
    runs = [(pace * turn, pace * turn * total_ms) for turn in turns for _ in range(3)]
    ratios = [turn * total_ms / 4 for turn in turns] if anchored else None
    return Measurement.now(architecture, number, runs, ratios)


def test_one_pass_is_what_it_was() -> None:
    timed = together([made(pace=1.2)])
    assert timed.sample == LatencySample.of_runs(made(pace=1.2).runs)
    assert timed.anchor_ms == pytest.approx(4 * 1.2) and timed.relative_error is None  # three turns tell too little


def test_passes_count_as_if_all_had_been_made_at_the_pace_of_the_middle_one() -> None:
    timed = together([made(1, 0.8), made(2, 1.0), made(3, 1.7)])
    same = LatencySample.of_runs([run for _ in range(3) for run in made().runs])
    assert timed.sample.runs == 27 and timed.anchor_ms == pytest.approx(4.0)
    assert timed.sample.total.mean_ms == pytest.approx(same.total.mean_ms)
    assert timed.sample.total.p90_ms == pytest.approx(same.total.p90_ms)
    assert timed.sample.encoder.median_ms == pytest.approx(same.encoder.median_ms)
    assert timed.relative_error is not None


@pytest.mark.parametrize("disturbed", [1, 2, 3])
def test_what_disturbs_one_pass_of_three_does_not_reach_the_ratio(disturbed: int) -> None:
    """The network suffers more than the anchor: its ratio is 1.4 times as large meanwhile."""
    passes = [made(number, total_ms=6.0 * (1.4 if number == disturbed else 1.0)) for number in (1, 2, 3)]
    timed = together(passes)
    assert timed.anchor_ms is not None
    ratio = timed.sample.total.mean_ms / timed.anchor_ms
    assert 1.5 <= ratio <= 1.5 * 1.1  # of the turns of a calm pass, and not the mean, 1.7


def test_without_an_anchor_all_runs_count_as_they_are() -> None:
    passes = [made(1, 1.0, anchored=False), made(2, 3.0, anchored=False)]
    timed = together(passes)
    assert timed.anchor_ms is None
    assert timed.sample == LatencySample.of_runs([*passes[0].runs, *passes[1].runs])
    assert timed.relative_error == timed.sample.relative_error is not None


def test_of_what_was_measured_anew_the_one_nearest_to_the_common_pace_counts() -> None:
    others = [made(1, 1.0, SPACE.sample(random.Random(seed))) for seed in range(8)]
    for paces, best in (((1.5, 1.1), 1.1), ((1.5, 1.6, 1.4), 1.4), ((1.1, 1.5), 1.1), ((0.7, 1.1), 1.1)):
        measurements = [made(1, paces[0]), *others, *(made(1, pace) for pace in paces[1:])]
        row = {row.architecture: row for row in measured_rows(measurements)}[SMALL]
        assert row.timed.anchor_ms == pytest.approx(4 * best) and row.retakes == len(paces) - 1
        last = measured_rows(measurements)[-1].architecture
        assert (last == SMALL) == (best != paces[0])  # where it was measured, that is, when


def test_each_pass_is_measured_anew_for_itself() -> None:
    calm = [made(number, 1.0, SPACE.sample(random.Random(seed))) for number in (1, 2, 3) for seed in range(8)]
    measurements = [*calm, made(1), made(2, 1.5), made(3), made(2, 1.4)]
    assert off_pace(measurements, 0.2) == [((SMALL, 2), 2)]
    assert off_pace(measurements, 0.45) == [] and off_pace(measurements, None) == []
    assert kept(measurements)[SMALL, 2] == measurements[-1]
    rows = measured_rows(measurements)
    assert [row.timed.sample.runs for row in rows] == [27] * 9
    assert [row.retakes for row in rows] == [0] * 8 + [1]


def test_a_pass_takes_its_part_of_the_runs() -> None:
    values = {"source_length": 3, "target_length": 3, "source_vocab_size": 9, "target_vocab_size": 9}
    settings = LatencySettings.model_validate(values | {"runs": 50, "least_runs": 8, "relative_error": 0.01})
    part = of_a_pass(settings, 3)
    assert (part.runs, part.least_runs) == (17, 3)
    assert part.relative_error == pytest.approx(0.01 * 3**0.5)
    assert of_a_pass(settings, 1) == settings
    assert of_a_pass(settings.model_copy(update={"relative_error": None}), 3).relative_error is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace('"pass":1', '"pass":"x"'),
        lambda line: line.replace('"total_ms":[', '"total_ms":[1,'),
        lambda line: line.replace('"ratios":[', '"ratios":[0,'),
        lambda line: line.replace('"encoder_ms":[', '"encoder_ms":["a",'),
        lambda line: line.replace('"total_ms":[', '"total_ms":[NaN,').replace('"encoder_ms":[', '"encoder_ms":[1,'),
        lambda line: line.replace("hat.architecture/1", "hat.architecture/9"),
        lambda line: line[:-3] + "}",
        lambda line: "[]",
    ],
)
def test_damaged_lines_are_named(damage: object, tmp_path: Path) -> None:
    path = tmp_path / "measurements.jsonl"
    lines = [made(1, architecture=LARGE).to_json(), damage(made().to_json())]  # type: ignore[operator]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    with pytest.raises(DataError, match=r"measurements.jsonl, line 2.* must be"):
        MeasurementFile(path)


def test_a_line_is_what_it_was(tmp_path: Path) -> None:
    for one in (made(2, 1.1), dataclasses.replace(made(), ratios=None)):
        assert Measurement.from_json(one.to_json(), "test") == one
