"""The whole pipeline on the corpus in ``data/demo``: what ``make demo`` runs.

Every step is one of the commands a user would type, printed before it runs. The results are in ``runs/demo``.
"""

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

from picture import draw
from running import STARTED, hat, run_experiment, two_at_a_time
from timing import latencies_ms

from hat import Transformer
from hat.latency.predictor import LatencyPredictor
from hat.report.evaluation import Point
from hat.space import Architecture, DecoderLayerSpec, DecoderSpec, EncoderLayerSpec, EncoderSpec, SearchSpace

CONFIGS = "configs/demo"
RUNS = Path("runs/demo")
BASELINE = RUNS / "baseline_architecture.json"
LARGEST = RUNS / "largest_architecture.json"
FOUND = RUNS / "search" / "architecture.json"
PICTURE = RUNS / "demo.png"
LEAST_BLEU = 80


def main() -> None:
    """Run the pipeline and print the table."""
    hat("prepare", f"{CONFIGS}/prepare.yaml", "overwrite=true")
    # Networks this small gain nothing from a second thread, but everything from a second process.
    hat("train-super", f"{CONFIGS}/train_super.yaml", "--restart", "training.accumulate=1", processes=2)
    hat("measure-latency", f"{CONFIGS}/measure_latency.yaml", "--restart")
    hat("train-predictor", f"{CONFIGS}/train_predictor.yaml")
    space = SearchSpace.from_yaml("configs/space/demo.yaml")
    predictor = LatencyPredictor.load(RUNS / "predictor")
    limit_ms = two_thirds(predictor.predict_ms(space.smallest()), predictor.predict_ms(space.largest()))
    hat("search", f"{CONFIGS}/search.yaml", "--latency", f"{limit_ms}ms")
    hand_made(space, predictor, limit_ms).to_json(BASELINE)
    space.largest().to_json(LARGEST)
    trainings = {
        "searched, from scratch": ("scratch", "train_scratch.yaml", FOUND),
        "hand-made, from scratch": ("baseline", "train_scratch.yaml", BASELINE),
        "searched, inherited": ("sub", "train_sub.yaml", FOUND),
        "largest, inherited": ("largest", "train_sub.yaml", LARGEST),
    }
    two_at_a_time(functools.partial(train_sub, *training) for training in trainings.values())
    models = {name: RUNS / folder for name, (folder, _, _) in trainings.items()}
    two_at_a_time(functools.partial(evaluate, model) for model in models.values())
    rows = [row(name, model, predictor) for name, model in models.items()]
    nets = [Transformer.from_pretrained(model) for model in models.values()]
    for values, ms in zip(rows, latencies_ms(nets, predictor), strict=True):
        values["measured_ms"] = round(ms, 2)
    show(rows, limit_ms)
    points = [Point(r["name"], r["measured_ms"], r["bleu"]) for r in rows]
    draw(PICTURE, {FOUND.parent: limit_ms}, points, "data/demo/test")
    page = hat("report", str(RUNS), f"--output={RUNS}/report", quiet=True).strip()
    print(f"Picture: {PICTURE}\nReport:  {page}")
    print(f"\nDone in {time.monotonic() - STARTED:.0f} s; everything is in data-bin/demo and {RUNS}.")
    searched = rows[2]
    print(f"Try it:  echo 'Der alte Mann sieht den Hund .' | hat-translate {RUNS / 'sub'}")
    if searched["measured_ms"] > limit_ms:
        sys.exit(f"demo: the searched model needs {searched['measured_ms']} ms, over its limit of {limit_ms} ms.")
    if searched["bleu"] < LEAST_BLEU:
        sys.exit(f"demo: the searched model reaches {searched['bleu']} BLEU, must reach {LEAST_BLEU}.")


def train_sub(folder: str, config: str, architecture: Path) -> None:
    """Train one SubTransformer into ``runs/demo/FOLDER``."""
    arguments = f"architecture={architecture}", f"output={RUNS / folder}", "--restart"
    hat("train-sub", f"{CONFIGS}/{config}", *arguments, quiet=True)


def two_thirds(fastest_ms: float, slowest_ms: float) -> float:
    """A limit two thirds of the way from the fastest to the slowest network, in tenths of a millisecond.

    Half-way would be the very latency of the networks of middle depth, where noise alone decides what fits.
    """
    return round(fastest_ms + (slowest_ms - fastest_ms) * 2 / 3, 1)


def hand_made(space: SearchSpace, predictor: LatencyPredictor, limit_ms: float) -> Architecture:
    """What one would build without a search: equal layers, one width, the slowest such network within the limit."""
    candidates = []
    for dim in space.encoder.embed_dim:
        for ffn_dim in space.encoder.ffn_dim:
            for depth in space.decoder.num_layers:
                heads = max(space.encoder.self_attn_heads)
                encoder_layers = (EncoderLayerSpec(ffn_dim=ffn_dim, self_attn_heads=heads),) * max(
                    space.encoder.num_layers
                )
                layer = DecoderLayerSpec(
                    ffn_dim=ffn_dim, self_attn_heads=heads, cross_attn_heads=heads, attended_encoder_layers=1
                )
                architecture = Architecture(
                    qkv_dim=space.qkv_dim,
                    encoder=EncoderSpec(embed_dim=dim, layers=encoder_layers),
                    decoder=DecoderSpec(embed_dim=dim, layers=(layer,) * depth),
                )
                candidates.append((predictor.predict_ms(architecture), architecture))
    within = [candidate for candidate in candidates if candidate[0] <= limit_ms]
    if not within:
        return min(candidates, key=lambda candidate: candidate[0])[1]
    return max(within, key=lambda candidate: candidate[0])[1]


def evaluate(model: Path) -> None:
    """Score one model on the test set."""
    line = f"model={model}", f"output={model / 'evaluation'}", "latency=null"
    hat("evaluate", f"{CONFIGS}/evaluate.yaml", *line, quiet=True)


def row(name: str, model: Path, predictor: LatencyPredictor) -> dict[str, Any]:
    """What the table says of one model."""
    results = json.loads((model / "evaluation" / "evaluation.json").read_text())
    architecture = Architecture.from_dict(json.loads((model / "config.json").read_text())["architecture"])
    return {
        "name": name,
        "predicted_ms": round(predictor.predict_ms(architecture), 2),
        "parameters": results["parameters"],
        "bleu": round(results["bleu"]["tokenized"], 1),
        "architecture": str(architecture),
    }


def show(rows: list[dict[str, Any]], limit_ms: float) -> None:
    """Print the table, and keep it as Markdown and JSON."""
    lines = [
        "| model | limit ms | predicted ms | measured ms | parameters | BLEU | architecture |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        limit = "-" if r["name"].startswith("largest") else limit_ms
        lines.append(
            f"| {r['name']} | {limit} | {r['predicted_ms']} | {r['measured_ms']} | {r['parameters']:,} | {r['bleu']} "
            f"| {r['architecture']} |"
        )
    table = "\n".join(lines)
    (RUNS / "table.md").write_text(table + "\n", encoding="utf-8")
    (RUNS / "table.json").write_text(
        json.dumps({"limit_ms": limit_ms, "rows": rows}, indent=2) + "\n", encoding="utf-8"
    )
    print(f"\n{table}\n\nBLEU is tokenised, on the 500 sentences of data/demo/test; latency is of this machine.")


if __name__ == "__main__":
    run_experiment("demo", main)
