"""What a machine tells of itself is read as it is, and what it does not tell is null."""

from pathlib import Path
from typing import Any

import pytest

from hat.latency import hardware as module
from hat.latency.device import begin_session, describe, end_session
from hat.latency.hardware import hardware, observe
from hat.latency.settings import DeviceRecord, LatencySettings

SETTINGS = LatencySettings(
    source_length=3, target_length=4, source_vocab_size=9, target_vocab_size=9, device="cpu", threads=1
)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four logical cores on two physical ones."""
    cpu = tmp_path / "cpu"
    files = {
        "cpu0/cpufreq/scaling_governor": "ondemand\n",
        "cpu0/cache/index0/level": "1\n", "cpu0/cache/index0/type": "Data\n", "cpu0/cache/index0/size": "32K\n",
        "cpu0/cache/index1/level": "2\n", "cpu0/cache/index1/type": "Unified\n", "cpu0/cache/index1/size": "1024K\n",
        **{f"cpu{n}/topology/thread_siblings_list": f"{n % 2},{n % 2 + 2}\n" for n in range(4)},
        **{f"cpu{n}/cpufreq/scaling_cur_freq": f"{1500000 + 100000 * n}\n" for n in range(4)},
    }  # fmt: skip
    for name, text in files.items():
        (cpu / name).parent.mkdir(parents=True, exist_ok=True)
        (cpu / name).write_text(text)
    monkeypatch.setattr(module, "_CPU", cpu)
    return cpu


def test_hardware(board: Path) -> None:
    told = hardware("a board", None)
    assert (told.cpu, told.physical_cores, told.frequency_governor) == ("a board", 2, "ondemand")
    assert told.caches == {"L1 data": "32K", "L2": "1024K"}
    assert told.gpu_driver is None
    assert observe(None).frequency_mhz == 1650.0


def test_what_the_system_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU", tmp_path / "nowhere")
    monkeypatch.setattr(module, "_read", lambda path: None)
    told = hardware("a processor", None)
    assert (told.physical_cores, told.caches, told.frequency_governor) == (None, None, None)
    seen = observe(None)
    assert (seen.temperature_celsius, seen.frequency_mhz) == (None, None)


def test_a_gpu_is_asked_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    answers = "case $2 in *driver*) echo 550.54;; *temperature*) echo 71;; *clocks*) echo '[N/A]';; esac"
    program.write_text(f'#!/bin/sh\n[ "$1" = --id=GPU-7 ] || exit 6\n{answers}\n')
    program.chmod(0o755)
    monkeypatch.setattr(module.shutil, "which", lambda name: str(program))
    assert hardware("a processor", "GPU-7").gpu_driver == "550.54"
    seen = observe("GPU-7")
    assert (seen.temperature_celsius, seen.frequency_mhz) == (71.0, None)
    assert hardware("a processor", "GPU-8").gpu_driver is None
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert observe("GPU-7").temperature_celsius is None


def test_the_record_is_read_as_it_was_written_and_told_in_a_few_lines(tmp_path: Path) -> None:
    record = end_session(begin_session(describe(SETTINGS), None))
    record.write(tmp_path / "device.json")
    assert DeviceRecord.read(tmp_path / "device.json") == record
    lines = record.lines()
    assert lines[0] == f"device: {record.machine}; CPU threads: 1"
    assert f"torch {record.torch} (" in lines[2] and len(lines) == 6
    assert lines[3].startswith("  fewer than 65536 weights: torch; more: ")
    assert lines[4] == "timed: eager, float32, 3 tokens to 4, beam 5, batch 1; anchor none"
    assert lines[5].startswith("now: ")
    continued = begin_session(describe(SETTINGS), record)
    assert continued.sessions[0] == record.sessions[0] and continued.sessions[1].end is None


def test_a_record_of_the_first_format(tmp_path: Path) -> None:
    now = describe(SETTINGS)
    values: dict[str, Any] = now.model_dump(mode="json", exclude={"hardware", "software", "sessions"})
    before = DeviceRecord.model_validate(values | {"format": "hat.device/1"})
    assert before.hardware is None and before.sessions == ()
    assert before.comparable(now) == now.comparable(before)
    assert "hardware" in now.comparable(now) and "sessions" not in now.comparable(now)
    assert len(before.lines()) == 2
