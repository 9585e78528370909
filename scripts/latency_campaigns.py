"""Do two campaigns agree? The same architectures measured on two occasions, the second with a disturbance.

    python scripts/latency_campaigns.py configs/wmt14_ende/measure_latency.yaml --samples 30

runs hat-measure-latency with an anchor and without, each three times: alone, alone again, and with a process that
keeps one core busy from the middle on, for a third of all measurements. Prints how far the latencies of an architecture
are apart, as Markdown; those with an anchor are brought to one pace by it. Further arguments are overrides of the
config. Nothing else should run on the machine.
"""

import argparse
import contextlib
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from running import run_experiment

from hat.config import load_config
from hat.latency.dataset import LatencyDataset
from hat.latency.pace import Pace
from hat.recipes.measure_latency import MeasureLatencyConfig
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
            sets.append(LatencyDataset.load(folder / "latency.csv"))
        first = latencies_ms(sets[0], sets[0].pace)
        for number in (1, 2):
            other = latencies_ms(sets[number], sets[0].pace)
            apart = 100 * np.abs(np.array([other[one] / first[one] for one in first.keys() & other.keys()]) - 1)
            lines.append(
                f"| {name}: {OCCASIONS[0]}, {OCCASIONS[number]} | {np.median(apart):.2f} | {apart.max():.1f} "
                f"| {seconds[0]:.0f}, {seconds[number]:.0f} |"
            )
    text = "\n".join(lines)
    (args.output / "campaigns.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def measure(config: str, folder: Path, samples: int, overrides: list[str], disturbed: bool) -> None:
    """One campaign."""
    measurements = samples * load_config(MeasureLatencyConfig, config, overrides).passes
    command = [sys.executable, "-m", "hat.cli.measure_latency", config, f"output={folder}", f"samples={samples}"]
    with subprocess.Popen([*command, *overrides]) as process, contextlib.ExitStack() as stack:
        hog_began = hog_ended = not disturbed
        while process.poll() is None:
            time.sleep(0.5)
            made = count_lines(folder / "measurements.jsonl")
            if not hog_began and made >= measurements // 2:
                hog_began = True
                stack.enter_context(hog())
            if hog_began and not hog_ended and made >= measurements // 2 + measurements // 3:
                hog_ended = True
                stack.pop_all().close()
    if process.returncode:
        sys.exit(process.returncode)


def count_lines(path: Path) -> int:
    """Lines of a file that is being written."""
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


@contextlib.contextmanager
def hog() -> Iterator[None]:
    """A process that computes all the time."""
    process = multiprocessing.Process(target=spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()


def spin() -> None:
    """Sort sixteen megabytes for ever: a core, its caches and the memory are busy."""
    numbers = np.random.default_rng(1).standard_normal(1 << 21)
    while True:
        np.sort(numbers)


def latencies_ms(data: LatencyDataset, pace: Pace | None) -> dict[Architecture, float]:
    """Total latency of each architecture, at this pace where an anchor was timed beside it."""
    assert data.architectures is not None, "the file is ours"
    total_ms = data.latency_ms()
    if data.anchored is not None and pace is not None:
        total_ms = data.anchored.total_ms * pace.factor(data.anchored.total_ms, data.anchored.anchor_ms)
    return dict(zip(data.architectures, total_ms.tolist(), strict=True))


if __name__ == "__main__":
    run_experiment("latency_campaigns", main)
