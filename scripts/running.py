"""Running hat's commands from an experiment: shown before they run, ended by the first failure or Ctrl-C."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hat.artifacts import read_json
from hat.cli.command import run_guarded
from hat.errors import ConfigError

STARTED = time.monotonic()


def hat(command: str, config: str, *arguments: str, processes: int = 1, quiet: bool = False) -> str:
    """Run one command on one thread a process, showing it, and return what it printed.

    Args:
        command: its name without ``hat-``.
        config: its YAML file.
        arguments: overrides and flags.
        processes: how many ``torchrun`` starts.
        quiet: whether its progress is shown only if it fails.
    """
    line = [config, *arguments]
    module = ["-m", f"hat.cli.{command.replace('-', '_')}"]
    if processes > 1:
        module = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *module]
    shown = f"hat-{command}" if processes == 1 else f"torchrun {' '.join(module[2:])}"
    print(f"\n[{time.monotonic() - STARTED:3.0f} s] $ {shown} {' '.join(line)}", flush=True)
    with subprocess.Popen(
        [sys.executable, *module, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            output, errors = process.communicate()
        except KeyboardInterrupt:
            process.wait()  # Ctrl-C reached it too; torchrun, killed now, would leave its processes behind
            raise
    if process.returncode:
        print(errors or "", file=sys.stderr, end="")
        sys.exit(process.returncode)
    return output


def kept_results(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What a file holds of earlier runs of an experiment: ``settings`` and a list of ``results``, empty at first.

    Raises:
        ConfigError: if they were made with other settings.
    """
    settings = json.loads(json.dumps(settings))  # as they are read
    if not path.exists():
        return {"settings": settings, "results": []}
    kept = read_json(path, "results of this script")
    if kept.get("settings") != settings:
        raise ConfigError(f"{path}: holds results of other settings or models; choose another --output, or remove it.")
    return kept


def two_at_a_time(calls: Iterable[Callable[[], object]]) -> None:
    """Make the calls, two at a time; when one fails or Ctrl-C comes, no further one is begun."""
    pool = ThreadPoolExecutor(max_workers=2)
    try:
        for done in [pool.submit(call) for call in calls]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def run_experiment(name: str, main: Callable[[], None]) -> None:
    """Run ``main``; bad input ends it with one line and status 2, Ctrl-C with one and status 130."""
    sys.exit(run_guarded(name, main))
