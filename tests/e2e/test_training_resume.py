"""Uninterrupted = interrupted and resumed, bit for bit on the CPU: the real commands, really killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import ARCHITECTURE, make_data, sub_settings, super_settings, write_yaml

from hat.cli.train_sub import main as train_sub
from hat.cli.train_super import main as train_super

UPDATES = 60
ATTEMPTS = 3
"""A busy machine may let a run of a second end before it is killed."""

MAINS = {"train_super": train_super, "train_sub": train_sub}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def inherited(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of train_sub: an architecture and a SuperTransformer to inherit from."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "architecture.json").write_text(json.dumps(ARCHITECTURE))
    settings = super_settings(data, folder / "super", max_updates=5)
    assert train_super([write_yaml(folder / "super.yaml", settings)]) == 0
    return [f"architecture={folder / 'architecture.json'}", "--inherit", str(folder / "super")]


def write_config(command: str, data: Path, folder: Path, **changes: Any) -> str:
    changes = {"max_updates": UPDATES} | changes
    if command == "train_super":
        values = super_settings(data, folder / "unset", **changes)
    else:
        values = sub_settings(data, folder / "unset", folder / "unset.json", **changes)
    return write_yaml(folder / f"{command}.yaml", values)


def logged(output: Path) -> list[dict[str, Any]]:
    path = output / "metrics.jsonl"
    if not path.exists():
        return []
    events = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:  # empty, or being written
            continue
    return events


def last_update(output: Path) -> int:
    return max((event.get("update", 0) for event in logged(output)), default=0)


def interrupt(command: str, arguments: list[str], output: Path, number: signal.Signals, update: int) -> int:
    """Run the command in a process of its own, send it a signal once it has logged ``update``; its exit status."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(ATTEMPTS):
        line = [sys.executable, "-m", f"hat.cli.{command}", *arguments, f"output={output}", "--restart"]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        while process.poll() is None and last_update(output) < update:
            time.sleep(0.001)
        process.send_signal(number)
        status = process.wait(timeout=60)
        if last_update(output) < UPDATES:
            return status
    raise AssertionError(f"{ATTEMPTS} runs of {UPDATES} updates ended before they could be stopped at {update}")


def assert_same_run(resumed: Path, uninterrupted: Path) -> None:
    """The same weights, byte for byte, and the same numbers logged for every update, each once."""

    def numbers(output: Path) -> list[dict[str, Any]]:
        return [
            {k: v for k, v in event.items() if k not in ("time", "target_tokens_per_s")} for event in logged(output)
        ]

    assert numbers(resumed) == numbers(uninterrupted)
    updates = [event["update"] for event in logged(resumed) if event["event"] == "train"]
    assert len(updates) == len(set(updates)) > 0
    for name in ["model.safetensors", "checkpoints/best.safetensors"]:
        assert (resumed / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    files = [sorted(path.name for path in (output / "checkpoints").iterdir()) for output in (resumed, uninterrupted)]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("train_super", {}),
        ("train_sub", {"final": "best"}),
        ("train_sub", {"precision": "bfloat16", "log_every": 4}),
    ],
    ids=["super", "sub float32", "sub bfloat16"],
)
def test_killed_and_resumed(
    data: Path, inherited: list[str], tmp_path: Path, command: str, changes: dict[str, Any]
) -> None:
    rng = random.Random(f"{command} {changes}")
    arguments = [write_config(command, data, tmp_path, **changes)] + (inherited if command == "train_sub" else [])
    killed, uninterrupted = tmp_path / "killed", tmp_path / "uninterrupted"
    status = interrupt(command, arguments, killed, signal.SIGKILL, rng.randrange(8, 30))
    assert status == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()
    assert MAINS[command]([*arguments, f"output={killed}"]) == 0
    assert MAINS[command]([*arguments, f"output={uninterrupted}"]) == 0
    assert_same_run(killed, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_saves_the_state(
    data: Path, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    # No checkpoint is due before the signal, no line of the log ends where it comes, and an average of all checkpoints
    # would show one that the signal made.
    changes = {"checkpoint_every": 25, "log_every": 7, "validate_every": 20, "keep_last": 10}
    arguments = [write_config("train_super", data, tmp_path, **changes)]
    stopped, uninterrupted = tmp_path / "stopped", tmp_path / "uninterrupted"
    assert interrupt("train_super", arguments, stopped, number, 7) == 130
    assert not (stopped / "model.safetensors").exists()
    state = torch.load(stopped / "checkpoints" / "resume.pt", weights_only=True)
    assert 7 <= state["update"] < UPDATES
    capsys.readouterr()
    assert train_super([*arguments, f"output={stopped}"]) == 0
    assert f"continuing after update {state['update']} from " in capsys.readouterr().err
    assert train_super([*arguments, f"output={uninterrupted}"]) == 0
    assert_same_run(stopped, uninterrupted)


class Killed(BaseException):
    """The process ends here."""


def test_killed_at_any_write(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"max_updates": 4, "checkpoint_every": 2, "validate_every": 2, "keep_last": 1, "accumulate": 1}
    arguments = [write_config("train_super", data, tmp_path, **changes)]
    uninterrupted = tmp_path / "uninterrupted"
    replace, writes = Path.replace, []
    limit = 10_000

    def replace_or_die(self: Path, target: Path) -> Path:
        writes.append(target.name)
        if len(writes) == limit:
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_or_die)
    assert train_super([*arguments, f"output={uninterrupted}"]) == 0
    names = list(writes)
    assert names.count("resume.pt") == names.count("best.safetensors") == 2 and names[-1] == "run.json"
    for index, name in enumerate(names):
        output = tmp_path / f"{index}_{name}"
        writes.clear()
        limit = index + 1
        with pytest.raises(Killed):
            train_super([*arguments, f"output={output}"])
        limit = 10_000
        assert train_super([*arguments, f"output={output}"]) == 0
        assert_same_run(output, uninterrupted)


def test_a_longer_run_goes_on_from_a_finished_one(data: Path, tmp_path: Path) -> None:
    arguments = [write_config("train_super", data, tmp_path, final="last")]
    longer, at_once = tmp_path / "longer", tmp_path / "at_once"
    assert train_super([*arguments, f"output={longer}", "training.max_updates=12"]) == 0
    assert train_super([*arguments, f"output={longer}", "training.max_updates=24"]) == 0
    assert train_super([*arguments, f"output={at_once}", "training.max_updates=24"]) == 0
    assert (longer / "model.safetensors").read_bytes() == (at_once / "model.safetensors").read_bytes()
    assert [e["update"] for e in logged(longer) if e["event"] == "train"] == list(range(1, 25))
