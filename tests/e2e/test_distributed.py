"""Two processes that share the batches of an update = one that takes them all, as torchrun starts them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_task import ARCHITECTURE, make_data, sub_settings, super_settings, write_yaml

from hat.artifacts import alone_in
from hat.cli.train_sub import main as train_sub
from hat.cli.train_super import main as train_super

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no distributed part")

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CHANGES: dict[str, Any] = {"max_updates": 12, "validate_every": 6, "checkpoint_every": 4, "final": "average"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("task"))


def torchrun(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in two processes on this machine."""
    line = [*LAUNCHER, "-m", f"hat.cli.{command}", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def events(output: Path, kind: str) -> list[dict[str, Any]]:
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def assert_same_training(two: Path, one: Path) -> None:
    found, expected = load_file(two / "model.safetensors"), load_file(one / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-5)
    for kind, keys in (("train", ["loss", "nll", "gradient_norm"]), ("valid", ["loss", "nll"])):
        pairs = list(zip(events(two, kind), events(one, kind), strict=True))
        assert pairs
        for ours, theirs in pairs:
            assert (ours["update"], ours.get("note"), ours.get("name")) == (
                theirs["update"],
                theirs.get("note"),
                theirs.get("name"),
            )
            assert [ours[key] for key in keys] == pytest.approx([theirs[key] for key in keys], rel=1e-5)


def test_supertransformer(data: Path, tmp_path: Path) -> None:
    # Dropout is on: its numbers follow the place of a batch in the whole stream.
    config = write_yaml(tmp_path / "super.yaml", super_settings(data, tmp_path / "unset", **CHANGES))
    one, two = tmp_path / "one", tmp_path / "two"
    result = torchrun("train_super", config, f"output={two}", "training.accumulate=1")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{two}\n"
    assert train_super([config, f"output={one}", "training.accumulate=2"]) == 0
    assert_same_training(two, one)
    assert json.loads((two / "run.json").read_text())["processes"] == 2


def test_standalone_model_interrupted_and_resumed_by_one_process(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "architecture.json").write_text(json.dumps(ARCHITECTURE))
    settings = sub_settings(data, tmp_path / "unset", tmp_path / "architecture.json", **CHANGES | {"final": "last"})
    config = write_yaml(tmp_path / "sub.yaml", settings)
    one, two = tmp_path / "one", tmp_path / "two"
    result = torchrun("train_sub", config, f"output={two}", "training.accumulate=1", "training.max_updates=6")
    assert result.returncode == 0, result.stderr
    assert train_sub([config, f"output={two}", "training.accumulate=1"]) == 2
    assert "training.accumulate times processes 2, now it is 1" in capsys.readouterr().err
    # The second half by one process that takes both batches.
    assert train_sub([config, f"output={two}", "training.accumulate=2", "training.max_updates=12"]) == 0
    assert train_sub([config, f"output={one}", "training.accumulate=2"]) == 0
    assert_same_training(two, one)


SUM_GRADIENTS = """
import sys, torch
from hat.training.world import join_world

with join_world("cpu") as world:
    assert world.size == 2
    for update, names in enumerate([["a", "b", "c"], ["b"], ["c", "a"]]):
        sizes = {"a": (2, 3), "b": (5,), "c": ()}
        gradients = [torch.full(sizes[name], float(10 * update + world.rank)) for name in names]
        total = world.sum_gradients(gradients, torch.tensor([1.0 + world.rank, 100.0]))
        assert total.tolist() == [3.0, 200.0], total
        for name, gradient in zip(names, gradients):
            assert torch.equal(gradient, torch.full(sizes[name], 20.0 * update + 1)), (update, name, gradient)
    assert world.sum(torch.tensor([float(world.rank)])).item() == 1
    assert world.any(world.rank == 1) and not world.any(False)
    assert world.share({"from": world.rank}) == {"from": 0}
    assert world.gather({"from": world.rank}) == ([{"from": 0}, {"from": 1}] if world.is_main else [])
    values = [torch.full((3,), float(world.rank)), torch.full((2,), 5.0 * world.rank)]
    world.broadcast(values)
    assert all(bool((value == 0).all()) for value in values)
    world.barrier()
print("fine")
"""


def test_world_of_two() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SUM_GRADIENTS],
            env=ENVIRONMENT | where | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, "fine\n"), err


def test_a_mistake_ends_all_processes_with_one_line_each(data: Path, tmp_path: Path) -> None:
    config = write_yaml(tmp_path / "super.yaml", super_settings(data, tmp_path / "super", **CHANGES))
    result = torchrun("train_super", config, "training.max_tokens=5")
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("hat-train-super: ")]
    assert lines and all("max_tokens must be at least the longest sentence" in line for line in lines)
    assert not (tmp_path / "super").exists()


@pytest.mark.parametrize("reason", ["another process is writing there", "must not hold what hat-search made"])
def test_a_mistake_that_the_main_process_finds_ends_all(data: Path, tmp_path: Path, reason: str) -> None:
    output = tmp_path / "super"
    output.mkdir()
    if "hold" in reason:
        (output / "run.json").write_text('{"command": "hat-search"}')
    config = write_yaml(tmp_path / "super.yaml", super_settings(data, output, **CHANGES))
    with alone_in(output) if "process" in reason else contextlib.nullcontext():
        result = torchrun("train_super", config)
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("hat-train-super: ")]
    assert lines and all(reason in line for line in lines)
    assert "in train_super" not in result.stderr  # no traceback of a process that was left alone
    assert not (output / "metrics.jsonl").exists()


def test_ctrl_c_saves_the_state(data: Path, tmp_path: Path) -> None:
    """A terminal tells every process, and torchrun tells its workers again."""
    endless = {"max_updates": 1_000_000, "checkpoint_every": 1_000_000, "validate_every": 1_000_000}
    output = tmp_path / "super"
    config = write_yaml(tmp_path / "super.yaml", super_settings(data, output, **endless))
    process = subprocess.Popen(
        [*LAUNCHER, "-m", "hat.cli.train_super", config],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    metrics = output / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    messages = process.communicate(timeout=60)[1]
    assert messages.count("hat-train-super: interrupted.") == 2
    logged = len(events(output, "train"))
    state = torch.load(output / "checkpoints" / "resume.pt", weights_only=True)
    assert state["update"] == logged and 3 <= logged < 1_000_000
