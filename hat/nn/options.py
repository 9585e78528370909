"""What all SubTransformers of a SuperTransformer share, whatever their sizes."""

from typing import Any, Literal

from pydantic import Field, ValidationError

from hat.config import Section, describe_validation_error
from hat.errors import ConfigError
from hat.space.counting import ShareEmbeddings

Probability = Field(default=0.0, ge=0.0, lt=1.0)


class ModelOptions(Section):
    """What is the same in all SubTransformers of a SuperTransformer."""

    share_embeddings: ShareEmbeddings = "all"
    """``all``: one matrix for source, target and output (needs one joint vocabulary); ``decoder``: target and output
    share one; ``none``: three matrices."""
    pre_norm: bool = False
    """LayerNorm before each block instead of after the addition."""
    embed_scale: Literal["active", "maximum"] = "active"
    """Embeddings are multiplied by the square root of the active width, or of the SuperTransformer's width."""
    dropout: float = Probability
    """Probability at the SuperTransformer's width; a SubTransformer's is scaled by active over maximum width."""
    attention_dropout: float = Probability
    """Dropout of attention weights, not scaled."""
    activation_dropout: float = Probability
    """Dropout after the ReLU, scaled like ``dropout``."""


class MaximumDims(Section):
    """Widths of the SuperTransformer a model belongs to: they fix its position signals and its dropout."""

    encoder: int = Field(gt=0)
    decoder: int = Field(gt=0)


def model_options(values: dict[str, Any]) -> ModelOptions:
    """The checked options. Raises ConfigError when one is unknown or breaks a rule."""
    try:
        return ModelOptions(**values)
    except ValidationError as error:
        raise ConfigError(f"model: {describe_validation_error(ModelOptions, error)}.") from None
