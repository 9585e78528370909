"""Model folders: ``config.json`` and ``model.safetensors``, written atomically and read with errors made for people."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from hat.artifacts import MODEL_FORMAT, SUPER_FORMAT, atomic_path, make_folder, read_json, write_json
from hat.config import describe_validation_error
from hat.errors import ConfigError, DataError
from hat.nn.encoder_decoder import EncoderDecoder
from hat.nn.options import MaximumDims, ModelOptions
from hat.space import SearchSpace

MODEL_FILES = CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
"""The files of a model folder, beside its ``tokenizer/``."""
TOKENIZER_FOLDER = "tokenizer"

VocabularySize = Annotated[int, Field(gt=0, lt=2**31)]


class SuperTransformerFile(ModelOptions):
    """The ``config.json`` of a SuperTransformer."""

    FORMAT: ClassVar[str] = SUPER_FORMAT
    format: str
    space: SearchSpace
    source_vocab_size: VocabularySize
    target_vocab_size: VocabularySize


class TransformerFile(ModelOptions):
    """The ``config.json`` of a standalone Transformer."""

    FORMAT: ClassVar[str] = MODEL_FORMAT
    format: str
    architecture: dict[str, Any]
    maximum_embed_dim: MaximumDims
    source_vocab_size: VocabularySize
    target_vocab_size: VocabularySize


FileType = TypeVar("FileType", TransformerFile, SuperTransformerFile)
ModelType = TypeVar("ModelType", bound=EncoderDecoder)


def read_config(folder: Path, schema: type[FileType]) -> FileType:
    """The checked ``config.json`` of a model folder. Raises DataError naming the file and the key."""
    path = folder / CONFIG_FILE
    values = read_json(path, "a model's config.json")
    if values.get("format") != schema.FORMAT:
        raise DataError(f'{path}: "format" must be "{schema.FORMAT}", is {json.dumps(values.get("format"))}.')
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{path}: {describe_validation_error(schema, error)}.") from None


def load_model(
    build: Callable[..., ModelType], file: TransformerFile | SuperTransformerFile, folder: Path
) -> ModelType:
    """The model that a ``config.json`` describes, with the weights beside it, in evaluation mode."""
    path = folder / WEIGHTS_FILE
    weights = read_weights(path)
    options = {name: getattr(file, name) for name in ModelOptions.model_fields}
    try:
        # Without memory until the weights are found to have these sizes, and without drawing weights to overwrite.
        with torch.device("meta"):
            model = build(source_vocab_size=file.source_vocab_size, target_vocab_size=file.target_vocab_size, **options)
    except ConfigError as error:
        raise DataError(f"{folder / CONFIG_FILE}: {error}") from None
    except (RuntimeError, OverflowError):  # torch cannot count the elements
        raise DataError(f"{folder / CONFIG_FILE}: the sizes of the model must be possible ones, are not.") from None
    model.load_weights(weights, str(path))
    if (folder / TOKENIZER_FOLDER).is_dir():
        model.tokenizer_folder = (folder / TOKENIZER_FOLDER).resolve()
    return model.eval()


def save_model(model: EncoderDecoder, folder: str | Path, config: dict[str, Any]) -> None:
    """Write a model folder; ``config`` is what ``config.json`` says beside the options and the vocabulary sizes.

    A model that is there already stays until the new weights are complete; from then on until the end it is none.

    Raises:
        ConfigError: if a tokeniser is in the folder, and the model has none: it may be that of another vocabulary.
        DataError: if the model's own tokeniser is not there any more.
    """
    folder, tokenizer = make_folder(folder), model.tokenizer_folder
    _check_tokenizer(tokenizer)
    if tokenizer is None and (folder / TOKENIZER_FOLDER).exists():
        raise ConfigError(
            f"{folder}: holds the tokeniser of an earlier model, and this model has none; choose another folder, or "
            "set tokenizer_folder of the model."
        )
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(_as_bytes(model.weights()))
        (folder / CONFIG_FILE).unlink(missing_ok=True)
        if tokenizer is not None:
            copy_tokenizer(tokenizer, folder)
    sizes = {"source_vocab_size": model.source_vocab_size, "target_vocab_size": model.target_vocab_size}
    write_json(folder / CONFIG_FILE, {**config, **sizes, **model.options.model_dump()})


def copy_tokenizer(tokenizer: Path, folder: Path) -> None:
    """Give a model folder its ``tokenizer/``, so that it can translate text on its own. Raises DataError."""
    target = make_folder(folder) / TOKENIZER_FOLDER
    _check_tokenizer(tokenizer)
    if tokenizer.resolve() != target.resolve() and _files(tokenizer) != _files(target):
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(tokenizer, target)


def _files(folder: Path) -> dict[Path, bytes]:
    """What is below ``folder``, by relative path."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _check_tokenizer(folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: no such folder; the tokeniser of a model is expected here.")


def _as_bytes(weights: Mapping[str, Tensor]) -> bytes:
    return save({name: weight.contiguous() for name, weight in weights.items()})


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write one file of weights atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_as_bytes(weights))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in one file. Raises DataError when it is missing or damaged."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; the weights of a model are expected here.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as weights (damaged or truncated?): {error}.") from None
