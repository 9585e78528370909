"""Which model a folder holds: a standalone one, or one SubTransformer of a SuperTransformer."""

from pathlib import Path

from hat.artifacts import SUPER_FORMAT, read_json
from hat.data.codec import TextCodec
from hat.errors import ConfigError
from hat.nn import SuperTransformer, Transformer
from hat.space import Architecture, SearchSpace


def read_member(path: Path, space: SearchSpace) -> Architecture:
    """The architecture in ``path``, which ``space`` must hold: weights for other choices were never trained.

    Raises:
        ConfigError: if it does not, naming the file and the choice.
        DataError: if the file is missing or damaged.
    """
    architecture = Architecture.from_json(path)
    problem = space.why_not(architecture)
    if problem is not None:
        raise ConfigError(f"{path}: must be a member of the search space: {problem}.")
    return architecture


def load_model(folder: Path, architecture: Path | None) -> tuple[Transformer, TextCodec]:
    """The standalone model in ``folder``, or ``architecture`` extracted from the SuperTransformer there.

    Raises:
        ConfigError: if a SuperTransformer comes without an architecture of its space, or a standalone model with one.
        DataError: if a file is missing or damaged.
    """
    is_super = read_json(folder / "config.json", "a model's config.json").get("format") == SUPER_FORMAT
    if is_super and architecture is None:
        raise ConfigError(f"{folder}: holds a SuperTransformer; say which SubTransformer with architecture=FILE.json.")
    if not is_super and architecture is not None:
        raise ConfigError(
            f"{folder}: holds a standalone model, which has its own architecture; leave architecture out."
        )
    codec = TextCodec.load(folder / "tokenizer")
    if architecture is None:
        return Transformer.from_pretrained(folder), codec
    model = SuperTransformer.from_pretrained(folder)
    return model.extract(read_member(architecture, model.space)), codec
