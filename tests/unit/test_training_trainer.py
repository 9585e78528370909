"""The loop in one process: what it logs, keeps, refuses. Resumed = uninterrupted is in tests/e2e."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_task import ARCHITECTURE, make_data, sub_settings, super_settings, write_yaml

from hat.cli.train_sub import main as train_sub
from hat.cli.train_super import main as train_super
from hat.nn import SuperTransformer, Transformer
from hat.training import trainer as loop
from hat.training.checkpoint import average_weights
from hat.training.progress import TrainingProgress
from hat.training.trainer import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("task"))


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(ARCHITECTURE))
    return path


def run_super(data: Path, output: Path, *arguments: str, **changes: Any) -> int:
    settings = super_settings(data, output, **{"max_updates": 8, "accumulate": 1} | changes)
    return train_super([write_yaml(output.parent / "super.yaml", settings), *arguments])


def run_sub(data: Path, output: Path, architecture: Path, *arguments: str, **changes: Any) -> int:
    settings = sub_settings(data, output, architecture, **{"max_updates": 8, "accumulate": 1} | changes)
    return train_sub([write_yaml(output.parent / "sub.yaml", settings), *arguments])


def events(output: Path, kind: str) -> list[dict[str, Any]]:
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_what_a_supertransformer_run_leaves(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "super"
    assert run_super(data, output, log_every=3, validate_every=4, checkpoint_every=2, keep_last=2) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert [event["update"] for event in events(output, "train")] == [3, 6, 8]
    assert {"loss", "nll", "learning_rate", "gradient_norm", "target_tokens_per_s", "epoch"} <= set(
        events(output, "train")[0]
    )
    validated = [(event["update"], event["name"]) for event in events(output, "valid")]
    assert validated == [(u, name) for u in (4, 8) for name in ("smallest", "largest", "random_0", "random_1")]
    assert [event["update"] for event in events(output, "final")] == [8]
    checkpoints = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert checkpoints == ["best.safetensors", "resume.pt", *(f"update_{u:08d}.safetensors" for u in (6, 8))]
    run = json.loads((output / "run.json").read_text())
    assert (run["updates"], run["processes"], run["seed"]) == (8, 1, 1)
    assert SuperTransformer.from_pretrained(output).space.size() > 1
    assert (output / "tokenizer" / "source" / "dict.txt").read_bytes() == (
        data / "tokenizer" / "source" / "dict.txt"
    ).read_bytes()


def test_logged_values_are_means_over_all_updates_since_the_last_line(data: Path, tmp_path: Path) -> None:
    assert run_super(data, tmp_path / "every", log_every=1) == 0
    assert run_super(data, tmp_path / "some", log_every=4) == 0
    single = events(tmp_path / "every", "train")
    assert len(single) == 8
    for index, event in enumerate(events(tmp_path / "some", "train")):
        part = single[4 * index : 4 * index + 4]
        assert min(e["loss"] for e in part) < event["loss"] < max(e["loss"] for e in part)
        # Sentences differ in length, so this is a mean over tokens and not over updates: near, not equal.
        assert event["loss"] == pytest.approx(sum(e["loss"] for e in part) / 4, rel=0.02)
        assert (event["learning_rate"], event["gradient_norm"]) == (
            part[-1]["learning_rate"],
            part[-1]["gradient_norm"],
        )


def test_tokens_per_second_are_those_of_the_time_they_took(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock by which every update takes two seconds; also in a run that was stopped between two lines."""
    clock = [0.0]

    def tick(progress: TrainingProgress) -> None:
        clock[0] += 2.0

    monkeypatch.setattr("hat.training.progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(TrainingProgress, "advance", tick)

    def speeds(name: str) -> list[float]:
        return [event["target_tokens_per_s"] for event in events(tmp_path / name, "train")]

    assert run_super(data, tmp_path / "every", log_every=1) == 0
    single = speeds("every")
    assert run_super(data, tmp_path / "some", log_every=4) == 0
    assert speeds("some") == pytest.approx([sum(single[:4]) / 4, sum(single[4:]) / 4], abs=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_agree_to_stop", lambda trainer, stopped: trainer.update == 6)
        assert run_super(data, tmp_path / "stopped", log_every=4) == 130
    assert run_super(data, tmp_path / "stopped", log_every=4) == 0
    assert speeds("stopped") == pytest.approx([sum(single[:4]) / 4, sum(single[6:]) / 2], abs=0.1)


def test_fewer_updates_than_were_made_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "super"
    assert run_super(data, output, max_updates=4) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    capsys.readouterr()
    assert run_super(data, output, max_updates=3) == 2
    assert f"training.max_updates: must be at least the 4 updates that {output} was trained for" in failure(capsys)
    assert {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()} == before
    assert run_super(data, output, "--restart", max_updates=3) == 0
    assert [event["update"] for event in events(output, "final")] == [3]


@pytest.mark.parametrize("final", ["last", "average", "best"])
def test_final_weights(data: Path, tmp_path: Path, architecture: Path, final: str) -> None:
    output = tmp_path / "sub"
    rough = {"kind": "constant", "peak": 0.3, "warmup_updates": 0}  # so that the last is not the best
    changes = {"final": final, "checkpoint_every": 2, "keep_last": 2, "validate_every": 2, "schedule": rough}
    assert run_sub(data, output, architecture, max_updates=6, **changes) == 0
    checkpoints = output / "checkpoints"
    files = [checkpoints / f"update_{update:08d}.safetensors" for update in (4, 6)]
    expected = {
        "last": load_file(files[-1]),
        "average": average_weights(files),
        "best": load_file(checkpoints / "best.safetensors"),
    }[final]
    found = load_file(output / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in found.items())
    losses = [event["loss"] for event in events(output, "valid")]
    assert len(losses) == 3 and losses[-1] != min(losses)
    if final == "best":
        assert events(output, "final")[0]["loss"] == min(losses)


def test_the_best_so_far_is_remembered(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "super"
    assert run_super(data, output, max_updates=2) == 0
    path = output / "checkpoints" / "resume.pt"
    torch.save(torch.load(path, weights_only=True) | {"best_loss": 0.0}, path)  # nothing will be better
    best = (output / "checkpoints" / "best.safetensors").read_bytes()
    assert run_super(data, output) == 0
    assert (output / "checkpoints" / "best.safetensors").read_bytes() == best


def test_the_gradient_is_clipped(data: Path, tmp_path: Path) -> None:
    # Adam adds 1e-8 to the root of a gradient's mean square: far below that, steps vanish.
    moved = []
    for name, clip_norm in (("free", None), ("clipped", 1e-13)):
        optimizer = {"kind": "adam", "clip_norm": clip_norm}
        changes = {"max_updates": 3, "checkpoint_every": 1, "keep_last": 3, "optimizer": optimizer}
        assert run_super(data, tmp_path / name, **changes) == 0
        first, last = (
            load_file(tmp_path / name / "checkpoints" / f"update_0000000{update}.safetensors") for update in (1, 3)
        )
        moved.append(max(float((weight - last[key]).abs().max()) for key, weight in first.items()))
        assert all(event["gradient_norm"] > 0.1 for event in events(tmp_path / name, "train"))  # before clipping
    assert moved[0] > 1e-3 and moved[1] < 1e-6


def test_a_finished_run_can_be_given_another_ending(data: Path, tmp_path: Path, architecture: Path) -> None:
    output = tmp_path / "sub"
    assert run_sub(data, output, architecture, final="average") == 0
    assert run_sub(data, output, architecture, final="best") == 0
    best = load_file(output / "checkpoints" / "best.safetensors")
    assert all(torch.equal(weight, best[name]) for name, weight in load_file(output / "model.safetensors").items())
    assert len(events(output, "final")) == 1


def test_a_finished_run_is_left_as_it_is(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "super"
    averaged = {"checkpoint_every": 2, "keep_last": 3}
    assert run_super(data, output, **averaged) == 0
    (output / "checkpoints" / "update_00000006.safetensors").unlink()  # to save space
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run_super(data, output, **averaged, log_every=2) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{output}\n" and "all 8 updates are made and the model is there" in captured.err
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    (output / "model.safetensors").unlink()
    assert run_super(data, output, **averaged) == 0
    assert "the model is the average of 2 checkpoints, not of 3" in capsys.readouterr().err
    assert run_super(data, output, **averaged, max_updates=10) == 0
    assert [event["update"] for event in events(output, "final")] == [10]


def test_a_run_that_goes_on_keeps_the_record_of_its_sessions(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "super"
    for updates in (2, 4, 6):
        assert run_super(data, output, max_updates=updates) == 0
        path = output / "run.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"commit": f"of {updates}"}))
    assert [session["commit"] for session in record["earlier_sessions"]] == ["of 2", "of 4"]
    assert record["earlier_sessions"][1]["started"] <= record["started"] and record["updates"] == 6


def test_restart_begins_anew(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "super"
    assert run_super(data, output) == 0
    before = load_file(output / "model.safetensors"), events(output, "train")
    assert run_super(data, output, "--restart", "seed=2") == 0
    assert [event["update"] for event in events(output, "train")] == list(range(1, 9))
    assert events(output, "train")[0]["loss"] != before[1][0]["loss"]
    assert run_super(data, output, "--restart") == 0
    after = load_file(output / "model.safetensors")
    assert all(torch.equal(weight, after[name]) for name, weight in before[0].items())


def test_a_run_killed_before_its_first_checkpoint_logs_every_update_once(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "super"
    assert run_super(data, output) == 0
    complete = [event["loss"] for event in events(output, "train")]
    for later in ("checkpoints/resume.pt", "config.json", "model.safetensors"):
        (output / later).unlink()
    assert run_super(data, output) == 0
    assert [event["loss"] for event in events(output, "train")] == complete


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("training.optimizer.weight_decay=0.5", "training.optimizer.weight_decay 0.01, now it is 0.5"),
        ("training.precision=bfloat16", "training.precision 'float32', now it is 'bfloat16'"),
        ("training.accumulate=2", "training.accumulate times processes 1, now it is 2"),
        ("seed=3", "seed 1, now it is 3"),
        ("model.dropout=0.3", "model.dropout 0.2, now it is 0.3"),
        ("space.decoder.num_layers=[2]", "space.decoder.num_layers [1, 2], now it is [2]"),
    ],
)
def test_a_changed_recipe_is_refused_and_nothing_is_touched(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, key: str
) -> None:
    output = tmp_path / "super"
    assert run_super(data, output, max_updates=2) == 0
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run_super(data, output, change) == 2
    message = failure(capsys)
    assert message.startswith(f"hat-train-super: {output}/checkpoints/resume.pt: this run was started with {key};")
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_another_architecture_or_start_is_another_run(
    data: Path, tmp_path: Path, architecture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "sub"
    assert run_super(data, tmp_path / "super", max_updates=2) == 0
    assert run_sub(data, output, architecture, "--inherit", str(tmp_path / "super"), max_updates=2) == 0
    capsys.readouterr()
    assert run_sub(data, output, architecture, "--from-scratch") == 2
    assert "this run was started with inherit '" in failure(capsys)
    other = json.loads(json.dumps(ARCHITECTURE))
    other["encoder"]["layers"][0]["self_attn_heads"] = 1  # the weights have the same shapes
    architecture.write_text(json.dumps(other))
    assert run_sub(data, output, architecture, "--inherit", str(tmp_path / "super")) == 2
    assert "this run was started with architecture.encoder.layers" in failure(capsys)


def test_other_data_is_another_run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_super(data, tmp_path / "super", max_updates=2) == 0
    capsys.readouterr()
    assert run_super(make_data(tmp_path / "other", words=11), tmp_path / "super") == 2
    assert "this run was started with data." in failure(capsys)


def test_inherited_weights_need_the_same_vocabulary(
    data: Path, tmp_path: Path, architecture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_super(data, tmp_path / "super", max_updates=2) == 0
    dictionary = tmp_path / "super" / "tokenizer" / "target" / "dict.txt"
    lines = dictionary.read_text().splitlines()
    dictionary.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")  # as many symbols, other ids
    capsys.readouterr()
    assert run_sub(data, tmp_path / "sub", architecture, "--inherit", str(tmp_path / "super")) == 2
    message = failure(capsys)
    assert f"{data}: must have the target vocabulary of {tmp_path / 'super'}" in message
    assert not (tmp_path / "sub").exists()


def test_inherited_training_starts_from_the_extracted_weights(data: Path, tmp_path: Path, architecture: Path) -> None:
    assert run_super(data, tmp_path / "super", max_updates=2) == 0
    still = {"kind": "constant", "peak": 1e-30, "warmup_updates": 0}
    decay = {"kind": "adam"}
    arguments = ("--inherit", str(tmp_path / "super"))
    changes = {"schedule": still, "optimizer": decay, "max_updates": 1}
    assert run_sub(data, tmp_path / "sub", architecture, *arguments, **changes) == 0
    net = Transformer.from_pretrained(tmp_path / "sub")
    expected = SuperTransformer.from_pretrained(tmp_path / "super").extract(net.architecture)
    for name, weight in expected.weights().items():
        torch.testing.assert_close(net.weights()[name], weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    log_every: int,
) -> None:
    output = tmp_path / "super"
    rates = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *a: 1e30 if a[1] == 4 else rates(*a))
    changes = {"log_every": log_every, "checkpoint_every": 2, "validate_every": 100}
    assert run_super(data, output, **changes) == 2
    message = failure(capsys)
    assert "the training loss is" in message and "lower training.schedule.peak" in message
    monkeypatch.undo()
    assert run_super(data, output, **changes) == 0
    assert run_super(data, tmp_path / "good", **changes) == 0
    good = load_file(tmp_path / "good" / "model.safetensors")
    assert all(torch.equal(weight, good[name]) for name, weight in load_file(output / "model.safetensors").items())


def test_a_gradient_that_is_no_number_reaches_no_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, norm: torch.tensor(float("nan")))
    assert run_super(data, tmp_path / "super", log_every=100, checkpoint_every=2) == 2
    assert "update 2: the training loss is" in failure(capsys)
    assert not (tmp_path / "super" / "checkpoints").exists()


@pytest.mark.parametrize("missing", ["weights", "optimizer", "batches", "totals", "scaler", "best_loss"])
def test_an_incomplete_state_is_reported(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    output = tmp_path / "super"
    assert run_super(data, output, max_updates=2) == 0
    path = output / "checkpoints" / "resume.pt"
    state = torch.load(path, weights_only=True)
    del state[missing]
    torch.save(state, path)
    capsys.readouterr()
    assert run_super(data, output) == 2
    assert f"{path}: must be the state of this training, is damaged (KeyError('{missing}'))" in failure(capsys)


def test_mistakes_are_found_before_anything_is_made(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], architecture: Path
) -> None:
    for arguments, problem in [
        (["training.max_tokens=5"], "max_tokens must be at least the longest sentence"),
        (["model.share_embeddings=all"], "'all' needs one joint vocabulary"),
        (["training.max_update=3"], "training.max_update: no such setting. Did you mean 'max_updates'?"),
        (["training.device=tpu9"], "device"),
        (["data=nowhere"], "nowhere/meta.json: no such file"),
        (["training.optimizer.betas=[0.9, 1.5]"], "training.optimizer.betas.1: must be less than 1"),
        (["seed=-1"], "seed: must be greater than or equal to 0"),
    ]:
        capsys.readouterr()
        assert run_super(data, tmp_path / "super", *arguments) == 2, arguments
        assert problem in failure(capsys)
    assert run_sub(data, tmp_path / "super", tmp_path / "none.json") == 2
    assert "none.json: no such file" in failure(capsys)
    assert not (tmp_path / "super").exists()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_learns_as_float32_does(data: Path, tmp_path: Path, precision: str) -> None:
    changes = {"max_updates": 30, "accumulate": 1, "final": "last", "log_every": 30}
    losses = []
    for name in ("float32", precision):
        assert run_super(data, tmp_path / name, "model.dropout=0", precision=name, **changes) == 0
        losses.append(events(tmp_path / name, "final")[0]["largest"]["loss"])
    start = math.log(16)  # of a uniform distribution over the vocabulary
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert max(losses) < start


def test_tensorboard_files(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    output = tmp_path / "super"
    assert run_super(data, output, tensorboard=True) == 0
    (path,) = (output / "tensorboard").iterdir()
    content = path.read_bytes()
    assert b"train/loss" in content and b"valid/smallest/loss" in content


def test_inherited_training_has_dropout(data: Path, tmp_path: Path, architecture: Path) -> None:
    assert run_super(data, tmp_path / "super", max_updates=2) == 0
    losses = []
    for dropout in (0.0, 0.5):
        output = tmp_path / f"sub {dropout}"
        arguments = ("--inherit", str(tmp_path / "super"), f"model.dropout={dropout}", "model.attention_dropout=0")
        assert run_sub(data, output, architecture, *arguments, "model.activation_dropout=0", max_updates=1) == 0
        losses.append(events(output, "train")[0]["loss"])
    assert losses[0] != losses[1]


def test_what_a_killed_run_left_half_written_is_removed(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "super"
    assert run_super(data, output, max_updates=2) == 0
    leftover = output / "checkpoints" / ".resume.pt.0a1b2c3d"
    leftover.write_bytes(b"half of a state")
    assert run_super(data, output, max_updates=4) == 0
    assert not leftover.exists()
