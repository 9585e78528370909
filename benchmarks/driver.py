"""Starts one process for each configuration of a group and times them in turn, so that only one computes at a time."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.cases import Configuration, Group

ROOT = Path(__file__).parents[1]
LONG_SECONDS = 1.0
"""A call at least so long is timed at once: what others left in the caches does not count."""
TURN_SECONDS = 0.3
"""A shorter one is called once without counting, then for about so long, and the median counts."""
MOST_CALLS = 20
SETTLE_SECONDS = 0.25
"""Pause between turns: threads of a library may go on spinning for a while after its last call."""
ENVIRONMENTS = {"int8 AVX-512": {"CT2_FORCE_CPU_ISA": "AVX512"}}
"""Variables of the environment that a variant needs."""

Result = dict[str, Any]


class Timer(Protocol):
    """What can be timed."""

    def time(self, round: int) -> float:
        """Seconds of one call."""


class WorkerError(Exception):
    """What a process said instead of a time."""


class Worker:
    """A process of :mod:`benchmarks.worker`.

    Args:
        configuration: what it is to do.
        python: the interpreter.
    """

    def __init__(self, configuration: Configuration, python: str) -> None:
        self.failure = ""
        threads = str(configuration.threads)
        environment = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONPATH": str(ROOT),
            "TQDM_DISABLE": "1",
        }
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", json.dumps(configuration.to_dict())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment, **ENVIRONMENTS.get(configuration.variant, {})},
        )

    def answer(self) -> dict[str, Any]:
        """The next line it prints. Raises WorkerError if it says that something failed, or ends."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        values: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in values:
            self.failure = values["error"]
            raise WorkerError(self.failure)
        return values

    def _last_words(self) -> str:
        """Why it ended."""
        self._errors.seek(0)
        told = self._errors.read().strip().splitlines()
        return f"ended with status {self._process.wait()}: {told[-1] if told else 'no word'}"

    def ask(self, what: str, round: int) -> dict[str, Any]:
        """Its answer to ``time`` or ``profile``."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its answer, or that there is none, says why
            self._process.stdin.write(f"{what} {round}\n")
            self._process.stdin.flush()
        return self.answer()

    def time(self, round: int) -> float:
        """Seconds of one call."""
        return float(self.ask("time", round)["seconds"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def turn_seconds(timer: Timer, round: int) -> float:
    """Seconds of a call as one turn finds it."""
    first = timer.time(round)
    if first >= LONG_SECONDS:
        return first
    calls = min(max(round_up(TURN_SECONDS / first), 1), MOST_CALLS)
    return statistics.median(timer.time(round) for _ in range(calls))


def round_up(number: float) -> int:
    """The next whole number."""
    return int(-(-number // 1))


def interleave(
    timers: Mapping[str, Timer], repeats: int, settle_seconds: float = SETTLE_SECONDS
) -> dict[str, list[float]]:
    """Seconds of every timer in every round; each round goes through all, every other one backwards.

    Before the first round each makes one call that does not count: it allocates, and compiles what is to be compiled.
    One that raises WorkerError is left out from there on, with the times that it has.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    running = list(timers)
    for round in range(-1, repeats):
        for name in list(running if round % 2 == 0 else reversed(running)):
            try:
                if round < 0:
                    timers[name].time(0)
                else:
                    seconds[name].append(turn_seconds(timers[name], round))
            except WorkerError:
                running.remove(name)
            time.sleep(settle_seconds)
    return seconds


def run_group(
    group: Group,
    configurations: Sequence[Configuration],
    repeats: int,
    pythons: Mapping[str, str],
    profile: bool = False,
) -> list[Result]:
    """Time the configurations of a group; what cannot run says so in its result."""
    results: dict[str, Result] = {one.name: one.to_dict() for one in configurations}
    workers: dict[str, Worker] = {}
    try:
        for one in configurations:
            workers[one.name] = Worker(one, pythons.get(one.peer, sys.executable))
        ready = {}
        for name, worker in workers.items():
            try:
                answer = worker.answer()
                results[name] |= answer.get("ready", answer)
                if "ready" in answer:
                    ready[name] = worker
            except WorkerError as error:
                results[name]["error"] = str(error)
        for name, seconds in interleave(ready, repeats).items():
            results[name]["seconds"] = seconds
            if len(seconds) < repeats:
                results[name]["error"] = ready[name].failure
            elif profile and results[name]["peer"] == "hat":
                try:
                    results[name]["profile"] = ready[name].ask("profile", repeats)["profile"]
                except WorkerError as error:
                    results[name]["error"] = str(error)
    finally:
        for worker in workers.values():
            worker.close()
    return list(results.values())
