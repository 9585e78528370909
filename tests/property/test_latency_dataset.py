"""What must hold for every latency data set: nothing is lost on the way to the disk and back, or leaks in a split."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_spaces import random_space

from hat.errors import ConfigError
from hat.latency.dataset import LatencyDataset
from hat.latency.measurements import Measurement, MeasurementFile
from hat.latency.statistics import LatencySample, Timed
from hat.latency.writer import MeasuredRow, write_latencies
from hat.space import Architecture
from hat.space.encoding import features

PROPERTY = settings(max_examples=60, derandomize=True, deadline=None, database=None)
SEEDS = st.integers(0, 2**32 - 1)


def some_rows(seed: int, number: int) -> list[tuple[Architecture, LatencySample]]:
    rng = random.Random(seed)
    space = random_space(rng)
    rows = []
    for _ in range(number):
        encoder_ms = [10 ** rng.uniform(-3, 4) for _ in range(5)]
        sample = LatencySample.of_runs([(ms, ms + rng.uniform(0.1, 900)) for ms in encoder_ms])
        rows.append((space.sample(rng), sample))
    return rows


def write(path: Path, rows: list[tuple[Architecture, LatencySample]]) -> None:
    write_latencies(path, [MeasuredRow(architecture, Timed(sample, anchor_ms=3.7)) for architecture, sample in rows])


@PROPERTY
@given(SEEDS, st.integers(1, 6))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, seed: int, number: int) -> None:
    path = tmp_path_factory.mktemp("csv") / "latency.csv"
    rows = some_rows(seed, number)
    write(path, rows)
    data = LatencyDataset.load(path)
    assert data.architectures == tuple(architecture for architecture, _ in rows)
    assert data.features.tolist() == [list(features(architecture)) for architecture, _ in rows]
    assert data.encoder_ms.tolist() == [sample.encoder.mean_ms for _, sample in rows]
    assert data.decoder_ms.tolist() == [sample.decoder.mean_ms for _, sample in rows]
    assert data.encoder_std_ms.tolist() == [sample.encoder.std_ms for _, sample in rows]
    assert data.decoder_std_ms.tolist() == [sample.decoder.std_ms for _, sample in rows]


@PROPERTY
@given(SEEDS, st.floats(0, 1), st.booleans())
def test_a_file_cut_anywhere_loses_the_torn_measurement_alone(
    tmp_path_factory: pytest.TempPathFactory, seed: int, place: float, anchored: bool
) -> None:
    path, rng = tmp_path_factory.mktemp("cut") / "measurements.jsonl", random.Random(seed)
    space = random_space(rng)
    made = []
    for number in range(1, 5):
        runs = [(rng.uniform(0, 10), rng.uniform(11, 5000)) for _ in range(rng.randint(1, 5))]
        ratios = [rng.uniform(0.1, 9) for _ in range(rng.randint(1, 5))] if anchored else None
        made.append(Measurement.now(space.sample(rng), number, runs, ratios))
    file = MeasurementFile(path)
    for one in made:
        file.add(one)
    assert MeasurementFile(path).all == file.all == made
    content = path.read_bytes()
    path.write_bytes(content[: round(place * len(content))])

    whole = path.read_bytes().count(b"\n")
    file = MeasurementFile(path)
    assert file.all == made[:whole]
    for one in made[whole:]:
        file.add(one)
    assert path.read_bytes() == content


@PROPERTY
@given(st.integers(10, 300), st.integers(0, 1000), st.floats(0, 1))
def test_split(rows: int, seed: int, share: float) -> None:
    table = np.ones((rows, 10))
    data = LatencyDataset(table, *([np.ones(rows)] * 4), architectures=None)
    whole = data.split(seed)
    order = np.random.default_rng(seed).permutation(rows)
    tenth = rows // 10
    assert whole.test.tolist() == order[rows - tenth :].tolist()
    assert whole.valid.tolist() == order[rows - 2 * tenth : rows - tenth].tolist()
    assert whole.train.tolist() == order[: rows - 2 * tenth].tolist()

    train_rows = max(1, round(share * len(whole.train)))
    part = data.split(seed, train_rows)
    assert part.test.tolist() == whole.test.tolist()
    assert part.train.tolist() == whole.train[:train_rows].tolist()
    assert part.valid.tolist() == whole.valid[: min(tenth, max(1, train_rows // 8))].tolist()
    for wrong in (0, len(whole.train) + 1):
        with pytest.raises(ConfigError, match=f"train_rows: must be from 1 to {len(whole.train)}"):
            data.split(seed, wrong)
