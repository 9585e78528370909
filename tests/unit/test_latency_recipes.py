"""hat-measure-latency and hat-train-predictor: what they write, go on with, refuse and say."""

import csv
import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from hat.artifacts import alone_in
from hat.cli.measure_latency import main as measure_main
from hat.cli.train_predictor import main as train_main
from hat.config import load_config
from hat.errors import BackendError, ConfigError
from hat.latency import device as device_module
from hat.latency.dataset import LatencyDataset
from hat.latency.hardware import Observation
from hat.latency.predictor import LatencyPredictor
from hat.latency.settings import DeviceRecord, LatencySettings
from hat.latency.statistics import AnchoredSample, LatencySample, Timed
from hat.latency.writer import MeasuredRow, write_latencies
from hat.recipes import measure_latency as recipe
from hat.recipes.latency_rows import MOST_RETAKES
from hat.recipes.measure_latency import draw_architectures
from hat.space import Architecture, SearchSpace
from hat.space.counting import count_parameters
from hat.space.encoding import features

SPACE = {
    "qkv_dim": 8,
    "encoder": {"embed_dim": [8, 12], "num_layers": [1, 2], "ffn_dim": [8, 16], "self_attn_heads": [1, 2]},
    "decoder": {
        "embed_dim": [8, 12], "num_layers": [1, 2], "ffn_dim": [8, 16], "self_attn_heads": [1, 2],
        "cross_attn_heads": [1, 2], "attended_encoder_layers": [1, 2],
    },
}  # fmt: skip
SPACE_LARGEST = SearchSpace.model_validate(SPACE).largest()
SETTINGS = {"source_length": 3, "target_length": 3, "source_vocab_size": 9, "target_vocab_size": 9, "beam": 2}
SETTINGS |= {"device": "cpu", "threads": 1, "warmup_runs": 0, "runs": 2, "anchor_tolerance": None}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "measure.yaml"
    values = {"output": str(tmp_path / "latency"), "space": SPACE, "samples": 6, "seed": 1, "passes": 1}
    values["settings"] = SETTINGS
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def measured(config: Path) -> tuple[Architecture, ...]:
    return LatencyDataset.load(config.parent / "latency" / "latency.csv").architectures or ()


def interrupt_after(number: int, monkeypatch: pytest.MonkeyPatch, sent: int = signal.SIGINT) -> None:
    """Ctrl-C, or another signal, while the architecture after ``number`` others is measured."""
    time, calls = recipe.AnchoredTimer.time, iter(range(number))

    def interrupted(*arguments: Any) -> Any:
        if next(calls, None) is None:
            signal.raise_signal(sent)
        return time(*arguments)

    monkeypatch.setattr(recipe.AnchoredTimer, "time", interrupted)


def test_measuring_from_the_command_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config)]) == 0
    out, err = capsys.readouterr()
    folder = config.parent / "latency"
    assert out == f"{folder / 'latency.csv'}\n"
    assert err.startswith("device: ") and "\ntimed: eager, float32, 3 tokens to 3, beam 2, batch 1; anchor enc " in err
    assert [line[:3] for line in err.splitlines() if line.startswith("1/6 | enc 8x1 dec 8x1 | ")] == ["1/6"]
    assert err.splitlines()[-1].endswith(" 0 s left")
    data = LatencyDataset.load(folder / "latency.csv")
    assert len(data) == 6
    assert (data.encoder_ms > 0).all()
    assert (data.decoder_ms > 0).all()
    record = DeviceRecord.read(folder / "device.json")
    assert record.settings == LatencySettings.model_validate(SETTINGS)
    assert record.anchor == recipe._anchor(load_config(recipe.MeasureLatencyConfig, config))
    assert data.pace is not None and data.pace.anchor_ms > 0
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert (told["rows"], told["measured"], told["failed"], told["retaken"]) == (6, 6, [], 0)
    assert {path.name for path in folder.iterdir()} == {
        "measurements.jsonl", "latency.csv", "device.json", "config.yaml", "run.json", "metrics.jsonl",
    }  # fmt: skip


def test_a_device_that_only_measures_needs_six_packages(config: Path) -> None:
    """As README says; a small device has no others."""
    others = (
        "sacrebleu", "sentencepiece", "subword_nmt", "matplotlib", "tensorboard", "onnx", "onnxruntime", "onnxscript",
        "sacremoses", "pymoo",
    )  # fmt: skip
    code = f"import sys; sys.modules.update(dict.fromkeys({others}))\n"
    code += f"from hat.cli.measure_latency import main; sys.exit(main([{str(config)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(measured(config)) == 6


def test_architectures_are_the_smallest_the_largest_and_different_random_ones() -> None:
    space = SearchSpace.model_validate(SPACE)
    drawn = draw_architectures(space, 50, seed=1)
    assert drawn[:2] == [space.smallest(), space.largest()]
    assert len(set(drawn)) == 50
    assert all(architecture in space for architecture in drawn)
    assert draw_architectures(space, 20, seed=1) == drawn[:20]
    assert draw_architectures(space, 50, seed=2)[2:] != drawn[2:]
    assert draw_architectures(space, 1, seed=1) == [space.smallest()]


def test_a_small_space_is_drawn_whole_and_no_more_is_asked_of_it() -> None:
    choices = {"embed_dim": [8], "num_layers": [1], "ffn_dim": [8, 16, 24], "self_attn_heads": [1, 2]}
    decoder = choices | {"ffn_dim": [8], "cross_attn_heads": [1, 2], "attended_encoder_layers": [1]}
    space = SearchSpace.model_validate({"qkv_dim": 8, "encoder": choices, "decoder": decoder})
    assert len(set(draw_architectures(space, 24, seed=1))) == space.size() == 24
    with pytest.raises(ConfigError, match="samples: must be at most 24, as many as the space holds, is 25"):
        draw_architectures(space, 25, seed=1)
    one_member = draw_architectures(SearchSpace.model_validate(one_choice_each()), 1, seed=1)
    assert len(one_member) == 1


def one_choice_each() -> dict[str, object]:
    stack = {"embed_dim": [8], "num_layers": [1], "ffn_dim": [8], "self_attn_heads": [1]}
    return {
        "qkv_dim": 8,
        "encoder": stack,
        "decoder": stack | {"cross_attn_heads": [1], "attended_encoder_layers": [1]},
    }


def test_members_that_sampling_hardly_gives_end_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SearchSpace.model_validate(SPACE)
    monkeypatch.setattr(SearchSpace, "sample", lambda self, rng: space.smallest())
    with pytest.raises(ConfigError, match="samples: this space gives only 2 different architectures"):
        draw_architectures(space, 3, seed=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_and_continued_is_as_if_it_had_never_stopped(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        interrupt_after(3, patch, number)
        assert measure_main([str(config)]) == 130
    assert capsys.readouterr().err.endswith("hat-measure-latency: interrupted.\n")
    assert signal.getsignal(signal.SIGTERM) is before
    first = (config.parent / "latency" / "latency.csv").read_bytes()
    assert len(measured(config)) == 3
    with (config.parent / "latency" / "measurements.jsonl").open("ab") as file:
        file.write(b'{"architecture":{"fo')  # a line that the power cut tore
    capsys.readouterr()
    assert measure_main([str(config)]) == 0
    assert "3 of 6 measurements are there already" in capsys.readouterr().err
    assert (config.parent / "latency" / "latency.csv").read_bytes().startswith(first)
    space = SearchSpace.model_validate(SPACE)
    assert list(measured(config)) == draw_architectures(space, 6, seed=1)
    assert measure_main([str(config), "samples=8"]) == 0
    assert list(measured(config)) == draw_architectures(space, 8, seed=1)
    assert measure_main([str(config), "samples=4"]) == 0
    assert len(measured(config)) == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("settings.beam=3", "was measured with settings.beam 2, now it is 3"),
        ("settings.runs=5", "was measured with settings.runs 2, now it is 5"),
        ("seed=2", "was measured with seed 1, now it is 2"),
        ("anchor=ANCHOR", "was measured with anchor.encoder."),
        ("space.qkv_dim=16", "was measured with space.qkv_dim 8, now it is 16"),
    ],
)
def test_rows_measured_otherwise_are_not_mixed(
    config: Path, override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    SearchSpace.model_validate(SPACE).largest().to_json(config.parent / "anchor.json")
    override = override.replace("ANCHOR", str(config.parent / "anchor.json"))
    assert measure_main([str(config), "samples=2"]) == 0
    before = (config.parent / "latency" / "latency.csv").read_bytes()
    assert measure_main([str(config), override]) == 2
    assert message in capsys.readouterr().err
    assert (config.parent / "latency" / "latency.csv").read_bytes() == before
    assert measure_main([str(config), override, "samples=3", "--restart"]) == 0
    assert len(measured(config)) == 3


def test_a_complete_data_set_is_left_as_it_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config)]) == 0
    folder = config.parent / "latency"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    for samples in (6, 4):
        assert measure_main([str(config), f"samples={samples}"]) == 0
        assert f"holds all {samples} architectures; nothing is to be measured" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_papers_number_of_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config), "--paper", "--dry-run"]) == 0
    settings = yaml.safe_load(capsys.readouterr().out)["settings"]
    assert (settings["runs"], settings["relative_error"]) == (300, None)


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_anchor_is_of_middle_size(seed: int) -> None:
    space = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs" / "space" / "wmt_latency.yaml")
    rng = random.Random(100)
    sizes = sorted(count_parameters(space.sample(rng)).decoder for _ in range(1000))
    values = {"output": "latency", "space": space, "seed": seed, "settings": SETTINGS}
    anchor, other = (
        recipe._anchor(recipe.MeasureLatencyConfig.model_validate({**values, "seed": one})) for one in (seed, seed + 1)
    )
    assert anchor is not None and sizes[250] < count_parameters(anchor).decoder < sizes[750]
    assert anchor != other


def test_the_file_of_the_anchor_may_move(config: Path) -> None:
    first, second = config.parent / "first.json", config.parent / "second.json"
    SearchSpace.model_validate(SPACE).largest().to_json(first)
    assert measure_main([str(config), "samples=2", f"anchor={first}"]) == 0
    first.rename(second)
    assert measure_main([str(config), "samples=3", f"anchor={second}"]) == 0
    assert len(measured(config)) == 3


def test_rows_measured_without_an_anchor_are_not_mixed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config), "samples=2"]) == 0
    path = config.parent / "latency" / "device.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["anchor"]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert measure_main([str(config)]) == 2
    assert "was measured without an anchor" in capsys.readouterr().err


def test_an_anchor_of_null_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would look like none."""
    assert measure_main([str(config), "anchor=null"]) == 2
    assert "anchor: must be 'auto' or 'none' or must be text" in capsys.readouterr().err
    assert not (config.parent / "latency").exists()


def test_without_an_anchor(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config), "anchor=none", "samples=3"]) == 0
    path = config.parent / "latency" / "latency.csv"
    assert DeviceRecord.read(path.with_name("device.json")).anchor is None
    assert not {"anchor_ms", "retakes"} & set(path.read_text(encoding="utf-8").splitlines()[0].split(","))
    assert LatencyDataset.load(path).pace is None
    assert measure_main([str(config), "samples=5"]) == 2
    assert "was measured without an anchor; set anchor as it was" in capsys.readouterr().err
    assert measure_main([str(config), "anchor=none", "samples=5"]) == 0
    assert len(measured(config)) == 5


@pytest.mark.parametrize(
    ("earlier", "without"),
    [("hat.device/1", ("hardware", "software", "sessions")), ("hat.device/2", ()), ("hat.device/3", ())],
)
def test_a_run_that_an_earlier_version_began_is_not_continued(
    config: Path, capsys: pytest.CaptureFixture[str], earlier: str, without: tuple[str, ...]
) -> None:
    """It timed other code: its rows and new ones do not belong together."""
    assert measure_main([str(config), "samples=3"]) == 0
    path = config.parent / "latency" / "device.json"
    device = json.loads(path.read_text(encoding="utf-8"))
    for name in without:
        del device[name]
    path.write_text(json.dumps(device | {"format": earlier}), encoding="utf-8")
    before = (path.parent / "latency.csv").read_bytes()
    assert measure_main([str(config), "samples=4"]) == 2
    assert "was measured by an earlier version, which decoded otherwise" in capsys.readouterr().err
    assert (path.parent / "latency.csv").read_bytes() == before
    assert measure_main([str(config), "samples=4", "--restart"]) == 0


def test_what_may_change_does_not_stop_a_run(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure_main([str(config), "samples=2"]) == 0
    seen = Observation(time="later", load_average=99.0, temperature_celsius=80.5, frequency_mhz=1.0)
    monkeypatch.setattr("hat.latency.device.observe", lambda gpu: seen)
    assert measure_main([str(config), "samples=3"]) == 0
    first, second = DeviceRecord.read(config.parent / "latency" / "device.json").sessions
    assert first.end is not None and first.end.time >= first.start.time
    assert (second.start, second.end) == (seen, seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frequency_governor": "powersave"}, "hardware.frequency_governor"),
        ({"affinity": (7,)}, "hardware.affinity"),
    ],
)
def test_what_must_not_change_does(
    config: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert measure_main([str(config), "samples=2"]) == 0
    real = device_module.hardware
    monkeypatch.setattr(device_module, "hardware", lambda cpu, gpu: real(cpu, gpu).model_copy(update=change))
    assert measure_main([str(config), "samples=3"]) == 2
    assert f"was measured with {message} " in capsys.readouterr().err


def test_settings_that_cannot_be_leave_nothing_behind(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config), "settings.target_vocab_size=12"]) == 2
    assert "needs one joint vocabulary" in capsys.readouterr().err
    assert not (config.parent / "latency").exists()
    assert measure_main([str(config), "settings.threads=100000"]) == 2
    assert "settings.threads: must be less than or equal to 1024" in capsys.readouterr().err


def test_a_run_that_was_stopped_before_its_first_row_leaves_every_choice(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(0, patch)
        assert measure_main([str(config), "seed=5"]) == 130
    assert measure_main([str(config), "seed=2"]) == 0


def test_two_processes_do_not_write_into_one_folder(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = config.parent / "latency"
    output.mkdir()
    with alone_in(output):
        assert measure_main([str(config)]) == 2
        assert f"{output}: another process is writing there" in capsys.readouterr().err
    assert measure_main([str(config), "samples=2"]) == 0


@pytest.mark.parametrize("flags", [[], ["--restart"]])
def test_a_folder_where_the_file_should_be(
    config: Path, flags: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "latency" / "latency.csv").mkdir(parents=True)
    assert measure_main([str(config), *flags]) == 2
    assert "latency.csv" in capsys.readouterr().err


def test_rows_of_another_machine_are_not_mixed(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure_main([str(config), "samples=2"]) == 0
    monkeypatch.setattr("hat.latency.device.machine_name", lambda: "another machine")
    assert measure_main([str(config)]) == 2
    assert "now it is 'another machine'" in capsys.readouterr().err
    (config.parent / "latency" / "device.json").unlink()
    assert measure_main([str(config)]) == 2
    assert "which say how it was made" in capsys.readouterr().err


def test_the_order_of_measurements_does_not_matter(config: Path) -> None:
    assert measure_main([str(config), "samples=3"]) == 0
    path = config.parent / "latency" / "measurements.jsonl"
    first, _, third, end = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join([third, first, end]), encoding="utf-8")  # one is missing, too
    assert measure_main([str(config), "samples=4"]) == 0
    drawn = draw_architectures(SearchSpace.model_validate(SPACE), 4, seed=1)
    assert list(measured(config)) == [drawn[2], drawn[0], drawn[1], drawn[3]]


def test_rows_of_another_space_are_noticed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config), "samples=3"]) == 0
    path = config.parent / "latency" / "measurements.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"ffn_dim":16', '"ffn_dim":24'), encoding="utf-8")
    assert measure_main([str(config)]) == 2
    assert "holds other architectures than this space gives" in capsys.readouterr().err


class Machine:
    """Stands for a machine whose pace is another in some of its measurements, counted from 0; some fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: dict[int, float], failing: Sequence[int] = ()) -> None:
        self.pace, self.calls, self.ratios = pace, 0, (2.0,) * 3
        drawn = draw_architectures(SearchSpace.model_validate(SPACE), 30, seed=1)
        self.failing = {drawn[number] for number in failing}
        monkeypatch.setattr(recipe.AnchoredTimer, "time", lambda timer, net: self.time(net))

    def time(self, net: Any) -> AnchoredSample:
        if net.architecture in self.failing:
            raise BackendError("eager fails: RuntimeError: out of luck")
        pace = self.pace.get(self.calls, 1.0)
        self.calls += 1
        return AnchoredSample(((1.0 * pace, 8.0 * pace),) * 3, self.ratios)


def rows_of(config: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((config.parent / "latency" / "latency.csv").read_text(encoding="utf-8").splitlines()))


def anchors_ms(config: Path) -> list[float]:
    return [float(row["anchor_ms"]) for row in rows_of(config)]


def final(config: Path) -> dict[str, Any]:
    lines = (config.parent / "latency" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(lines[-1])


TOLERANCE = "settings.anchor_tolerance=0.2"


@pytest.mark.parametrize("start", [0, 7, 14])
def test_a_throttled_stretch_is_measured_anew(config: Path, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it lies, the beginning included, and however often it is interrupted."""
    machine = Machine(monkeypatch, {number: 1.3 for number in range(start, start + 6)})
    drawn = draw_architectures(SearchSpace.model_validate(SPACE), 20, seed=1)
    assert measure_main([str(config), "samples=20", TOLERANCE]) == 0
    assert anchors_ms(config) == [4.0] * 20 and machine.calls == 26
    slow = drawn[start : start + 6]
    assert list(measured(config)) == [*(one for one in drawn if one not in slow), *slow]
    assert (final(config)["retaken"], final(config)["off_pace"]) == (6, 0)
    data = LatencyDataset.load(config.parent / "latency" / "latency.csv")
    assert data.latency_ms().tolist() == pytest.approx([8.0] * 20)


@pytest.mark.parametrize(("spread", "error", "restless"), [(0.02, 0.0066, False), (0.4, 0.1314, True)])
def test_a_restless_machine_is_told_of(
    config: Path, spread: float, error: float, restless: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Eight turns whose ratios lie this far from 2: 1.2533 * 1.4826 * spread / 8^0.5 / 2."""
    Machine(monkeypatch, {}).ratios = (2.0 - spread, 2.0 + spread) * 4
    assert measure_main([str(config), "samples=5", "settings.relative_error=0.01"]) == 0
    told = capsys.readouterr().err
    assert f"half of the latencies are known to {100 * error:.1f} % or better" in told
    assert ("this machine is restless" in told) == restless
    assert final(config)["median_relative_error"] == pytest.approx(error, abs=1e-4)


def test_a_worse_measurement_does_not_replace_a_better_one(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row stays where it is, among those that were measured at its time."""
    Machine(monkeypatch, {3: 1.25, 10: 3.0, 11: 4.0})
    drawn = draw_architectures(SearchSpace.model_validate(SPACE), 10, seed=1)
    assert measure_main([str(config), "samples=10", TOLERANCE]) == 0
    assert anchors_ms(config) == [4.0] * 3 + [5.0] + [4.0] * 6
    assert [int(row["retakes"]) for row in rows_of(config)] == [0] * 3 + [MOST_RETAKES] + [0] * 6
    assert list(measured(config)) == drawn


def test_smaller_changes_and_other_tolerances(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {3: 1.19, 5: 0.81})
    assert measure_main([str(config), "samples=10", TOLERANCE]) == 0
    assert machine.calls == 10
    machine = Machine(monkeypatch, {3: 9.0})
    assert measure_main([str(config), "samples=10", "settings.anchor_tolerance=null", "--restart"]) == 0
    assert machine.calls == 10 and max(anchors_ms(config)) == 36.0


def test_a_row_that_stays_off_is_kept_and_counted(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    always = {2: 2.0, **{number: 2.0 for number in range(10, 40)}}
    machine = Machine(monkeypatch, always)
    assert measure_main([str(config), "samples=10", TOLERANCE]) == 0
    assert machine.calls == 10 + MOST_RETAKES
    assert anchors_ms(config) == [4.0] * 2 + [8.0] + [4.0] * 7
    assert (final(config)["retaken"], final(config)["off_pace"]) == (MOST_RETAKES, 1)
    assert "1 still at another pace than the rest" in capsys.readouterr().err
    assert measure_main([str(config), "samples=10", TOLERANCE]) == 0  # and it is not measured once more
    assert machine.calls == 10 + MOST_RETAKES


def test_a_power_cut_while_rows_are_measured_anew(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 2.0, 4: 2.0, 6: 0.5})
    with monkeypatch.context() as patch:
        interrupt_after(11, patch)
        assert measure_main([str(config), "samples=10", TOLERANCE]) == 130
    assert sorted(anchors_ms(config)) == [2.0] + [4.0] * 8 + [8.0] and len(measured(config)) == 10
    assert measure_main([str(config), "samples=10", TOLERANCE]) == 0
    assert machine.calls == 13 and anchors_ms(config) == [4.0] * 10


def test_passes_go_through_all_architectures(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A throttled stretch in the second of three; and however it is interrupted, in the end all is there."""
    drawn = draw_architectures(SearchSpace.model_validate(SPACE), 6, seed=1)
    machine = Machine(monkeypatch, {8: 1.5, 9: 1.5})
    three = ["passes=3", "settings.runs=9", TOLERANCE]
    in_order = {4: drawn[:4], 10: [*drawn[4:], *drawn[:4]], 18: drawn}  # those last that were measured last
    for done, rows in ((4, 4), (10, 6), (18, 6)):
        with monkeypatch.context() as patch:
            interrupt_after(done - machine.calls, patch)
            assert measure_main([str(config), *three]) == 130
        assert list(measured(config)) == in_order[done]
        assert sum(int(row["runs"]) for row in rows_of(config)) == 3 * done and len(rows_of(config)) == rows
    capsys.readouterr()
    assert measure_main([str(config), *three]) == 0
    told = capsys.readouterr().err
    assert "18 of 18 measurements are there already" in told
    assert "made at another pace than the rest, so made anew: 2 measurements" in told
    assert machine.calls == 20 and anchors_ms(config) == [4.0] * 6
    assert [int(row["runs"]) for row in rows_of(config)] == [9] * 6
    assert set(measured(config)) == set(drawn) and list(measured(config))[-2:] == drawn[2:4]
    assert (final(config)["rows"], final(config)["retaken"], final(config)["off_pace"]) == (6, 2, 0)
    assert measure_main([str(config), "passes=2", *three[1:]]) == 2
    assert "was measured with passes 3, now it is 2" in capsys.readouterr().err
    assert measure_main([str(config), *three, "samples=8"]) == 0
    assert machine.calls == 26 and len(measured(config)) == 8


def test_what_began_to_fail_later_keeps_what_was_measured(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {3: 2.0})
    drawn = draw_architectures(SearchSpace.model_validate(SPACE), 6, seed=1)
    time = machine.time

    def failing(net: Any) -> AnchoredSample:
        if machine.calls >= 8 and net.architecture in (drawn[3], drawn[4]):
            raise BackendError("eager fails: RuntimeError: out of luck")
        return time(net)

    machine.time = failing  # type: ignore[method-assign]
    assert measure_main([str(config), "passes=2", TOLERANCE]) == 0
    assert set(measured(config)) == set(drawn) and machine.calls == 10
    assert final(config)["failed"] == 2 and final(config)["off_pace"] == 1


def test_a_data_set_of_an_earlier_version_is_not_written_over(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_main([str(config), "samples=3"]) == 0
    folder = config.parent / "latency"
    (folder / "measurements.jsonl").unlink()
    before = (folder / "latency.csv").read_bytes()
    assert measure_main([str(config), "samples=3"]) == 2
    assert "holds latency.csv, but not measurements.jsonl, of which it is made" in capsys.readouterr().err
    assert (folder / "latency.csv").read_bytes() == before
    assert measure_main([str(config), "samples=3", "--restart"]) == 0


def test_what_fails_is_named_and_the_others_go_on(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Machine(monkeypatch, {}, failing=[1, 3])
    drawn = draw_architectures(SearchSpace.model_validate(SPACE), 6, seed=1)
    assert measure_main([str(config)]) == 0
    assert list(measured(config)) == [drawn[0], drawn[2], drawn[4], drawn[5]]
    err = capsys.readouterr().err
    assert f"{drawn[1]} cannot be measured: eager fails: RuntimeError: out of luck" in err
    assert "2 of 6 architectures could not be measured" in err
    folder = config.parent / "latency"
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    failed = [Architecture.from_dict(event["architecture"]) for event in events if event.get("event") == "failed"]
    assert failed == [drawn[1], drawn[3]] and events[-1]["failed"] == 2
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))["failed"]
    assert [one["architecture"] for one in told] == [str(drawn[1]), str(drawn[3])]
    Machine(monkeypatch, {})  # the machine is mended
    assert measure_main([str(config)]) == 0
    assert list(measured(config))[4:] == [drawn[1], drawn[3]]
    kinds = [json.loads(line)["event"] for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert kinds == ["failed", "failed", "final", "final"]
    assert measure_main([str(config), "--restart"]) == 0
    assert [json.loads(line)["event"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == ["final"]


def test_nothing_can_be_measured(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Machine(monkeypatch, {}, failing=range(6))
    assert measure_main([str(config)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "hat-measure-latency: settings: none of the 6 architectures can be measured: eager fails: RuntimeError: out of "
        "luck"
    )


def test_given_architectures_are_measured_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = SearchSpace.model_validate(SPACE)
    files = [config.parent / "small.json", config.parent / "large.json"]
    space.smallest().to_json(files[0])
    space.largest().to_json(files[1], found={"limit_ms": 3})
    assert measure_main([str(config), "--architecture", str(files[0])]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["architecture"] == str(files[0])
    assert one["runs"] == 2
    assert set(one["total"]) == {"mean_ms", "std_ms", "median_ms", "p90_ms", "p99_ms", "standard_error_ms"}
    assert 0 < one["encoder"]["mean_ms"] < one["total"]["mean_ms"]
    assert one["device"]["settings"]["beam"] == 2
    assert measure_main([str(config), *(f"--architecture={path}" for path in files)]) == 0
    assert [item["architecture"] for item in json.loads(capsys.readouterr().out)] == [str(path) for path in files]
    assert not (config.parent / "latency").exists()
    assert measure_main([str(config), "--architecture", str(config)]) == 2
    assert "measure.yaml: must be an architecture" in capsys.readouterr().err


def dataset(
    folder: Path, rows: int, with_device: bool = True, shifted: Sequence[int] = (), second: float = 1.0
) -> Path:
    """A made-up data set whose latency follows from depth; some rows take 30 % longer, second runs ``second`` times."""
    folder.mkdir(exist_ok=True)
    space, rng = SearchSpace.model_validate(SPACE), random.Random(1)
    measured: list[MeasuredRow] = []
    for row in range(rows):
        architecture = space.sample(rng)
        slow = 1.3 if row in shifted else 1.0
        encoder_ms = slow * features(architecture)[1] * 2
        run = encoder_ms, encoder_ms + slow * 5 * features(architecture)[5]
        sample = LatencySample.of_runs([run, (second * run[0], second * run[1])])
        measured.append(MeasuredRow(architecture, Timed(sample, anchor_ms=7.5)))
    write_latencies(folder / "latency.csv", measured)
    if with_device:
        settings = LatencySettings.model_validate(SETTINGS)
        record = DeviceRecord(machine="m", gpu=None, torch="2.6", settings=settings, anchor=space.largest())
        record.write(folder / "device.json")
    return folder / "latency.csv"


def train(folder: Path, *overrides: str, flags: Sequence[str] = ()) -> int:
    path = folder / "train.yaml"
    values = {"output": str(folder / "predictor"), "dataset": str(folder / "latency.csv")}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return train_main([str(path), "kind=mlp", "mlp.steps=30", "mlp.hidden_dims=[16]", *overrides, *flags])


def test_training_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(tmp_path, 40)
    assert train(tmp_path) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "predictor"
    assert out == f"{folder}\n"
    assert "mlp, trained on 32 rows | test rows 4 | RMSE" in err
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"test", "train_rows", "valid_rows", "flagged_rows", "kind", "statistic"}
    assert set(metrics["test"]) == {"rows", "rmse_ms", "mape_percent", "r2", "kendall_tau"}
    assert (metrics["test"]["rows"], metrics["train_rows"], metrics["valid_rows"]) == (4, 32, 4)
    assert (folder / "predicted.png").read_bytes().startswith(b"\x89PNG")
    predictor = LatencyPredictor.load(folder)
    assert predictor.target == "total"
    assert predictor.device is not None
    assert predictor.device.settings == LatencySettings.model_validate(SETTINGS)
    space = SearchSpace.model_validate(SPACE)
    assert predictor.device.anchor == space.largest()
    assert predictor.pace is not None and predictor.pace == LatencyDataset.load(tmp_path / "latency.csv").pace
    assert (predictor.pace.anchor_ms, predictor.pace.lag) == (7.5, 0)
    assert predictor(space.largest()) > predictor(space.smallest())

    weights = (folder / "model.safetensors").read_bytes()
    assert train(tmp_path) == 0
    assert (folder / "model.safetensors").read_bytes() == weights
    assert train(tmp_path, "seed=2") == 0
    assert (folder / "model.safetensors").read_bytes() != weights
    (event,) = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()  # of the last training alone
    assert json.loads(event)["event"] == "final"


def test_the_kind_that_predicts_better_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The data set's latencies are sums of what layers cost, and the network has no time to learn."""
    dataset(tmp_path, 40)
    assert train(tmp_path, "kind=auto") == 0
    assert "structured, trained on 32 rows" in capsys.readouterr().err
    predictor = LatencyPredictor.load(tmp_path / "predictor")
    space = SearchSpace.model_validate(SPACE)
    for architecture in (space.smallest(), space.largest()):
        table = features(architecture)
        prediction = predictor.predict(architecture)
        assert prediction.latency_ms == pytest.approx(2 * table[1] + 5 * table[5], rel=1e-3)
        assert prediction.low_ms == pytest.approx(prediction.latency_ms, rel=1e-2)
        assert not prediction.extrapolates
    wider = SearchSpace.model_validate(SPACE | {"qkv_dim": 8, "encoder": SPACE["encoder"] | {"embed_dim": [99]}})
    assert predictor.predict(wider.smallest()).extrapolates
    assert not (tmp_path / "predictor" / "model.safetensors").exists()


def test_a_predictor_is_adapted_with_a_few_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(tmp_path, 40)
    assert train(tmp_path, "kind=structured", f"output={tmp_path / 'there'}") == 0
    for folder in (tmp_path / "there", tmp_path / "here"):
        folder.mkdir(exist_ok=True)
    path = dataset(tmp_path / "here", 5)
    capsys.readouterr()
    here = f"dataset={path}", f"output={tmp_path / 'here' / 'predictor'}", "kind=auto"
    assert train(tmp_path, *here, f"adapt={tmp_path / 'there'}") == 0
    assert "structured, trained on 5 rows | no rows left for a test" in capsys.readouterr().err
    assert json.loads((tmp_path / "here" / "predictor" / "metrics.json").read_text())["test"] is None
    predictor, table = LatencyPredictor.load(tmp_path / "here" / "predictor"), features(SPACE_LARGEST)
    assert predictor(SPACE_LARGEST) == pytest.approx(2 * table[1] + 5 * table[5], rel=1e-3)
    source = LatencyPredictor.load(tmp_path / "there").calibration.relative_error_90
    adapted = predictor.calibration.relative_error_90
    assert source is not None and adapted is not None and adapted >= source  # no narrower, with so few rows
    assert train(tmp_path, *here) == 2
    assert "must have at least 10 rows" in capsys.readouterr().err
    assert train(tmp_path, *here, f"adapt={tmp_path / 'there'}", "target=encoder") == 2
    assert "there: must be a structured predictor of the encoder latency (mean), is not" in capsys.readouterr().err
    assert train(tmp_path, *here, f"adapt={tmp_path / 'nowhere'}") == 2
    assert "nowhere/predictor.json: no such file" in capsys.readouterr().err


def test_every_row_is_in_the_table_of_predictions(tmp_path: Path) -> None:
    dataset(tmp_path, 40)
    assert train(tmp_path, "train_rows=16") == 0
    folder = tmp_path / "predictor"
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "measured_ms", "predicted_ms", "part"]
    data, predictor = LatencyDataset.load(folder.parent / "latency.csv"), LatencyPredictor.load(folder)
    assert [int(row["row"]) for row in rows] == list(range(40))
    assert [float(row["measured_ms"]) for row in rows] == data.latency_ms().tolist()
    assert [float(row["predicted_ms"]) for row in rows] == predictor.predict_features_ms(data.features).tolist()
    split = data.split(1, 16)
    for part, numbers in vars(split).items():
        assert {int(row["row"]) for row in rows if row["part"] == part} == set(numbers.tolist())
    assert sum(row["part"] == "unused" for row in rows) == 40 - 16 - 2 - 4


def test_flagged_rows_are_left_out_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(tmp_path, 100, shifted=range(20, 50))
    assert train(tmp_path, "kind=structured") == 0
    spoilt = json.loads((tmp_path / "predictor" / "metrics.json").read_text(encoding="utf-8"))
    capsys.readouterr()
    assert train(tmp_path, "kind=structured", "drop_flagged=true") == 0
    assert "left out 30 of 100 rows that were measured under other conditions" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "predictor" / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["flagged_rows"], metrics["train_rows"], metrics["test"]["rows"]) == (30, 56, 7)
    assert metrics["test"]["mape_percent"] < 0.1 < 2 < spoilt["test"]["mape_percent"]
    with (tmp_path / "predictor" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        flagged = [int(row["row"]) for row in csv.DictReader(file) if row["part"] == "flagged"]
    assert flagged == list(range(20, 50))
    dataset(tmp_path / "few", 20)
    assert train(tmp_path, "drop_flagged=true", f"dataset={tmp_path / 'few' / 'latency.csv'}") == 2
    assert "must have at least 30 rows to be checked, has 20" in capsys.readouterr().err


def test_the_ninetieth_percentile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every network of this data set was timed twice, the second time taking twice as long."""
    path = dataset(tmp_path, 40, second=2.0)
    for statistic, times in (("mean", 1.5), ("p90", 2.0)):
        assert train(tmp_path, "kind=structured", f"statistic={statistic}") == 0
        predictor, table = LatencyPredictor.load(tmp_path / "predictor"), features(SPACE_LARGEST)
        assert predictor.statistic == statistic
        assert predictor(SPACE_LARGEST) == pytest.approx(times * (2 * table[1] + 5 * table[5]), rel=1e-2)
    assert "structured of the p90, trained on 32 rows" in capsys.readouterr().err
    assert json.loads((tmp_path / "predictor" / "metrics.json").read_text())["statistic"] == "p90"
    adapt = f"adapt={tmp_path / 'predictor'}", "kind=auto", f"output={tmp_path / 'adapted'}"
    assert train(tmp_path, *adapt, "statistic=p90") == 0
    assert train(tmp_path, *adapt) == 2
    assert "predictor: must be a structured predictor of the total latency (mean), is not" in capsys.readouterr().err
    columns = path.read_text(encoding="utf-8").replace("latency_p90_total", "another", 1)
    path.write_text(columns, encoding="utf-8")
    assert train(tmp_path, "statistic=p90") == 2
    assert "must have the column latency_p90_total" in capsys.readouterr().err


def test_target_and_training_rows(tmp_path: Path) -> None:
    dataset(tmp_path, 40, with_device=False)
    assert train(tmp_path, "target=encoder", "train_rows=16", "mlp.steps=1000", "mlp.learning_rate=0.01") == 0
    metrics = json.loads((tmp_path / "predictor" / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["test"]["rows"], metrics["train_rows"], metrics["valid_rows"]) == (4, 16, 2)
    predictor = LatencyPredictor.load(tmp_path / "predictor")
    assert (predictor.target, predictor.device) == ("encoder", None)
    assert predictor(SearchSpace.model_validate(SPACE).largest()) == pytest.approx(
        4.0, rel=0.2
    )  # two layers, 2 ms each


def test_without_matplotlib_there_is_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset(tmp_path, 20)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert train(tmp_path) == 0
    assert "no picture: matplotlib is not installed" in capsys.readouterr().err
    assert not (tmp_path / "predictor" / "predicted.png").exists()
    assert (tmp_path / "predictor" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kind=forest"], "kind: must be one of: auto, structured, mlp; is 'forest'"),
        (["train_rows=4"], "train_rows: must be from 5 to 16"),
        (["adapt=somewhere", "kind=mlp"], "kind must be left out with adapt"),
        (
            ["adapt=somewhere", "kind=auto", "train_rows=2"],
            "train_rows: must be from 3 to 16",
        ),
        (["train_rows=17"], "train_rows: must be from 5 to 16, the rows left of 20 after validation and test, is 17"),
        (["target=speed"], "target: must be 'total', 'encoder' or 'decoder', is 'speed'"),
        (["mlp.stepz=3"], "mlp.stepz: no such setting. Did you mean 'steps'?"),
        (["dataset=nowhere.csv"], "nowhere.csv: no such file; a latency data set (CSV) is expected here"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset(tmp_path, 20)
    assert train(tmp_path, *overrides) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "predictor").exists()


def test_latencies_of_zero_are_not_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset(tmp_path, 20)
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    place = lines[0].index("latency_mean_encoder")
    for line in lines[1:]:
        line[place] = "0"
    path.write_text("\n".join(map(",".join, lines)) + "\n", encoding="utf-8")
    assert train(tmp_path, "kind=structured") == 0
    capsys.readouterr()
    assert train(tmp_path, "target=encoder") == 2
    assert "the encoder latency (mean) must be above 0 in every row to be predicted, is 0" in capsys.readouterr().err
