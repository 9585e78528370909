"""The example batch script for SLURM, with stand-ins for SLURM's own commands."""

import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUBS = {
    "scontrol": 'if [ "$1" = show ]; then echo node1; echo node2; else echo "$@" >> "$LOG"; fi',
    "torchrun": "exit 0",
}


def run_slurm(
    tmp_path: Path, srun: str, *arguments: str, signal_after_start: bool = False, **extra: str
) -> tuple[int, str, str]:
    """Run the batch script with stand-ins for SLURM; returns exit status, stderr and what the stand-ins logged."""
    for name, text in {**STUBS, "srun": srun}.items():
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/bash\n{text}\n")
        stub.chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "LOG": str(log), "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "8", **extra,
    }  # fmt: skip
    process = subprocess.Popen(
        ["bash", str(ROOT / "scripts" / "slurm_train.sh"), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    if signal_after_start:
        deadline = time.monotonic() + 10
        while "started" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors, log.read_text()


def test_slurm_starts_torchrun_on_every_machine(tmp_path: Path) -> None:
    status, _, log = run_slurm(tmp_path, 'echo "$@" >> "$LOG"', "configs/x.yaml", "training.max_updates=5")
    assert status == 0
    assert log.split() == [
        "torchrun", "--nnodes", "2", "--nproc-per-node", "8", "--rdzv-id", "123456", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", "node1:23456", "-m", "hat.cli.train_super", "configs/x.yaml", "training.max_updates=5",
    ]  # fmt: skip


def test_slurm_trains_a_subtransformer_on_request(tmp_path: Path) -> None:
    _, _, log = run_slurm(tmp_path, 'echo "$@" >> "$LOG"', "configs/x.yaml", HAT_COMMAND="train_sub")
    assert "-m hat.cli.train_sub configs/x.yaml" in log


def test_slurm_goes_back_into_the_queue_before_the_time_limit(tmp_path: Path) -> None:
    """The signal reaches training, which is left the time to save its state."""
    srun = (
        "trap 'kill $sleeping; sleep 0.2; echo saved >> \"$LOG\"; exit 130' TERM; sleep 15 & sleeping=$!; "
        'echo started >> "$LOG"; wait'
    )
    status, errors, log = run_slurm(tmp_path, srun, "x.yaml", signal_after_start=True)
    assert status == 0
    assert log.splitlines() == ["started", "saved", "requeue 123456"]
    assert "back into the queue" in errors


def test_slurm_waits_for_the_state_however_often_it_is_told(tmp_path: Path) -> None:
    srun = (
        'trap \'trap "" TERM; kill $sleeping; kill -USR1 $PPID; sleep 0.5; echo saved >> "$LOG"; exit 130\' TERM; '
        'sleep 15 & sleeping=$!; echo started >> "$LOG"; wait'
    )
    status, _, log = run_slurm(tmp_path, srun, "x.yaml", signal_after_start=True)
    assert status == 0
    assert log.splitlines() == ["started", "saved", "requeue 123456"]


def test_slurm_takes_the_status_of_a_training_that_ends_as_the_signal_comes(tmp_path: Path) -> None:
    srun = "trap 'exit 0' TERM; echo started >> \"$LOG\"; sleep 15 & wait"
    status, _, log = run_slurm(tmp_path, srun, "x.yaml", signal_after_start=True)
    assert (status, log) == (0, "started\n")


def test_slurm_does_not_repeat_a_failure(tmp_path: Path) -> None:
    status, _, log = run_slurm(tmp_path, "exit 2", "x.yaml")
    assert status == 2
    assert "requeue" not in log


def test_slurm_without_settings(tmp_path: Path) -> None:
    status, errors, _ = run_slurm(tmp_path, "exit 0")
    assert status == 2
    assert len(errors.splitlines()) == 1 and "give the settings" in errors
