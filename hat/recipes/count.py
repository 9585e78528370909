"""Parameters and multiply-adds of an architecture file or a model folder. No torch: nothing is built or loaded."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from hat.artifacts import MODEL_FORMAT, SUPER_FORMAT, read_json
from hat.config import describe_validation_error, validate
from hat.errors import ConfigError, DataError
from hat.space import Architecture, SearchSpace
from hat.space.counting import ShareEmbeddings, count_multiply_adds, count_parameters


class Embeddings(BaseModel):
    """What an architecture leaves open and a model's ``config.json`` says; other keys of that file are not read."""

    source_vocab_size: int | None = Field(default=None, ge=0)
    """Number of source tokens; None leaves embeddings uncounted."""
    target_vocab_size: int | None = Field(default=None, ge=0)
    """Number of target tokens; None leaves embeddings and output projection uncounted."""
    share_embeddings: ShareEmbeddings = "all"
    """``all``: one matrix for source, target and output; ``decoder``: target and output share one; ``none``: three."""
    pre_norm: bool = False
    """Whether each stack ends with one more LayerNorm."""


def count(
    path: str | Path, embeddings: Embeddings | None = None, source_length: int = 30, target_length: int = 30
) -> dict[str, Any]:
    """Count parameters and multiply-adds.

    Args:
        path: an ``architecture.json``, or a model folder. A SuperTransformer counts with all its weights: as its
            largest SubTransformer, or more where the space's ``maximum`` says so.
        embeddings: for an architecture file, what it leaves open; must be None for a model, which knows it itself.
        source_length: tokens of the source sentence.
        target_length: tokens of the target sentence.

    Returns:
        An object for JSON: ``params`` and ``multiply_adds`` by part, and what they were counted for.

    Raises:
        DataError: if the file is missing or damaged.
        ConfigError: if the architecture breaks a rule, or ``embeddings`` do not go with it.
    """
    path = Path(path)
    config = path / "config.json" if path.is_dir() else path
    values = read_json(config, "an architecture or a model's config.json")
    if values.get("format") in (MODEL_FORMAT, SUPER_FORMAT):
        if embeddings is not None:
            raise ConfigError(f"{path}: is a model, which knows its vocabulary and options; leave those flags out.")
        architecture, embeddings = _read_model(values, config)
    elif path.is_dir():
        formats = f"{MODEL_FORMAT}, {SUPER_FORMAT}"
        raise DataError(f'{config}: "format" must be one of {formats}, is {values.get("format")!r}.')
    else:
        architecture, embeddings = Architecture.from_dict(values, where=str(path)), embeddings or Embeddings()
    try:
        parameters = count_parameters(architecture, **embeddings.model_dump())
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from None
    operations = count_multiply_adds(architecture, source_length, target_length, embeddings.target_vocab_size)
    return {
        "params": {
            "total": parameters.total,
            "encoder": parameters.encoder,
            "decoder": parameters.decoder,
            "embedding": parameters.embedding,
            "output": parameters.output,
            "without_embeddings": parameters.without_embeddings,
        },
        "multiply_adds": {
            "total": operations.total,
            "encoder": operations.encoder,
            "decoder": operations.decoder,
            "output": operations.output,
            "without_output": operations.without_output,
        },
        "gflops_without_output": 2 * operations.without_output / 1e9,
        "counted_for": {
            "source_length": source_length,
            "target_length": target_length,
            **embeddings.model_dump(),
        },
    }


def _read_model(values: dict[str, Any], where: Path) -> tuple[Architecture, Embeddings]:
    if values["format"] == SUPER_FORMAT:
        architecture = validate(SearchSpace, values.get("space"), where=f"{where}: space").super_architecture()
    else:
        architecture = Architecture.from_dict(values.get("architecture"), where=f"{where}: architecture")
    try:
        embeddings = Embeddings.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{where}: {describe_validation_error(Embeddings, error)}") from None
    for name in ("source_vocab_size", "target_vocab_size"):
        if getattr(embeddings, name) is None:
            raise DataError(f"{where}: {name}: is required and has no value")
    return architecture, embeddings
