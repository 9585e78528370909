"""How large networks are: parameters and multiply-adds, for the vocabulary and the sentences of their run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from hat.artifacts import read_json
from hat.report.records import number, section
from hat.report.runs import Run
from hat.space import Architecture
from hat.space.counting import ShareEmbeddings, count_multiply_adds, count_parameters

_LENGTH = 30  # tokens of the paper's WMT sentences, where a run does not know better


@dataclass(frozen=True)
class Sizes:
    """What a network holds and computes."""

    parameters: int | None
    """All of a standalone model; None where the vocabulary is not known."""
    without_embeddings: int
    """What the paper's tables count."""
    multiply_adds: int
    """Of one teacher-forced pass; with the projection to the vocabulary where its size is known."""
    source_length: int
    """Tokens of the sentence that is counted for."""
    target_length: int
    """Likewise."""


def sizes_of(run: Run, architecture: Architecture) -> Sizes:
    """Count a network that a search found, as a part of the SuperTransformer and for the call that was timed."""
    folder, predictor = run.locate("supertransformer"), run.locate("predictor")
    model = _read(folder, "config.json", "a model's config.json")
    device = section(_read(predictor, "predictor.json", "a latency predictor"), "device", predictor)
    call = section(device, "settings", predictor)
    lengths = [_count(call, name, predictor) or _LENGTH for name in ("source_length", "target_length")]
    target_vocab_size = _count(model, "target_vocab_size", folder)
    return Sizes(
        parameters=_parameters(architecture, model, folder),
        without_embeddings=count_parameters(architecture, pre_norm=model.get("pre_norm") is True).without_embeddings,
        multiply_adds=count_multiply_adds(architecture, lengths[0], lengths[1], target_vocab_size).total,
        source_length=lengths[0],
        target_length=lengths[1],
    )


def _parameters(architecture: Architecture, model: dict[str, Any], where: Path | None) -> int | None:
    source, target = (_count(model, f"{side}_vocab_size", where) for side in ("source", "target"))
    share = model.get("share_embeddings")
    if source is None or target is None or share not in get_args(ShareEmbeddings):
        return None
    pre_norm = model.get("pre_norm") is True
    try:
        counted = count_parameters(architecture, source, target, cast(ShareEmbeddings, share), pre_norm)
    except ValueError:  # sizes that no model has
        return None
    return counted.total


def _read(folder: Path | None, name: str, what: str) -> dict[str, Any]:
    path = None if folder is None else folder / name
    return {} if path is None or not path.exists() else read_json(path, what)


def _count(values: dict[str, Any], key: str, where: Path | None) -> int | None:
    value = number(values, key, where)
    return None if value is None or not value.is_integer() or value < 0 else int(value)
