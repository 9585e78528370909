"""The Multi30k experiment of docs/results/multi30k.md: everything from the corpus to the table.

Run from the repository, in an environment with the extras ``report`` and ``corpora``:

    python scripts/prepare_multi30k.py
    python scripts/multi30k.py

Every step is a command of hat, printed before it runs. A step that is done is not done again, and trainings continue
from their last checkpoint, so the script can be stopped and started at any time. Nothing else should run on the machine
while latencies are measured.
"""

import argparse
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from picture import draw
from running import hat, run_experiment, two_at_a_time
from timing import latencies_ms

from hat import Transformer
from hat.latency.predictor import LatencyPredictor
from hat.report.evaluation import Point

CONFIGS = "configs/multi30k"
RUNS = Path("runs/multi30k")
SPLITS = ("test2016", "test2017")
SHARES = (1.0, 0.5)
"""The limits of the searches, as parts of Transformer-Tiny's latency."""


def main() -> None:
    """Run what is not done yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=10000, help="training budget of every model from scratch")
    parser.add_argument("--full", action="store_true", help="also train the baseline with its whole published recipe")
    args = parser.parse_args()

    hat("prepare", f"{CONFIGS}/prepare.yaml")
    train([["train-super", "train_super.yaml"], baseline(args.updates)])
    if not (RUNS / "predictor" / "metrics.json").exists():
        hat("measure-latency", f"{CONFIGS}/measure_latency.yaml")
        hat("train-predictor", f"{CONFIGS}/train_predictor.yaml")
    predictor = LatencyPredictor.load(RUNS / "predictor")
    if predictor.pace is None:
        sys.exit(f"multi30k: {RUNS}/predictor was made without an anchor; remove it and {RUNS}/latency.")
    tiny_ms = predictor.pace.anchor_ms  # configs/multi30k/measure_latency.yaml makes Transformer-Tiny the anchor
    trainings = []
    for share in SHARES:
        if not (search_folder(share) / "architecture.json").exists():
            limit = f"--latency={share * tiny_ms:.2f}ms"
            hat("search", f"{CONFIGS}/search.yaml", limit, f"output={search_folder(share)}")
        elif round(share * tiny_ms, 2) != limit_ms(share):
            sys.exit(f"multi30k: {search_folder(share)} was searched with another data set's limit; remove it.")
        trainings += [from_scratch(share, args.updates), inherited(share, args.updates // 4, "inherited")]
        trainings.append(inherited(share, args.updates, "inherited_long", peak=0.001, warmup=500))
    train(trainings)
    models = names(args.updates)
    if args.full:
        hat("train-sub", f"{CONFIGS}/train_tiny.yaml", f"output={RUNS}/tiny_full")
        models["tiny_full"] = "Transformer-Tiny, whole recipe"
    rows = [row(model) for model in models]
    nets = [Transformer.from_pretrained(RUNS / model) for model in models]
    for values, ms in zip(rows, latencies_ms(nets, predictor), strict=True):
        values["latency_ms"] = round(ms, 2)
    text = table(rows, models, tiny_ms)
    (RUNS / "table.md").write_text(text + "\n", encoding="utf-8")
    limits = {search_folder(share): limit_ms(share) for share in SHARES}
    points = [Point(models[r["model"]], r["latency_ms"], r["test2016"][0]) for r in rows]
    draw(RUNS / "multi30k.png", limits, points, "test 2016")
    hat("report", str(RUNS), f"--output={RUNS}/report")
    print(text)


def names(updates: int) -> dict[str, str]:
    """What the trained models are called, by their folders: each network that was found is trained in three ways."""
    found = {"tiny": "Transformer-Tiny"}
    for share in SHARES:
        found[f"scratch_{share}"] = f"at {share}, from scratch"
        found[f"inherited_{share}"] = f"at {share}, inherited, {updates // 4:,}"
        found[f"inherited_long_{share}"] = f"at {share}, inherited, {updates:,}"
    return found


def search_folder(share: float) -> Path:
    """Where the search at ``share`` of Transformer-Tiny's latency leaves its results."""
    return RUNS / f"search_{share}"


def limit_ms(share: float) -> float:
    """The limit that search had."""
    found: dict[str, float] = json.loads((search_folder(share) / "architecture.json").read_text())["found"]
    return found["limit_ms"]


def budget(updates: int, peak: float, warmup: int) -> list[str]:
    """The overrides that give a training this many small updates, and a schedule that fits.

    At so small a budget, four updates of 1,024 tokens teach far more than one of 4,096. Fifty checkpoints, so that the
    model, the average of the last ten, is that of the last fifth of the training.
    """
    schedule = {"kind": "cosine", "peak": peak, "warmup_updates": warmup, "minimum": 1e-6}
    values = {"max_updates": updates, "max_tokens": 1024, "accumulate": 1, "schedule": schedule}
    values |= {"checkpoint_every": max(updates // 50, 1), "validate_every": max(updates // 10, 1)}
    return [f"training.{name}={json.dumps(value)}" for name, value in values.items()]


def baseline(updates: int) -> list[str]:
    """Transformer-Tiny with the budget of the others."""
    return ["train-sub", "train_tiny.yaml", f"output={RUNS}/tiny", *budget(updates, 0.002, updates // 10)]


def from_scratch(share: float, updates: int) -> list[str]:
    """The network found at ``share`` of Transformer-Tiny's latency, from scratch, trained as the baseline."""
    return [*found(share), f"output={RUNS}/scratch_{share}", *budget(updates, 0.002, updates // 10)]


def inherited(share: float, updates: int, name: str, peak: float = 0.0005, warmup: int = 100) -> list[str]:
    """The same network, from the SuperTransformer's weights."""
    line = [*found(share), f"output={RUNS}/{name}_{share}", f"inherit={RUNS}/super"]
    return [*line, *budget(updates, peak, warmup)]


def found(share: float) -> list[str]:
    """The start of a command that trains a network that was found."""
    return ["train-sub", "train_sub.yaml", f"architecture={search_folder(share)}/architecture.json"]


def train(commands: Sequence[list[str]]) -> None:
    """Run trainings two at a time."""
    two_at_a_time(functools.partial(hat, command, f"{CONFIGS}/{config}", *rest) for command, config, *rest in commands)


def row(model: str) -> dict[str, Any]:
    """BLEU on both test sets and parameters of one trained model."""
    folder = RUNS / model
    values: dict[str, Any] = {"model": model}
    for split in SPLITS:
        output = folder / f"evaluation_{split}"
        if not (output / "evaluation.json").exists():
            hat("evaluate", f"{CONFIGS}/evaluate.yaml", f"model={folder}", f"split={split}", f"output={output}")
        results = json.loads((output / "evaluation.json").read_text())
        values[split] = (results["bleu"]["tokenized"], results["bleu"]["sacrebleu"]["score"])
        values["parameters"] = results["parameters"]
    return values


def table(rows: Sequence[dict[str, Any]], models: Mapping[str, str], tiny_ms: float) -> str:
    """The results as Markdown."""
    lines = [
        f"The limits are parts of {tiny_ms:.2f} ms, Transformer-Tiny's median latency over the data set.",
        "",
        "| model | latency ms | of Tiny | parameters | 2016 BLEU | 2016 sacreBLEU | 2017 BLEU |",
        "|---|---|---|---|---|---|---|",
    ]
    beside_ms = rows[0]["latency_ms"]
    for values in rows:
        (bleu, sacre), (bleu_2017, _) = (values[split] for split in SPLITS)
        ratio = values["latency_ms"] / beside_ms
        lines.append(
            f"| {models[values['model']]} | {values['latency_ms']:.2f} | {ratio:.2f} | {values['parameters']:,} "
            f"| {bleu:.2f} | {sacre:.2f} | {bleu_2017:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_experiment("multi30k", main)
