"""hat-search on a real SuperTransformer, with latencies that a test can foresee."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_task import SPACE, make_data, super_settings, write_yaml

from hat import Architecture, SearchSpace, SuperTransformer, Transformer
from hat.artifacts import machine_name
from hat.cli.search import main
from hat.cli.train_super import main as train_super
from hat.latency import stopwatch as stopwatch_module
from hat.latency.device import describe
from hat.latency.pace import Pace
from hat.latency.predictor import LatencyPredictor, Prediction
from hat.latency.settings import DeviceRecord, LatencySettings
from hat.latency.statistics import AnchoredSample
from hat.recipes.evaluate import EvaluateConfig, evaluate
from hat.recipes.search_losses import TOGETHER, Evaluator

SPACE_ = SearchSpace.model_validate(SPACE)
SETTINGS = LatencySettings(source_length=5, target_length=5, source_vocab_size=999, target_vocab_size=999, device="cpu")
EVOLUTION = {"generations": 3, "population": 12, "parents": 4, "mutations": 5, "crossovers": 3}


def predicted_ms(architecture: Architecture) -> float:
    """Depth and width, so that the limit decides something."""
    encoder, decoder = architecture.encoder, architecture.decoder
    ffn = sum(layer.ffn_dim for layer in (*encoder.layers, *decoder.layers))
    return 5.0 * len(decoder.layers) + 3.0 * len(encoder.layers) + 0.1 * ffn + 0.1 * decoder.embed_dim


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    data = make_data(folder / "task")
    settings = super_settings(data, folder / "super", max_updates=20, final="last", log_every=20)
    assert train_super([write_yaml(folder / "super.yaml", settings)]) == 0
    return folder


class Machine:
    """Stands for predictor and measurement: what it measures is ``factor`` times what is predicted."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.target, self.statistic = "total", "mean"
        self.device: DeviceRecord | None = describe(SETTINGS)
        self.pace: Pace | None = None
        self.calibration = SimpleNamespace(relative_error_90=0.1)
        self.paces: Iterator[float] = itertools.repeat(1.0)
        """How many times as long as usual everything takes, measurement by measurement."""
        self.spread = 1.0
        """How many times as long as the anchor tells every third look takes."""
        self.measured: list[Architecture] = []
        self.disturbed: dict[int, float] = {}
        """Which measurements, counted from 0, take how many times as long as they should."""

    def knows(self, **changes: Any) -> None:
        """Change what the predictor says of how its data were measured."""
        assert self.device is not None
        self.device = self.device.model_copy(update=changes)

    def beside(self, anchor: Architecture, pace: Pace) -> None:
        self.knows(anchor=anchor)
        self.pace = pace

    def predict_ms(self, architecture: Architecture) -> float:
        return predicted_ms(architecture)

    def predict(self, architecture: Architecture) -> Prediction:
        latency_ms = predicted_ms(architecture)
        return Prediction(latency_ms, 0.9 * latency_ms, None, extrapolates=False)

    def measure(self, net: Transformer, settings: LatencySettings) -> Any:
        """As `hat.latency.measure.measure`: the network that ships, whatever vocabulary the settings were made for."""
        assert self.device is not None
        usual = self.device.settings
        same = {"runs": usual.runs, "least_runs": usual.least_runs}  # of which a look takes a part
        assert settings.model_copy(update=same) == usual
        assert net.source_vocab_size != settings.source_vocab_size
        architecture = net.architecture
        self.slowdown = next(self.paces)
        factor = self.slowdown * self.factor * self.disturbed.get(len(self.measured), 1.0)
        self.measured.append(architecture)
        return SimpleNamespace(total=SimpleNamespace(mean_ms=factor * predicted_ms(architecture), std_ms=0.0))

    def timer(self, anchor: Architecture, settings: LatencySettings) -> Any:
        """As `hat.latency.measure.AnchoredTimer`."""

        def time(net: Transformer, most_runs: int, least_runs: int) -> AnchoredSample:
            sample = self.measure(net, settings)
            ratio = sample.total.mean_ms / (self.slowdown * predicted_ms(anchor))
            return AnchoredSample(
                ((0.0, sample.total.mean_ms),), (ratio * (self.spread if len(self.measured) % 3 == 0 else 1.0),) * 3
            )

        return SimpleNamespace(time=time)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(LatencyPredictor, "load", lambda folder: machine)
    monkeypatch.setattr(stopwatch_module, "measure", machine.measure)
    monkeypatch.setattr(stopwatch_module, "AnchoredTimer", machine.timer)
    return machine


def run(runs: Path, output: Path, *arguments: str) -> int:
    settings = {
        "output": str(output),
        "supertransformer": str(runs / "super"),
        "predictor": "unused",
        "data": str(runs / "task" / "bin"),
        "evolution": EVOLUTION,
        "device": "cpu",
        "threads": 1,
    }
    return main([write_yaml(output.parent / "search.yaml", settings), *arguments])


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def loss_of(runs: Path, architecture: Architecture) -> float:
    """The validation loss of the standalone model."""
    path = runs / "wanted.json"
    architecture.to_json(path)
    data = runs / "task" / "bin"
    config = EvaluateConfig(model=runs / "super", architecture=path, data=data, split="valid", device="cpu")
    return evaluate(config)["loss"]


def test_what_a_search_leaves(runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "search"
    limit = 18.0
    capsys.readouterr()
    assert run(runs, output, "--latency", "0.018s") == 0
    path = output / "architecture.json"
    assert capsys.readouterr().out == f"{path}\n"
    architecture, found = Architecture.from_json(path), json.loads(path.read_text())["found"]
    assert architecture in SPACE_ and predicted_ms(architecture) <= limit
    assert found["limit_ms"] == limit and found["device"] == machine_name()
    assert found["predicted_ms"] == found["measured_ms"] == pytest.approx(predicted_ms(architecture), abs=1e-3)
    assert machine.measured == [architecture] * 8  # without an anchor every look is one value, and fewer are not sure
    assert found["slowdown"] is None  # no anchor tells
    assert found["predicted_interval_ms"] == [pytest.approx(0.9 * found["predicted_ms"], abs=1e-3), None]
    assert found["extrapolates"] is False
    assert found["validation_loss"] == pytest.approx(loss_of(runs, architecture), rel=1e-5)

    history = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    assert [line["generation"] for line in history] == [0, 1, 2, 3]
    losses = [line["best_loss"] for line in history]
    assert losses == sorted(losses, reverse=True) and losses[-1] == found["validation_loss"]
    assert sum(line["newly_scored"] for line in history) == found["scored"]
    assert Architecture.from_dict(history[-1]["best"]) == architecture

    front = json.loads((output / "pareto.json").read_text())
    assert [item["predicted_ms"] for item in front] == sorted(item["predicted_ms"] for item in front)
    assert front[-1]["validation_loss"] == found["validation_loss"]
    assert json.loads((output / "run.json").read_text())["scored"] == found["scored"]
    reading, event = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert reading["event"] == "measured" and reading["latency_ms"] == pytest.approx(found["measured_ms"], abs=1e-3)
    assert event["event"] == "final" and event["validation_loss"] == found["validation_loss"]


def test_a_seed_decides_the_result(runs: Path, tmp_path: Path, machine: Machine) -> None:
    for name in ("first", "second"):
        assert run(runs, tmp_path / name, "--latency", "20ms") == 0
    for file in ("architecture.json", "history.jsonl", "pareto.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_what_is_slower_than_predicted_is_not_returned(runs: Path, tmp_path: Path, machine: Machine) -> None:
    machine.factor = 1.2
    assert run(runs, tmp_path / "search", "--latency", "20") == 0
    path = tmp_path / "search" / "architecture.json"
    found = json.loads(path.read_text())["found"]
    assert found["measured_ms"] <= 20 and found["measured_ms"] == pytest.approx(1.2 * found["predicted_ms"], abs=1e-2)
    # The first candidate, measured twice, tells the ratio, so the second one is fast enough.
    assert len(set(machine.measured)) <= 2 and machine.measured[-1] == Architecture.from_json(path)


@pytest.mark.parametrize("factor", [10.0, 0.5])
def test_one_disturbed_measurement_changes_nothing(runs: Path, tmp_path: Path, machine: Machine, factor: float) -> None:
    """Whether it makes the best candidate look too slow, or one that is too slow look fast."""
    machine.factor = 1.0 if factor > 1 else 1.2
    assert run(runs, tmp_path / "calm", "--latency", "20") == 0
    expected = Architecture.from_json(tmp_path / "calm" / "architecture.json")
    machine.measured.clear()
    machine.disturbed = {0: factor}
    assert run(runs, tmp_path / "disturbed", "--latency", "20") == 0
    assert Architecture.from_json(tmp_path / "disturbed" / "architecture.json") == expected
    assert machine.measured[:3] == [machine.measured[0]] * 3  # as long as it takes to be sure


def test_a_latency_that_may_be_over_the_limit_is_not_taken_for_one_below(
    runs: Path, tmp_path: Path, machine: Machine
) -> None:
    machine.beside(SPACE_.largest(), Pace(predicted_ms(SPACE_.largest())))
    machine.spread = 1.5
    assert run(runs, tmp_path / "search", "--latency", "20") == 0
    path = tmp_path / "search" / "architecture.json"
    found = json.loads(path.read_text())["found"]
    assert found["measured_upper_ms"] == pytest.approx(1.5 * found["measured_ms"], abs=1e-2)
    assert found["measured_upper_ms"] <= 20
    assert predicted_ms(machine.measured[0]) <= 20 < 1.5 * predicted_ms(machine.measured[0])


@pytest.mark.parametrize(
    ("paces", "slowdown"),
    [((1.0,), 1.0), ((0.6,), 0.6), ((1.05,), 1.05), ((1.15,), 1.15), ((1.0, 1.7, 2.9, 0.6), 1.35)],
)
def test_a_machine_that_changes_its_pace_finds_the_same(
    runs: Path,
    tmp_path: Path,
    machine: Machine,
    paces: Sequence[float],
    slowdown: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine.factor = 1.1
    assert run(runs, tmp_path / "alone", "--latency", "20") == 0
    expected = json.loads((tmp_path / "alone" / "architecture.json").read_text())
    measured, machine.measured = machine.measured, []
    machine.beside(SPACE_.largest(), Pace(predicted_ms(SPACE_.largest())))
    machine.paces = itertools.cycle(paces)
    capsys.readouterr()
    assert run(runs, tmp_path / "beside", "--latency", "20") == 0
    result = json.loads((tmp_path / "beside" / "architecture.json").read_text())
    assert list(dict.fromkeys(machine.measured)) == list(dict.fromkeys(measured))
    if len(machine.measured) % len(paces) == 0:  # so that the median is known
        assert result["found"].pop("slowdown") == pytest.approx(slowdown)
    now_ms = result["found"].pop("measured_now_ms")
    for name in ("slowdown", "measured_now_ms"):
        expected["found"].pop(name)
        result["found"].pop(name, None)
    assert result == expected
    err = capsys.readouterr().err
    told = abs(slowdown - 1) > 0.1 or now_ms > 20
    assert ("times as long as when the predictor's data were measured" in err) == told
    assert ("does not keep the limit" in err) == (now_ms > 20)


def test_at_another_pace_there_is_room_for_how_networks_follow(runs: Path, tmp_path: Path, machine: Machine) -> None:
    """What is found keeps the limit with room for that, so another network is found than at the data set's pace."""
    anchor_ms = predicted_ms(SPACE_.largest())
    machine.beside(SPACE_.largest(), Pace(anchor_ms, scatter=0.2))
    found = {}
    for slower in (1.0, 1.2):
        machine.paces = itertools.repeat(slower)
        assert run(runs, tmp_path / f"{slower}", "--latency", "17.5") == 0
        found[slower] = json.loads((tmp_path / f"{slower}" / "architecture.json").read_text())["found"]
        assert found[slower]["slowdown"] == slower and found[slower]["measured_upper_ms"] <= 17.5
    assert found[1.0]["measured_upper_ms"] == found[1.0]["measured_ms"]
    margin = 1.2 ** (2.353 * 0.2)
    assert found[1.2]["measured_upper_ms"] == pytest.approx(margin * found[1.2]["measured_ms"], abs=0.01)
    assert found[1.2]["measured_ms"] < found[1.0]["measured_ms"]


def test_a_machine_that_is_far_too_slow(
    runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.factor = 5.0
    assert run(runs, tmp_path / "search", "--latency", "20ms") == 2
    assert (
        "none of the best candidates (1 measured, 0 failed) surely runs within 20 ms here: they took 5.00 times their "
        "prediction, surely at most 5.00 times, the fastest " in (told := failure(capsys))
    )
    assert "), and others hardly take less. Is the machine busy?" in told
    assert not (tmp_path / "search" / "architecture.json").exists()


def test_another_machine_is_searched_for_without_measuring(
    runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.knows(machine="a Raspberry Pi (4 cores)")
    machine.beside(SPACE_.largest(), Pace(5 * predicted_ms(SPACE_.largest())))
    found = {}
    for name, flags in {"asked for": ["measure=false"], "all the same": []}.items():
        assert run(runs, tmp_path / name, "--latency", "20ms", *flags) == 0
        told = "the predictor knows another machine (a Raspberry Pi (4 cores)) than this one" in capsys.readouterr().err
        assert told == (not flags) and machine.measured == []
        found[name] = json.loads((tmp_path / name / "architecture.json").read_text())["found"]
    assert found["asked for"] == found["all the same"]
    assert found["asked for"]["latency_is"] == "predicted only"
    assert found["asked for"]["device"] == "a Raspberry Pi (4 cores)"


@pytest.mark.parametrize(
    ("changes", "pace", "told"),
    [
        ({"torch": "2.6.0"}, 1.3, f"was measured with torch '2.6.0', here it is '{torch.__version__}'"),
        ({"format": "hat.device/3"}, 0.7, "its latencies were measured by an earlier version, which decoded otherwise"),
    ],
)
def test_with_other_software_the_limit_is_one_by_the_clock(
    runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any], pace: float, told: str,
) -> None:  # fmt: skip
    """What is slower or faster for good must not pass for a machine that is so at the moment."""
    machine.knows(**changes)
    machine.beside(SPACE_.largest(), Pace(predicted_ms(SPACE_.largest())))
    machine.paces = itertools.repeat(pace)
    assert run(runs, tmp_path / "search", "--latency", "20ms") == 0
    assert f"unused: {told}: what is found must keep the limit by the clock" in capsys.readouterr().err
    found = json.loads((tmp_path / "search" / "architecture.json").read_text())["found"]
    assert found["slowdown"] is None and found["measured_now_ms"] == found["measured_ms"] <= 20


def test_vocabularies_that_were_not_measured_are_told(
    runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(runs, tmp_path / "search", "--latency", "20ms") == 0
    assert "unused: was measured with 999 and 999 source and target tokens" in capsys.readouterr().err
    sizes = {"source_vocab_size": 16, "target_vocab_size": 16, "share_embeddings": "none"}
    machine.knows(settings=SETTINGS.model_copy(update=sizes))
    assert run(runs, tmp_path / "again", "--latency", "20ms", "measure=false") == 0
    assert "source and target tokens" not in capsys.readouterr().err


def test_mistakes_are_found_before_the_search(
    runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: str) -> str:
        capsys.readouterr()
        assert run(runs, tmp_path / "search", *arguments) == 2
        assert not (tmp_path / "search").exists()
        return failure(capsys)

    assert "latency_limit_ms: is required and has no value" in refused()
    assert "split" in refused("--latency", "20ms", "split=vaild") and "Did you mean 'valid'?" in refused(
        "--latency", "20ms", "split=vaild"
    )
    assert "population must be parents + mutations + crossovers" in refused("--latency=20", "evolution.population=7")
    other = make_data(tmp_path / "other", words=11)
    assert "must have the source vocabulary" in refused("--latency", "20ms", f"data={other}")
    machine.knows(settings=SETTINGS.model_copy(update={"device": "cuda:7"}))
    message = refused("--latency", "20ms")
    assert "unused: its latencies cannot be measured here (settings.device: 'cuda:7' is not here" in message
    machine.device = None
    assert "set measure: false for a predicted latency only" in refused("--latency", "20ms")
    machine.target = "decoder"
    assert "must predict the total latency, predicts the decoder's" in refused("--latency", "20ms")
    monkeypatch.undo()
    assert "unused/predictor.json: no such file" in refused("--latency", "20ms")


def test_results_of_an_earlier_search(runs: Path, tmp_path: Path, machine: Machine) -> None:
    """They are replaced as a whole by a search that succeeds, and left alone by one that does not."""
    output = tmp_path / "search"
    names = ("architecture.json", "history.jsonl", "pareto.json")
    assert run(runs, output, "--latency", "20ms") == 0
    before = [(output / name).read_bytes() for name in names]
    assert run(runs, output, "--latency", "1ms") == 2
    assert [(output / name).read_bytes() for name in names] == before
    machine.factor = 5.0
    assert run(runs, output, "--latency", "15ms") == 2
    assert [(output / name).read_bytes() for name in names] == before
    assert len((output / "history.partial.jsonl").read_text().splitlines()) == 4
    machine.factor = 1.0
    assert run(runs, output, "--latency", "15ms") == 0
    assert all((output / name).read_bytes() != old for name, old in zip(names, before, strict=True))
    assert not (output / "history.partial.jsonl").exists()


def test_an_impossible_limit(runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    fastest = predicted_ms(SPACE_.smallest())
    assert run(runs, tmp_path / "search", "--latency", "1ms") == 2
    message = failure(capsys)
    assert "no SubTransformer of this space is predicted to run within 1 ms: the fastest" in message
    assert f"needs {fastest:.4g} ms (enc 8x1 dec 8x1)" in message


def test_a_supertransformer_whose_weights_are_no_numbers(
    runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    model = SuperTransformer.from_pretrained(runs / "super")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    model.save_pretrained(tmp_path / "super")
    assert run(runs, tmp_path / "search", "--latency", "20ms", f"supertransformer={tmp_path / 'super'}") == 2
    assert "the score of every SubTransformer must be a number, is nan" in failure(capsys)


def test_scores_are_kept_and_shared(
    runs: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that is interrupted goes on as if it had not been; one under another limit scores only what is new."""
    whole, scored, calls = tmp_path / "whole", [], []
    assert run(runs, whole, "--latency", "20") == 0
    losses = Evaluator.losses

    def counted(evaluator: Evaluator, architectures: Sequence[Architecture], part: int) -> Any:
        calls.append(1)
        scored.extend(architectures)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return losses(evaluator, architectures, part)

    stopped = tmp_path / "stopped"
    monkeypatch.setattr(Evaluator, "losses", counted)
    assert run(runs, stopped, "--latency", "20") == 130
    with (stopped / "scores.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"basis": "')  # what a power cut leaves
    assert run(runs, stopped, "--latency", "20") == 0
    for name in ("architecture.json", "history.jsonl", "pareto.json"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    lines = (stopped / "scores.jsonl").read_text().splitlines()
    assert '{"basis": "' in lines  # what is no score is let be
    assert [line for line in lines if line != '{"basis": "'] == (whole / "scores.jsonl").read_text().splitlines()
    total = json.loads((whole / "run.json").read_text())["scored"]
    assert total < len(scored) <= total + TOGETHER  # what was computed together is repeated
    shared = f"scores={stopped / 'scores.jsonl'}"
    scored.clear()
    assert run(runs, tmp_path / "again", "--latency", "20", shared) == 0
    assert scored == []
    assert run(runs, tmp_path / "wider", "--latency", "24", shared) == 0
    assert 0 < len(scored) < json.loads((tmp_path / "wider" / "run.json").read_text())["scored"]


def test_scores_that_would_change_are_not_taken(
    runs: Path, tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "search" / "scores.jsonl"
    assert run(runs, tmp_path / "search", "--latency", "20") == 0
    before = path.read_text().splitlines()
    assert run(runs, tmp_path / "search", "--latency", "20", "label_smoothing=0.2") == 0
    after = path.read_text().splitlines()
    assert after[: len(before)] == before and len(after) > len(before)  # what was known is not lost
    assert run(runs, tmp_path / "search", "--latency", "20") == 0
    assert path.read_text().splitlines() == after
    capsys.readouterr()
    for line in ('{"score": "good"}', "the diary of a user", '{"basis": ' + "[" * 100_000, "\0\0", '{"ba'):
        path.write_text("\n".join([*after, line]), encoding="utf-8")
        assert run(runs, tmp_path / "search", "--latency", "20") == 0
        assert f"{path}: 1 of {len(after) + 1} lines are no scores" in capsys.readouterr().err
        assert path.read_text() == "\n".join([*after, line, ""])
        path.write_text(f"{line}\n", encoding="utf-8")
        assert run(runs, tmp_path / "search", "--latency", "20") == 2
        assert "must be scores of a search, is something else" in failure(capsys)
        assert path.read_text() == f"{line}\n"
