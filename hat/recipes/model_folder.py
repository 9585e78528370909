"""Which model a folder holds: a standalone one, or one SubTransformer of a SuperTransformer."""

from pathlib import Path

from hat.artifacts import read_json
from hat.data.codec import TextCodec
from hat.errors import ConfigError
from hat.nn import SuperTransformer, Transformer
from hat.space import Architecture


def load_model(folder: Path, architecture: Path | None) -> tuple[Transformer, TextCodec]:
    """The standalone model in ``folder``, or ``architecture`` extracted from the SuperTransformer there.

    Raises:
        ConfigError: if a SuperTransformer comes without an architecture, or a standalone model with one.
        DataError: if a file is missing or damaged.
    """
    is_super = str(read_json(folder / "config.json", "a model's config.json").get("format", "")).startswith("hat.super")
    if is_super and architecture is None:
        raise ConfigError(f"{folder}: holds a SuperTransformer; say which SubTransformer with architecture=FILE.json.")
    if not is_super and architecture is not None:
        raise ConfigError(
            f"{folder}: holds a standalone model, which has its own architecture; leave architecture out."
        )
    codec = TextCodec.load(folder / "tokenizer")
    if architecture is None:
        return Transformer.from_pretrained(folder), codec
    return SuperTransformer.from_pretrained(folder).extract(Architecture.from_json(architecture)), codec
