"""Latency CSVs and device records: what damaged and foreign files are told."""

import csv
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hat.errors import DataError
from hat.latency.dataset import LatencyDataset
from hat.latency.layout import LATENCY_COLUMNS, OWN_COLUMNS, PUBLIC_COLUMNS
from hat.latency.pace import Pace
from hat.latency.settings import DeviceRecord, LatencySettings
from hat.latency.statistics import LatencySample, Timed
from hat.latency.writer import MeasuredRow, write_latencies
from hat.space import SearchSpace
from hat.space.encoding import FEATURE_NAMES

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs/space/demo.yaml")
HEADER = ",".join(PUBLIC_COLUMNS)
ROW = "640,6,2048,8,512,3,1024,4,4,1.5,10.5,100.25,0.5,2.0"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A file of three rows."""
    path, rng = tmp_path / "latency.csv", random.Random(1)
    timed = Timed(LatencySample.of_runs([(1.0, 5.0), (2.0, 7.0)]), anchor_ms=3.0)
    write_latencies(path, [MeasuredRow(SPACE.sample(rng), timed) for _ in range(3)])
    return path


def public(tmp_path: Path, *lines: str, newline: str = "\n") -> Path:
    path = tmp_path / "public.csv"
    path.write_bytes(newline.join([*lines, ""]).encode())
    return path


def test_the_public_columns_come_first_and_the_architecture_last(ours: Path) -> None:
    header = ours.read_text(encoding="utf-8").split("\n")[0].split(",")
    assert header[:10] == list(FEATURE_NAMES)
    assert header[10:14] == list(LATENCY_COLUMNS)
    assert header[14:] == list(OWN_COLUMNS)
    assert header[-1] == "architecture"
    for line in ours.read_text(encoding="utf-8").splitlines()[1:]:  # what a reader that splits at commas sees
        assert [float(value) for value in line.split(",")[10:14]] == [1.5, 4.5, 0.5, 0.5]


def test_the_public_layout(tmp_path: Path) -> None:
    data = LatencyDataset.load(public(tmp_path, HEADER, ROW, ROW))
    assert len(data) == 2
    assert data.features[1].tolist() == [640, 6, 2048, 8, 512, 3, 1024, 4, 4, 1.5]
    assert data.architectures is None and data.pace is None
    assert data.latency_ms().tolist() == [110.75, 110.75]
    assert data.latency_ms("encoder").tolist() == [10.5, 10.5]
    assert data.latency_ms("decoder").tolist() == [100.25, 100.25]
    assert data.decoder_std_ms.tolist() == [2.0, 2.0]


def test_the_pace_of_the_machine_is_taken_out(tmp_path: Path) -> None:
    """The second row was measured when everything took twice as long, the third when it took half as long."""
    numbers = [ROW.split(",")[10:], ["21.0", "200.5", "1.0", "4.0"], ["5.25", "50.125", "0.25", "1.0"]]
    rows = [",".join([*ROW.split(",")[:10], *values]) for values in numbers]
    lines = [f"{row},{anchor_ms}" for row, anchor_ms in zip(rows, (30, 60, 15), strict=True)]
    data = LatencyDataset.load(public(tmp_path, HEADER + ",anchor_ms", *lines))
    assert data.pace is not None and (data.pace.anchor_ms, data.pace.lag) == (30, 0)
    assert data.encoder_ms.tolist() == [10.5] * 3 and data.decoder_ms.tolist() == [100.25] * 3
    assert data.encoder_std_ms.tolist() == [0.5] * 3 and data.decoder_std_ms.tolist() == [2.0] * 3


def test_small_networks_follow_the_pace_less_as_the_rows_tell(tmp_path: Path) -> None:
    """Of a row, everything is brought to the pace alike, by its own total."""
    path, rng, generator = tmp_path / "latency.csv", random.Random(1), np.random.default_rng(1)
    rows: list[MeasuredRow] = []
    for _ in range(60):
        architecture = SPACE.sample(rng)
        slower = math.exp(generator.normal(0, 0.2))
        true_ms = 2.0 * len(architecture.decoder.layers)  # 2 to 12 ms, the anchor 12
        now = slower ** float(Pace(12.0, lag=0.5).exponent(true_ms / 12.0))
        runs = [(now * 0.3 * true_ms * off, now * true_ms * off) for off in (0.9, 1.0, 1.1)]
        rows.append(MeasuredRow(architecture, Timed(LatencySample.of_runs(runs), anchor_ms=12.0 * slower)))
    write_latencies(path, rows)
    data = LatencyDataset.load(path)
    assert data.pace is not None and data.pace.lag == pytest.approx(0.5, abs=0.05)
    true_ms_ = 2.0 * data.features[:, FEATURE_NAMES.index("decoder_layer_num")] * data.pace.anchor_ms / 12.0
    assert data.latency_ms() / true_ms_ == pytest.approx(np.full(60, (data.latency_ms() / true_ms_).mean()), rel=0.02)
    for values in (data.encoder_ms, data.encoder_std_ms, data.decoder_std_ms, data.latency_ms(statistic="p90")):
        assert values / data.latency_ms() == pytest.approx(np.full(60, (values / data.latency_ms())[0]))


def test_the_error_of_every_row_is_told(tmp_path: Path) -> None:
    sample = LatencySample.of_runs([(1.0, 5.0), (2.0, 9.0)])
    known = MeasuredRow(SPACE.smallest(), Timed(sample, anchor_ms=3.0, relative_error=0.02))
    unknown = MeasuredRow(SPACE.largest(), Timed(sample, anchor_ms=3.0))
    write_latencies(tmp_path / "latency.csv", [known, unknown])
    rows = list(csv.DictReader((tmp_path / "latency.csv").read_text().splitlines()))
    assert [row["standard_error_total"] for row in rows] == ["0.14", ""]
    assert len(LatencyDataset.load(tmp_path / "latency.csv")) == 2


def test_percentiles_follow_the_pace_as_the_means_do(tmp_path: Path) -> None:
    path, runs = tmp_path / "latency.csv", [(1.0, 5.0), (2.0, 9.0), (3.0, 11.0)]
    rows: list[MeasuredRow] = []
    for pace in (1.0, 2.0, 0.5):
        sample = LatencySample.of_runs([(pace * encoder, pace * total) for encoder, total in runs])
        rows.append(MeasuredRow(SPACE.smallest(), Timed(sample, anchor_ms=30 * pace)))
    write_latencies(path, rows)
    data = LatencyDataset.load(path)
    assert data.latency_ms(statistic="p90").tolist() == pytest.approx([11] * 3)
    assert data.latency_ms("encoder", "p90").tolist() == pytest.approx([3] * 3)
    assert data.latency_ms("decoder", "p90").tolist() == pytest.approx([8] * 3)
    assert data.latency_ms(statistic="mean").tolist() == data.latency_ms().tolist()


def test_a_file_without_percentiles_says_so(tmp_path: Path) -> None:
    data = LatencyDataset.load(public(tmp_path, HEADER, ROW))
    assert dict(data.p90_ms) == {}
    with pytest.raises(DataError, match="must have the column latency_p90_total for statistic p90, has not; use mean"):
        data.latency_ms(statistic="p90")
    data = LatencyDataset.load(public(tmp_path, HEADER + ",latency_p90_total", ROW + ",120.5"))
    assert data.latency_ms("total", "p90").tolist() == [120.5]
    with pytest.raises(DataError, match="latency_p90_encoder"):
        data.latency_ms("encoder", "p90")


def test_columns_are_found_by_name_whatever_the_spreadsheet_did(tmp_path: Path) -> None:
    names, values = HEADER.split(","), ROW.split(",")
    shuffled = random.Random(1).sample(range(14), 14)
    lines = [
        "\ufeffnote," + ",".join(f" {names[i]}" for i in shuffled),
        '"a, b",' + ",".join(values[i] for i in shuffled),
    ]
    data = LatencyDataset.load(public(tmp_path, *lines, "", newline="\r\n"))
    assert data.features[0].tolist() == [640, 6, 2048, 8, 512, 3, 1024, 4, 4, 1.5]
    assert (data.encoder_ms[0], data.decoder_std_ms[0]) == (10.5, 2.0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "must be a latency data set .*, is empty"),
        ([HEADER], "must hold at least one row below the column names, is empty"),
        ([HEADER.replace("latency_mean_decoder", "latency"), ROW], "line 1: .*lacks latency_mean_decoder"),
        ([HEADER + ",latency_std_decoder", ROW + ",1"], "line 1: must name every column once"),
        ([HEADER, ROW, ROW[:30]], "line 3: must have 14 values as the first line says, has 10"),
        ([HEADER, ROW + ",1"], "line 2: must have 14 values as the first line says, has 15"),
        ([HEADER, ROW, '"' + ROW], "line 3: not a line of CSV .*damaged or truncated"),
        ([HEADER, ROW.replace("100.25", "nan")], "line 2: latency_mean_decoder must be .* 0, is 'nan'"),
        ([HEADER, ROW.replace("100.25", "inf")], "line 2: latency_mean_decoder must be .* 0, is 'inf'"),
        ([HEADER, ROW.replace("100.25", "-1")], "line 2: latency_mean_decoder must be .* 0, is '-1'"),
        ([HEADER, ROW.replace("100.25", "fast")], "line 2: latency_mean_decoder must be .* 0, is 'fast'"),
        ([HEADER, ROW.replace("640", "0")], "line 2: encoder_embed_dim must be a number above 0, is '0'"),
        ([HEADER, ROW.replace("10.5", "0").replace("100.25", "0")], "line 2: .* must have a sum above 0 and finite"),
        ([HEADER + ",latency_p90_total", ROW + ",-3"], "line 2: latency_p90_total must be a number of at least 0"),
        ([HEADER + ",anchor_ms", ROW + ",0"], "line 2: anchor_ms must be a number above 0, is '0'"),
        ([HEADER + ",anchor_ms", ROW + ",3", "", ROW + ",4", ROW + ",1e-320"], "line 5: anchor_ms must be within 50"),
        ([HEADER + ",anchor_ms", ROW + ",1e308", ROW + ",4", ROW + ",3"], "line 2: anchor_ms must be within 50"),
    ],
)
def test_damaged_files(tmp_path: Path, lines: list[str], message: str) -> None:
    path = public(tmp_path, *lines)
    with pytest.raises(DataError, match=f"^{path}.*{message}"):
        LatencyDataset.load(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv: no such file"):
        LatencyDataset.load(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        LatencyDataset.load(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary.csv: .*not UTF-8"):
        LatencyDataset.load(tmp_path / "binary.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "line 4: not a line of CSV .*truncated"),
        (lambda text: text.replace('""ffn_dim"":', '""ffn_dim"": ,', 1), "line 2: architecture must be JSON"),
        (lambda text: text.replace("hat.architecture/1", "hat.architecture/9", 1), 'line 2: .*"format" must be'),
        (lambda text: text.replace('""self_attn_heads"":2', '""self_attn_heads"":3', 1), "must divide qkv_dim"),
    ],
)
def test_damaged_architectures(ours: Path, change: Callable[[str], str], message: str) -> None:
    text = ours.read_text(encoding="utf-8")
    assert change(text) != text
    ours.write_text(change(text), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        LatencyDataset.load(ours)


def test_features_must_be_those_of_the_architecture(ours: Path) -> None:
    header, first, *rest = ours.read_text(encoding="utf-8").split("\n")
    width, _, others = first.partition(",")
    ours.write_text("\n".join([header, f"{float(width) + 1},{others}", *rest]), encoding="utf-8")
    with pytest.raises(DataError, match=f"line 2: encoder_embed_dim must be {float(width):g} as the architecture says"):
        LatencyDataset.load(ours)


def test_too_few_rows_to_split(ours: Path) -> None:
    with pytest.raises(DataError, match="at least 10 rows to be split 8:1:1, has 3"):
        LatencyDataset.load(ours).split(1)


def test_device_record(tmp_path: Path) -> None:
    settings = LatencySettings(source_length=3, target_length=4, source_vocab_size=9, target_vocab_size=9)
    record = DeviceRecord(machine="a machine (2 cores)", gpu=None, torch="2.6", settings=settings)
    record.write(tmp_path / "device.json")
    assert DeviceRecord.beside(tmp_path / "latency.csv") == record
    assert DeviceRecord.beside(tmp_path / "elsewhere" / "latency.csv") is None
    values = json.loads((tmp_path / "device.json").read_text(encoding="utf-8"))
    values["settings"]["beam"] = 0
    (tmp_path / "device.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(DataError, match=r"device.json: settings.beam: must be greater than 0, is 0"):
        DeviceRecord.beside(tmp_path / "latency.csv")
