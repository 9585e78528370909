"""What one SubTransformer looks like: a frozen value without weights, and its JSON file."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hat.artifacts import read_json, write_json
from hat.config import describe_validation_error, shorten
from hat.errors import ConfigError

FORMAT = "hat.architecture/1"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EncoderLayerSpec(_Value):
    """One active encoder layer."""

    ffn_dim: int = Field(gt=0)
    self_attn_heads: int = Field(gt=0)


class DecoderLayerSpec(_Value):
    """One active decoder layer."""

    ffn_dim: int = Field(gt=0)
    self_attn_heads: int = Field(gt=0)
    cross_attn_heads: int = Field(gt=0)
    attended_encoder_layers: int = Field(gt=0)
    """How many encoder layers the cross-attention sees: the last n active ones."""


class EncoderSpec(_Value):
    """The encoder: its width and its active layers, first layer first."""

    embed_dim: int = Field(gt=0)
    layers: tuple[EncoderLayerSpec, ...] = Field(min_length=1, strict=False)  # JSON has lists, no tuples


class DecoderSpec(_Value):
    """The decoder: its width and its active layers, first layer first."""

    embed_dim: int = Field(gt=0)
    layers: tuple[DecoderLayerSpec, ...] = Field(min_length=1, strict=False)


class Architecture(_Value):
    """One SubTransformer: widths, depths and every layer's choices; equal values describe equal networks.

    Rules: every number of heads divides ``qkv_dim``; no decoder layer attends more encoder layers than there are.

    Source: HAT (arXiv:2005.14187), section 2.1; the file layout is this project's own.
    """

    qkv_dim: int = Field(gt=0)
    encoder: EncoderSpec
    decoder: DecoderSpec

    @model_validator(mode="after")
    def _check(self) -> "Architecture":
        depth = len(self.encoder.layers)
        for stack, layers in (("encoder", self.encoder.layers), ("decoder", self.decoder.layers)):
            for index, layer in enumerate(layers):
                for knob in ("self_attn_heads", "cross_attn_heads"):
                    heads = getattr(layer, knob, 1)
                    if self.qkv_dim % heads:
                        raise ValueError(
                            f"{stack}.layers.{index}.{knob} must divide qkv_dim ({self.qkv_dim}), is {heads}"
                        )
        for index, layer in enumerate(self.decoder.layers):
            if layer.attended_encoder_layers > depth:
                raise ValueError(
                    f"decoder.layers.{index}.attended_encoder_layers must be at most the number of encoder layers "
                    f"({depth}), is {layer.attended_encoder_layers}"
                )
        return self

    @classmethod
    def from_dict(cls, values: object, where: str = "architecture") -> "Architecture":
        """The architecture a JSON object describes; ``where`` starts the message of a ConfigError.

        A ``"found"`` object, which ``hat-search`` adds, is left out: it says nothing about the network.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: must be an architecture (a JSON object), is {shorten(values)}.")
        values = dict(values)
        found_format = values.pop("format", None)
        if found_format != FORMAT:
            raise ConfigError(f'{where}: "format" must be "{FORMAT}", is {shorten(found_format)}.')
        values.pop("found", None)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{where}: {describe_validation_error(cls, error)}") from None

    @classmethod
    def from_json(cls, path: str | Path) -> "Architecture":
        """Read an ``architecture.json``. Raises DataError or ConfigError, naming the file and the key."""
        return cls.from_dict(read_json(path, "an architecture (JSON)"), where=str(path))

    def to_dict(self, found: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object of this architecture; ``found`` is what a search knows about it."""
        values = {"format": FORMAT, **self.model_dump(mode="json")}
        return values if found is None else {**values, "found": found}

    def to_json(self, path: str | Path, found: dict[str, Any] | None = None) -> None:
        """Write an ``architecture.json`` atomically."""
        write_json(path, self.to_dict(found))

    def __str__(self) -> str:
        """Short form for logs: ``enc 512x6 dec 640x3``, width times depth."""
        encoder, decoder = self.encoder, self.decoder
        return f"enc {encoder.embed_dim}x{len(encoder.layers)} dec {decoder.embed_dim}x{len(decoder.layers)}"
