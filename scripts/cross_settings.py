"""Does a network that was found for one setting suit another? The question of the paper's Table 1, asked of settings.

Run from the repository after ``scripts/multi30k.py`` has trained the SuperTransformer, while nothing else runs:

    python scripts/cross_settings.py

For every setting it measures a latency data set, trains a predictor and searches under the same part of
Transformer-Tiny's latency in that setting. Then every network that was found is measured in every setting, all networks
in turn. Writes the table as Markdown and a drawing of every network. What is done is not done again.

Source: HAT (arXiv:2005.14187), Table 1, of two devices; Figure 12 draws its networks.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from running import hat, kept_results, run_experiment

from hat import Architecture
from hat.artifacts import write_json
from hat.errors import ConfigError
from hat.latency.predictor import LatencyPredictor
from hat.report.drawing import draw_architecture

CONFIGS = "configs/multi30k"
RUNS = Path("runs/cross_settings")
SETTINGS: dict[str, Sequence[str]] = {
    "1 thread": (),
    "2 threads": ("settings.threads=2",),
    "int8": ("settings.dtype=int8",),
    "batch 32": ("settings.batch_size=32",),
}
"""What differs from ``measure_latency.yaml``, which times one sentence in float32 on one thread. In this space,
``int8`` is that of the output projection and of the widest feed-forward layers: smaller matrices stay in float32."""


def main() -> None:
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.6, help="the limits, as a part of Transformer-Tiny's latency")
    parser.add_argument("--samples", type=int, default=100, help="architectures of each latency data set")
    args = parser.parse_args()
    check_same(RUNS / "arguments.json", vars(args))
    for name, overrides in SETTINGS.items():
        measure(folder(name), [f"samples={args.samples}", *overrides])
    found = {name: search(folder(name), args.share) for name in SETTINGS}
    paths = [str(folder(name) / "search" / "architecture.json") for name in SETTINGS]
    latencies_ms = {name: time_all(folder(name) / "predictor", paths) for name in SETTINGS}
    text = table(found, latencies_ms)
    (RUNS / "cross_settings.md").write_text(text + "\n", encoding="utf-8")
    networks = {name: Architecture.from_json(path) for name, path in zip(SETTINGS, paths, strict=True)}
    for name, network in networks.items():
        draw_architecture(network, RUNS / f"{folder(name).name}.svg", name, list(networks.values()))
    print(text)


def check_same(path: Path, arguments: dict[str, Any]) -> None:
    """Refuse to go on with what was begun with other arguments. Raises ConfigError."""
    if path.parent.is_dir() and any(path.parent.iterdir()) and not path.exists():
        raise ConfigError(f"{path.parent}: holds results, but not what they were made with; remove it to begin anew.")
    write_json(path, kept_results(path, arguments))


def folder(name: str) -> Path:
    """Where everything of one setting is."""
    return RUNS / name.replace(" ", "_")


def measure(output: Path, overrides: Sequence[str]) -> None:
    """The latency data set and the predictor of one setting."""
    if (output / "predictor" / "metrics.json").exists():
        return
    hat("measure-latency", f"{CONFIGS}/measure_latency.yaml", f"output={output}/latency", *overrides)
    dataset = f"dataset={output}/latency/latency.csv"
    hat("train-predictor", f"{CONFIGS}/train_predictor.yaml", f"output={output}/predictor", dataset)


def search(output: Path, share: float) -> dict[str, Any]:
    """What the search of one setting says of the network it found."""
    path = output / "search" / "architecture.json"
    if not path.exists():
        pace = LatencyPredictor.load(output / "predictor").pace
        assert pace is not None, "measure_latency.yaml names an anchor"
        limit = f"--latency={share * pace.anchor_ms:.2f}ms"
        overrides = [f"output={output}/search", f"predictor={output}/predictor"]
        hat("search", f"{CONFIGS}/search.yaml", limit, *overrides)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["found"]
    return found


def time_all(predictor: Path, architectures: Sequence[str]) -> list[float]:
    """Latencies of all networks in one setting, measured in turn by a process of its own."""
    timing = [sys.executable, str(Path(__file__).with_name("timing.py")), "--predictor", str(predictor)]
    done = subprocess.run([*timing, *architectures], stdout=subprocess.PIPE, text=True, check=True)
    return [float(line) for line in done.stdout.splitlines()]


def table(found: Mapping[str, Mapping[str, Any]], latencies_ms: Mapping[str, Sequence[float]]) -> str:
    """Every network in every setting; latencies over the setting's limit in brackets."""
    limits_ms = {name: found[name]["limit_ms"] for name in found}
    lines = [
        "| found for | inherited loss | " + " | ".join(f"{name}, ms" for name in found) + " |",
        "|---" * (len(found) + 2) + "|",
        "| limit | | " + " | ".join(f"{limits_ms[name]:.2f}" for name in found) + " |",
    ]
    for index, (name, facts) in enumerate(found.items()):
        cells = [_cell(latencies_ms[setting][index], limits_ms[setting]) for setting in found]
        lines.append(f"| {name} | {facts['validation_loss']:.4f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(latency_ms: float, limit_ms: float) -> str:
    return f"{latency_ms:.2f}" if latency_ms <= limit_ms else f"({latency_ms:.2f})"


if __name__ == "__main__":
    run_experiment("cross_settings", main)
