"""Run folders as the commands leave them, made up in no time: numbers are known, nothing is trained."""

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hat.artifacts import write_json
from hat.config import validate
from hat.latency.settings import DeviceRecord
from hat.latency.statistics import LatencySample, Timed
from hat.latency.writer import MeasuredRow, write_latencies
from hat.recipes.train_predictor import TrainPredictorConfig, train_predictor
from hat.space import Architecture, SearchSpace
from hat.space.counting import count_multiply_adds

SPACE = SearchSpace.from_yaml(Path(__file__).parents[1] / "configs/space/demo.yaml")
DEVICE = {
    "machine": "A machine (2 cores)",
    "gpu": None,
    "torch": "2.13",
    "settings": {"source_length": 9, "target_length": 11, "source_vocab_size": 100, "target_vocab_size": 100},
}
ROWS = 40


def architectures(count: int, seed: int = 1) -> list[Architecture]:
    rng = random.Random(seed)
    return [SPACE.sample(rng) for _ in range(count)]


def write_run(
    folder: Path,
    command: str,
    config: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]] = (),
    finished: bool = True,
    **info: Any,
) -> Path:
    """What every command writes."""
    record = {
        "command": command,
        "version": "0.1.0",
        "commit": "0123456789ab",
        "seed": 1,
        "host": "here",
        "machine": "A machine (2 cores)",
        "python": "3.11.7",
        "started": "2026-11-27T09:05:52Z",
        **({"seconds": 75.5} if finished else {}),
    }
    write_json(folder / "run.json", record | info)
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    lines = [*events, *([{"event": "final"}] if finished and command != "hat-prepare" else [])]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def write_latency(folder: Path, rows: int = ROWS, finished: bool = True, anchored: bool = True) -> Path:
    """A data set in which ten rows are shifted by half."""
    write_run(folder, "hat-measure-latency", {"samples": ROWS, "passes": 3}, finished=finished)
    DeviceRecord.model_validate(DEVICE).write(folder / "device.json")
    rng, measured = random.Random(5), []
    for row, architecture in enumerate(architectures(rows)):
        total_ms = 1 + count_multiply_adds(architecture, 9, 11).decoder / 1e6 + len(architecture.decoder.layers)
        pace = (1.5 if 20 <= row < 30 else 1.0) * rng.uniform(0.99, 1.01)
        sample = LatencySample.of_runs([(0.5 * pace, total_ms * pace)] * 3)
        measured.append(MeasuredRow(architecture, Timed(sample, anchor_ms=4.0 if anchored else None)))
    if measured:
        write_latencies(folder / "latency.csv", measured, anchored)
    return folder


def write_predictor(folder: Path, dataset: Path, **config: Any) -> Path:
    settings = {"output": str(folder), "dataset": str(dataset), "kind": "structured"}
    return train_predictor(validate(TrainPredictorConfig, settings | config, "test"))


def write_super(folder: Path, **changes: Any) -> Path:
    events: list[dict[str, Any]] = [
        {"event": "train", "update": update, "loss": 6 - update / 100, "target_tokens_per_s": 1500.0, "nll": 4.0}
        for update in range(10, 110, 10)
    ]
    for update in (50, 100):
        events += [
            {"event": "valid", "update": update, "name": name, "loss": loss - update / 100, "nll": 2.0}
            for name, loss in (("smallest", 5.4321), ("largest", 4.4321), ("random_0", 5.0))
        ]
    write_run(folder, "hat-train-super", {"training": {"max_updates": 100}}, events, **changes)
    values = {"format": "hat.super_transformer/1", "space": SPACE.model_dump(mode="json"), "share_embeddings": "all"}
    write_json(folder / "config.json", values | {"source_vocab_size": 100, "target_vocab_size": 100, "pre_norm": False})
    return folder


def write_sub(folder: Path, architecture: Architecture, loss: float = 3.25) -> Path:
    events = [{"event": "valid", "update": 100, "name": "valid", "loss": loss, "nll": 3.0}]
    write_run(folder, "hat-train-sub", {"training": {"max_updates": 100}}, events)
    write_json(folder / "config.json", {"format": "hat.transformer/1", "architecture": architecture.to_dict()})
    return folder


def write_search(
    folder: Path,
    found: Architecture,
    seed: int = 1,
    sentences: int | None = None,
    statistic: str | None = None,
    **config: Any,
) -> Path:
    runs = folder.parent.name
    settings = {"supertransformer": f"{runs}/super", "predictor": f"{runs}/predictor", "latency_limit_ms": 6.5}
    write_run(folder, "hat-search", settings | config)
    history = [
        {"generation": number, "best_loss": 3.5 - number / 10, "best_predicted_ms": 5.0, "mean_loss": 4 - number / 10,
         "newly_scored": 20 - number, "best": found.to_dict()}
        for number in range(4)
    ]  # fmt: skip
    if sentences is not None:
        history = [{**line, "sentence_evaluations": (place + 1) * sentences} for place, line in enumerate(history)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history), encoding="utf-8")
    front = [
        {"predicted_ms": 3.0 + place, "validation_loss": 3.9 - place / 5, "architecture": architecture.to_dict()}
        for place, architecture in enumerate([*architectures(3, seed + 7), found])
    ]
    write_json(folder / "pareto.json", front)
    facts = {"limit_ms": 6.5, "device": "A machine", "measured_ms": 6.123, "measured_upper_ms": 6.432, "slowdown": 1.1}
    facts |= {"predicted_ms": 6.045, "predicted_interval_ms": [5.8, 6.4], "validation_loss": 3.1234, "scored": 77}
    facts |= {} if statistic is None else {"statistic": statistic}  # earlier versions did not say
    found.to_json(folder / "architecture.json", facts)
    return folder


def write_evaluation(folder: Path, model: Path, bleu: float, latency_ms: float | None = None) -> Path:
    write_run(folder, "hat-evaluate", {"model": str(model), "data": "data-bin/demo", "split": "test"})
    scores = {"score": bleu - 0.5, "signature": "nrefs:1|case:mixed"}
    values: dict[str, Any] = {
        "model": str(model),
        "sentences": 500,
        "bleu": {"tokenized": bleu, "compound_split": bleu + 0.25, "sacrebleu": scores},
        "loss": 1.2345,
        "nll": 1.1,
        "perplexity": 3.004,
        "parameters": 1234567,
        "latency": None if latency_ms is None else {"total": {"mean_ms": latency_ms}},
    }
    write_json(folder / "evaluation.json", values)
    return folder


def write_everything(runs: Path) -> Path:
    """One run of every kind, two of some."""
    first, second = architectures(2, seed=3)
    data = [{"event": "split", "split": "train", "sentences": 4321, "source_tokens": 98765, "dropped": {"too_long": 7}}]
    write_run(runs / "data", "hat-prepare", {"output": "data"}, data)
    write_super(runs / "super")
    write_latency(runs / "latency")
    write_predictor(runs / "predictor", runs / "latency" / "latency.csv")
    write_search(runs / "search", first)
    write_search(runs / "search_random", second, algorithm="random")
    write_sub(runs / "sub", first)
    write_sub(runs / "scratch", second, loss=3.5)
    write_evaluation(runs / "sub" / "evaluation", runs / "sub", 38.75)
    write_evaluation(runs / "scratch" / "evaluation", runs / "scratch", 36.5, latency_ms=7.75)
    return runs
