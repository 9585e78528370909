"""Do two campaigns agree? The same architectures measured on two occasions, the second with a disturbance.

    python scripts/latency_campaigns.py configs/wmt14_ende/measure_latency.yaml --samples 30

runs hat-measure-latency three times: alone, alone again, and with a process that keeps one core busy from the middle
on, for a third of all measurements. Prints how far the latencies of an architecture are apart, as Markdown: as the data
sets have them, at one pace, and as they would be without drift control, by the clock and before anything was measured
anew. Further arguments are overrides of the config. Nothing else should run on the machine.
"""

import argparse
import contextlib
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from running import run_experiment

from hat.config import load_config
from hat.errors import DataError
from hat.latency.dataset import LatencyDataset
from hat.latency.measurements import MEASUREMENTS_FILE, Measurement, MeasurementFile
from hat.latency.pace import Pace
from hat.latency.statistics import trim
from hat.recipes.measure_latency import MeasureLatencyConfig
from hat.space import Architecture

OCCASIONS = ("quiet", "again", "disturbed")


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path("runs/campaigns"))
    args, overrides = parser.parse_known_args()
    for occasion in OCCASIONS:
        measure(args.config, args.output / occasion, args.samples, overrides, disturbed=occasion == "disturbed")
    text = table([args.output / occasion for occasion in OCCASIONS])
    (args.output / "campaigns.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def table(folders: Sequence[Path]) -> str:
    """How far the latencies of all but the first are from those of the first."""
    lines = ["| campaigns | latencies | median difference % | largest % |", "|---|---|---|---|"]
    sets = [LatencyDataset.load(folder / "latency.csv") for folder in folders]
    ways = {
        "at one pace": [at_pace(data, sets[0].pace) for data in sets],
        "without drift control": [without_control(folder / MEASUREMENTS_FILE) for folder in folders],
    }
    for name, (first, *others) in ways.items():
        for occasion, other in zip(OCCASIONS[1:], others, strict=True):
            apart = 100 * np.abs(np.array([other[one] / first[one] for one in first.keys() & other.keys()]) - 1)
            lines.append(f"| {OCCASIONS[0]}, {occasion} | {name} | {np.median(apart):.2f} | {apart.max():.1f} |")
    return "\n".join(lines)


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


def at_pace(data: LatencyDataset, pace: Pace | None) -> dict[Architecture, float]:
    """Total latency of each architecture at this pace, in ms. Raises DataError if no anchor was timed."""
    if data.anchored is None or pace is None:
        raise DataError(
            f"{data.name}: must be measured beside an anchor, has no column anchor_ms; leave out anchor=none."
        )
    assert data.architectures is not None, "the file is ours"
    total_ms = data.anchored.total_ms * pace.factor(data.anchored.total_ms, data.anchored.anchor_ms)
    return dict(zip(data.architectures, total_ms.tolist(), strict=True))


def without_control(path: Path) -> dict[Architecture, float]:
    """Trimmed mean of each architecture's total latency by the clock, in ms, of what was measured first."""
    first: dict[tuple[Architecture, int], Measurement] = {}
    for one in MeasurementFile(path).all:
        first.setdefault((one.architecture, one.number), one)
    totals_ms: dict[Architecture, list[float]] = {}
    for (architecture, _), one in first.items():
        totals_ms.setdefault(architecture, []).extend(total_ms for _, total_ms in one.runs)
    return {architecture: float(np.mean(trim(values))) for architecture, values in totals_ms.items()}


if __name__ == "__main__":
    run_experiment("latency_campaigns", main)
