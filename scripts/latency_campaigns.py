"""Do two campaigns agree? The same architectures measured on two occasions, the second with a disturbance.

    python scripts/latency_campaigns.py configs/wmt14_ende/measure_latency.yaml --samples 30

runs hat-measure-latency with an anchor and without, each three times: alone, alone again, and with a process that
computes all the time on every core from a third of the samples on to two thirds. Prints how far the latencies of an
architecture are apart, as Markdown. Further arguments are overrides of the config. Nothing else should run on the
machine.
"""

import argparse
import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from running import run_experiment

from hat.latency.dataset import LatencyDataset
from hat.space import Architecture

ANCHORS = {"with an anchor": [], "without": ["anchor=none"]}
OCCASIONS = ("quiet", "again, quiet", "disturbed")


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path("runs/campaigns"))
    args, overrides = parser.parse_known_args()
    lines = [
        "| campaigns | median difference % | largest % | seconds |",
        "|---|---|---|---|",
    ]
    for name, anchor in ANCHORS.items():
        sets, seconds = [], []
        for occasion in OCCASIONS:
            folder = args.output / f"{name} {occasion}".replace(" ", "_").replace(",", "")
            started = time.monotonic()
            measure(args.config, folder, args.samples, [*anchor, *overrides], disturbed=occasion == "disturbed")
            seconds.append(time.monotonic() - started)
            sets.append(latencies_ms(folder / "latency.csv"))
        for number in (1, 2):
            both = sets[0].keys() & sets[number].keys()
            apart = 100 * np.abs(np.array([sets[number][one] / sets[0][one] for one in both]) - 1)
            lines.append(
                f"| {name}: {OCCASIONS[0]}, {OCCASIONS[number]} | {np.median(apart):.2f} | {apart.max():.1f} "
                f"| {seconds[0]:.0f}, {seconds[number]:.0f} |"
            )
    text = "\n".join(lines)
    (args.output / "campaigns.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def measure(config: str, folder: Path, samples: int, overrides: list[str], disturbed: bool) -> None:
    """One campaign."""
    command = [sys.executable, "-m", "hat.cli.measure_latency", config, f"output={folder}", f"samples={samples}"]
    with subprocess.Popen([*command, *overrides]) as process, contextlib.ExitStack() as stack:
        hogs_began = hogs_ended = not disturbed
        while process.poll() is None:
            time.sleep(0.5)
            rows = count_rows(folder / "latency.csv")
            if not hogs_began and rows >= samples // 3:
                hogs_began = True
                stack.enter_context(hogs())
            if hogs_began and not hogs_ended and rows >= 2 * samples // 3:
                hogs_ended = True
                stack.pop_all().close()
    if process.returncode:
        sys.exit(process.returncode)


def count_rows(path: Path) -> int:
    """Rows of a CSV that is being written."""
    return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.exists() else 0


@contextlib.contextmanager
def hogs() -> Iterator[None]:
    """Processes that compute all the time, one a core."""
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def spin() -> None:
    """Multiply matrices for ever: cores, caches and memory are all busy."""
    square = np.random.default_rng(1).standard_normal((700, 700))
    while True:
        square = square @ square / np.linalg.norm(square)


def latencies_ms(path: Path) -> dict[Architecture, float]:
    """Total latency of each architecture."""
    data = LatencyDataset.load(path)
    assert data.architectures is not None, "the file is ours"
    return dict(zip(data.architectures, data.latency_ms().tolist(), strict=True))


if __name__ == "__main__":
    run_experiment("latency_campaigns", main)
