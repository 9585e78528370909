"""A made-up translation task and settings small enough to train in seconds: every word has one translation, and the
sentence is turned around."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hat import Architecture, SearchSpace
from hat.config import validate
from hat.recipes.prepare import PrepareConfig, prepare
from hat.recipes.train_predictor import TrainPredictorConfig, train_predictor
from hat.space.encoding import FEATURE_NAMES, features

PARTS = "encoder", "decoder"

SPACE = {
    "qkv_dim": 8,
    "encoder": {"embed_dim": [8, 12], "num_layers": [1, 2], "ffn_dim": [8, 16], "self_attn_heads": [1, 2]},
    "decoder": {
        "embed_dim": [8, 12],
        "num_layers": [1, 2],
        "ffn_dim": [8, 16],
        "self_attn_heads": [1, 2],
        "cross_attn_heads": [1, 2],
        "attended_encoder_layers": [1, 2],
    },
}
ARCHITECTURE = {
    "format": "hat.architecture/1",
    "qkv_dim": 8,
    "encoder": {"embed_dim": 12, "layers": [{"ffn_dim": 16, "self_attn_heads": 2}] * 2},
    "decoder": {
        "embed_dim": 8,
        "layers": [{"ffn_dim": 16, "self_attn_heads": 2, "cross_attn_heads": 1, "attended_encoder_layers": 2}],
    },
}


def sentences(count: int, seed: int, words: int = 12) -> tuple[list[str], list[str]]:
    """Source and target lines."""
    rng = random.Random(seed)
    drawn = [[rng.randrange(words) for _ in range(rng.randint(2, 9))] for _ in range(count)]
    return (
        [" ".join(f"s{word}" for word in sentence) for sentence in drawn],
        [" ".join(f"t{word}" for word in reversed(sentence)) for sentence in drawn],
    )


def write_lines(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def make_data(folder: Path, joint: bool = False, words: int = 12) -> Path:
    """A data-bin folder with 120 training pairs, 12 for validation and 12 to test."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = {}
    for seed, (split, count) in enumerate({"train": 120, "valid": 12, "test": 12}.items()):
        source, target = sentences(count, seed, words)
        pairs[split] = {
            "source": write_lines(folder / f"{split}.source", source),
            "target": write_lines(folder / f"{split}.target", target),
        }
    settings = {
        "output": str(folder / "bin"),
        "source_language": "aa",
        "target_language": "bb",
        "train": pairs["train"],
        "valid": pairs["valid"],
        "test": {"test": pairs["test"]},
        "tokenizer": {"kind": "whitespace"},
        "vocabulary": {"joint": joint},
    }
    return prepare(validate(PrepareConfig, settings, where="tiny task"))


def training(**changes: Any) -> dict[str, Any]:
    """A recipe in which all that a resumed run must get right takes part: dropout goes with the model."""
    return {
        "max_updates": 40,
        "max_tokens": 60,
        "accumulate": 2,
        "device": "cpu",
        "threads": 1,
        "optimizer": {"kind": "adamw", "weight_decay": 0.01, "clip_norm": 1.0},
        "schedule": {"kind": "inverse_sqrt", "peak": 0.01, "warmup_updates": 10},
        "log_every": 1,
        "validate_every": 15,
        "checkpoint_every": 6,
        "keep_last": 3,
    } | changes


def super_settings(data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output": str(output),
        "data": str(data),
        "space": SPACE,
        "model": {"share_embeddings": "none", "dropout": 0.2, "attention_dropout": 0.1, "activation_dropout": 0.1},
        "training": training(**changes),
    }


def sub_settings(data: Path, output: Path, architecture: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output": str(output),
        "data": str(data),
        "architecture": str(architecture),
        "model": {"share_embeddings": "none", "dropout": 0.2, "attention_dropout": 0.1, "activation_dropout": 0.1},
        "training": training(**changes),
    }


def write_yaml(path: Path, values: Mapping[str, Any]) -> str:
    path.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")
    return str(path)


def make_predictor(
    output: Path,
    latency_ms: Callable[[Architecture], float],
    encoder_share: Callable[[Architecture], float] = lambda architecture: 0.5,
    rows: int = 80,
) -> Path:
    """A predictor trained on latencies of random SubTransformers of ``SPACE``, in a CSV of the public layout."""
    space, rng = SearchSpace.model_validate(SPACE), random.Random(1)
    lines = [",".join((*FEATURE_NAMES, *(f"latency_{kind}_{part}" for kind in ("mean", "std") for part in PARTS)))]
    for _ in range(rows):
        architecture = space.sample(rng)
        total_ms, share = latency_ms(architecture), encoder_share(architecture)
        lines.append(",".join(map(str, (*features(architecture), share * total_ms, (1 - share) * total_ms, 0.0, 0.0))))
    output.parent.mkdir(parents=True, exist_ok=True)
    dataset = write_lines(output.with_suffix(".csv"), lines)
    settings = {"dataset": dataset, "kind": "structured", "output": str(output)}
    train_predictor(validate(TrainPredictorConfig, settings, where="tiny predictor"))
    return output
