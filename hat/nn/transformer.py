"""The SuperTransformer, which shares its weights among all SubTransformers, and the standalone Transformer.

Both are the same encoder and decoder. A SuperTransformer is told an :class:`Architecture` in every call and hands it
down to the layers; a Transformer is one SubTransformer, built at exactly its own sizes, and passes its own.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hat.artifacts import atomic_path, make_folder, read_json, write_json
from hat.config import Section, describe_validation_error
from hat.errors import ConfigError, DataError
from hat.nn.attention import CrossAttention
from hat.nn.dropout import Dropout, dropout
from hat.nn.elastic import ElasticEmbedding, ElasticLayerNorm, ElasticLinear, SinusoidalPositions, leading
from hat.nn.layers import Decoder, DecoderState, Encoded, Encoder, padding_bias
from hat.space import Architecture, SearchSpace
from hat.special_ids import PAD_ID

Probability = Field(default=0.0, ge=0.0, lt=1.0)


class ModelOptions(Section):
    """What is the same in all SubTransformers of a SuperTransformer."""

    share_embeddings: Literal["all", "decoder", "none"] = "all"
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


class _EncoderDecoder(nn.Module):
    """What a SuperTransformer and a standalone Transformer have in common: everything but who names the sizes.

    Args:
        sizes: the sizes to build.
        maximum: the SuperTransformer's widths.
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        options: what all SubTransformers share.
    """

    def __init__(
        self,
        sizes: Architecture,
        maximum: MaximumDims,
        source_vocab_size: int,
        target_vocab_size: int,
        options: ModelOptions,
    ) -> None:
        super().__init__()
        for name, size in (("source_vocab_size", source_vocab_size), ("target_vocab_size", target_vocab_size)):
            if size < 1:
                raise ConfigError(f"{name}: must be at least 1, is {size}.")
        self.sizes = sizes
        self.maximum = maximum
        self.options = options
        self.source_vocab_size = source_vocab_size
        self.target_vocab_size = target_vocab_size
        encoder_dim, decoder_dim = sizes.encoder.embed_dim, sizes.decoder.embed_dim
        if options.share_embeddings == "all":
            if source_vocab_size != target_vocab_size:
                raise ConfigError(
                    "share_embeddings: 'all' needs one joint vocabulary, but source_vocab_size is "
                    f"{source_vocab_size} and target_vocab_size is {target_vocab_size}; use 'decoder' or 'none'."
                )
            self.source_embedding = ElasticEmbedding(source_vocab_size, max(encoder_dim, decoder_dim))
            self.target_embedding = self.source_embedding
        else:
            self.source_embedding = ElasticEmbedding(source_vocab_size, encoder_dim)
            self.target_embedding = ElasticEmbedding(target_vocab_size, decoder_dim)
        self.output_embedding = (
            ElasticEmbedding(target_vocab_size, decoder_dim)
            if options.share_embeddings == "none"
            else self.target_embedding
        )
        self.encoder_positions = SinusoidalPositions(maximum.encoder, encoder_dim)
        self.decoder_positions = SinusoidalPositions(maximum.decoder, decoder_dim)
        self.encoder = Encoder(sizes.qkv_dim, sizes.encoder, options.pre_norm)
        self.decoder = Decoder(sizes.qkv_dim, sizes.decoder, encoder_dim, options.pre_norm)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights: Xavier uniform, zero biases, embeddings N(0, max_dim^-1/2), padding row zero.

        Fused projections draw from the bound of the fused matrix, as the authors' program does; its cross-attention
        is fused where encoder and decoder have the same maximum width.
        """
        for module in self.modules():
            if isinstance(module, ElasticLinear):
                _xavier_uniform(module.weight, sum(module.weight.shape), generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, ElasticLayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, ElasticEmbedding):
                module.weight.normal_(0.0, module.weight.size(1) ** -0.5, generator=generator)
                module.weight[PAD_ID : PAD_ID + 1].zero_()
        for module in self.modules():
            if isinstance(module, CrossAttention):
                self._reset_cross_attention(module, generator)

    def _reset_cross_attention(self, cross: CrossAttention, generator: torch.Generator | None) -> None:
        fused = self.maximum.encoder == self.maximum.decoder
        fan = self.maximum.encoder + (3 if fused else 1) * cross.qkv_dim
        for weight in cross.kv_proj.weight.chunk(2):
            _xavier_uniform(weight, fan, generator)
        if fused:
            _xavier_uniform(cross.q_proj.weight, fan, generator)

    def _encode(self, source: Tensor, architecture: Architecture) -> Encoded:
        dim = architecture.encoder.embed_dim
        x = self.source_embedding(source, dim) * math.sqrt(self._scale_dim(dim, self.maximum.encoder))
        x = x + self.encoder_positions(0, source.size(1), dim)
        probs = self._dropout(dim / self.maximum.encoder)
        x = dropout(x, probs.residual)
        return self.encoder(x, architecture.encoder, padding_bias(source, PAD_ID), probs)

    def _embed_target(self, tokens: Tensor, start: int, dim: int) -> Tensor:
        x = self.target_embedding(tokens, dim) * math.sqrt(self._scale_dim(dim, self.maximum.decoder))
        return x + self.decoder_positions(start, tokens.size(1), dim)

    def _hidden(self, source: Tensor, target_in: Tensor, architecture: Architecture) -> Tensor:
        encoded = self._encode(source, architecture)
        dim = architecture.decoder.embed_dim
        probs = self._dropout(dim / self.maximum.decoder)
        x = dropout(self._embed_target(target_in, 0, dim), probs.residual)
        return self.decoder(x, architecture.decoder, encoded, probs)

    def _scale_dim(self, active: int, maximum: int) -> int:
        return active if self.options.embed_scale == "active" else maximum

    def _dropout(self, ratio: float) -> Dropout:
        """This pass's probabilities for a stack whose active width is ``ratio`` of its maximum."""
        if not self.training:
            return Dropout()
        options = self.options
        return Dropout(options.dropout * ratio, options.attention_dropout, options.activation_dropout * ratio)

    def output_weight(self, dim: int) -> Tensor:
        """The output projection of a decoder of width ``dim``, shape (V, dim); it carries gradients."""
        weight = self.output_embedding.weight
        return leading(weight, weight.size(0), dim)

    def weights(self) -> dict[str, Tensor]:
        """All weights by name, shared ones once. They are the model's own, not copies."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    def load_weights(self, weights: dict[str, Tensor], where: str) -> None:
        """Copy ``weights`` in; names and shapes must match exactly. ``where`` starts the DataError's message."""
        own = self.weights()
        if missing := sorted(own.keys() - weights.keys()):
            raise DataError(f"{where}: lacks {len(missing)} weights of this model, for example '{missing[0]}'.")
        if unknown := sorted(weights.keys() - own.keys()):
            raise DataError(
                f"{where}: holds {len(unknown)} weights this model has no place for, such as '{unknown[0]}'."
            )
        for name, weight in own.items():
            if weight.shape != weights[name].shape:
                raise DataError(
                    f"{where}: '{name}' must have shape {list(weight.shape)}, has {list(weights[name].shape)}."
                )
        for module in self.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.is_meta:  # built by _load, without memory of its own
                    setattr(module, name, nn.Parameter(torch.empty_like(parameter, device="cpu")))
        for name, weight in self.weights().items():
            weight.copy_(weights[name])

    def _save(self, folder: str | Path, config: dict[str, Any]) -> None:
        folder = make_folder(folder)
        with atomic_path(folder / "model.safetensors") as temporary:
            temporary.write_bytes(save({name: weight.contiguous() for name, weight in self.weights().items()}))
        write_json(folder / "config.json", config)


def _xavier_uniform(weight: Tensor, fan_in_plus_out: int, generator: torch.Generator | None) -> None:
    bound = math.sqrt(6.0 / fan_in_plus_out)
    weight.uniform_(-bound, bound, generator=generator)


class _SuperTransformerFile(ModelOptions):
    format: Literal["hat.super_transformer/1"]
    space: SearchSpace
    source_vocab_size: int
    target_vocab_size: int


class _TransformerFile(ModelOptions):
    format: Literal["hat.transformer/1"]
    architecture: dict[str, Any]
    maximum_embed_dim: MaximumDims
    source_vocab_size: int
    target_vocab_size: int


class Transformer(_EncoderDecoder):
    """A standalone encoder-decoder Transformer whose layers may differ: one SubTransformer, its own weights only.

    Args:
        architecture: its sizes.
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        maximum_embed_dim: widths of the SuperTransformer whose SubTransformer this is; they fix the position signals
            and the scale of dropout. Left out, they are the architecture's own.
        options: the fields of :class:`ModelOptions`.

    Raises:
        ConfigError: if an option is unknown or breaks a rule.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        source_vocab_size: int,
        target_vocab_size: int,
        maximum_embed_dim: MaximumDims | None = None,
        **options: Any,
    ) -> None:
        encoder_dim, decoder_dim = architecture.encoder.embed_dim, architecture.decoder.embed_dim
        maximum = maximum_embed_dim or MaximumDims(encoder=encoder_dim, decoder=decoder_dim)
        if maximum.encoder < encoder_dim or maximum.decoder < decoder_dim:
            raise ConfigError(
                f"maximum_embed_dim: must be at least the architecture's widths ({encoder_dim} and {decoder_dim}), "
                f"is {maximum.encoder} and {maximum.decoder}."
            )
        checked = _options(options)
        super().__init__(architecture, maximum, source_vocab_size, target_vocab_size, checked)
        self.architecture = architecture

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        """Score every next token, teacher-forced.

        Args:
            source: token ids (B, S), padded on the right.
            target_in: target token ids shifted right (B, T), starting with the end symbol, padded on the right.

        Returns:
            Logits (B, T, V).
        """
        return self.output_embedding.logits(self.hidden(source, target_in))

    def hidden(self, source: Tensor, target_in: Tensor) -> Tensor:
        """The decoder's output (B, T, D) before the output projection, for losses that never need all logits."""
        return self._hidden(source, target_in, self.architecture)

    def encode(self, source: Tensor) -> Encoded:
        """Run the encoder on token ids (B, S), padded on the right."""
        return self._encode(source, self.architecture)

    def start(self, encoded: Encoded, beam: int) -> DecoderState:
        """The decoding state before the first step, for ``beam`` hypotheses a sentence (N = B times beam rows)."""
        return self.decoder.start(encoded, self.architecture.decoder, beam)

    def step(self, tokens: Tensor, state: DecoderState) -> Tensor:
        """Logits (N, V) of the next token after ``tokens`` (N,); ``state`` is brought up to date."""
        spec = self.architecture.decoder
        x = self._embed_target(tokens[:, None], state.position, spec.embed_dim)
        return self.output_embedding.logits(self.decoder.step(x, spec, state)[:, 0])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` atomically."""
        values = {
            "format": "hat.transformer/1",
            "architecture": self.architecture.to_dict(),
            "maximum_embed_dim": self.maximum.model_dump(),
            "source_vocab_size": self.source_vocab_size,
            "target_vocab_size": self.target_vocab_size,
            **self.options.model_dump(),
        }
        self._save(folder, values)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Transformer":
        """Read a folder that :meth:`save_pretrained` wrote. Raises DataError or ConfigError naming the file."""
        file = _read_config(Path(folder), _TransformerFile)
        architecture = Architecture.from_dict(file.architecture, where=str(Path(folder) / "config.json"))
        build = partial(cls, architecture, maximum_embed_dim=file.maximum_embed_dim)
        return _load(build, file, Path(folder))


class SuperTransformer(_EncoderDecoder):
    """One set of weights for every SubTransformer of a space: each uses leading blocks of the first layers.

    Args:
        space: which SubTransformers there are.
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        options: the fields of :class:`ModelOptions`, such as ``share_embeddings="none"``.

    Raises:
        ConfigError: if an option is unknown or breaks a rule.

    Source: HAT (arXiv:2005.14187), section 2.2.
    """

    def __init__(self, space: SearchSpace, *, source_vocab_size: int, target_vocab_size: int, **options: Any) -> None:
        sizes = space.super_architecture()
        maximum = MaximumDims(encoder=sizes.encoder.embed_dim, decoder=sizes.decoder.embed_dim)
        super().__init__(sizes, maximum, source_vocab_size, target_vocab_size, _options(options))
        self.space = space

    def forward(self, source: Tensor, target_in: Tensor, architecture: Architecture) -> Tensor:
        """Score every next token with one SubTransformer, in place, teacher-forced.

        Args:
            source: token ids (B, S), padded on the right.
            target_in: target token ids shifted right (B, T), starting with the end symbol, padded on the right.
            architecture: which SubTransformer; it must fit into the SuperTransformer's sizes.

        Returns:
            Logits (B, T, V).

        Raises:
            ConfigError: if ``architecture`` is larger than the SuperTransformer.
        """
        return self.output_embedding.logits(self.hidden(source, target_in, architecture))

    def hidden(self, source: Tensor, target_in: Tensor, architecture: Architecture) -> Tensor:
        """The decoder's output (B, T, D) before the output projection, for losses that never need all logits."""
        self._check_fits(architecture)
        return self._hidden(source, target_in, architecture)

    def extract(self, architecture: Architecture) -> Transformer:
        """The SubTransformer as a standalone model with a copy of its own weights, and nothing else.

        Every weight of a SubTransformer is the leading block of the SuperTransformer's weight of the same name.
        """
        self._check_fits(architecture)
        net = Transformer(
            architecture,
            source_vocab_size=self.source_vocab_size,
            target_vocab_size=self.target_vocab_size,
            maximum_embed_dim=self.maximum,
            **self.options.model_dump(),
        )
        own = self.weights()
        reference = next(iter(own.values()))
        net.to(reference.device, reference.dtype)
        net.load_weights({name: leading(own[name], *w.shape) for name, w in net.weights().items()}, "extract")
        return net.train(self.training)

    def _check_fits(self, architecture: Architecture) -> None:
        problem = _too_large(architecture, self.sizes)
        if problem is not None:
            raise ConfigError(f"architecture: does not fit into this SuperTransformer: {problem}.")

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` atomically."""
        values = {
            "format": "hat.super_transformer/1",
            "space": self.space.model_dump(mode="json"),
            "source_vocab_size": self.source_vocab_size,
            "target_vocab_size": self.target_vocab_size,
            **self.options.model_dump(),
        }
        self._save(folder, values)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "SuperTransformer":
        """Read a folder that :meth:`save_pretrained` wrote. Raises DataError or ConfigError naming the file."""
        file = _read_config(Path(folder), _SuperTransformerFile)
        return _load(partial(cls, file.space), file, Path(folder))


def _options(values: dict[str, Any]) -> ModelOptions:
    try:
        return ModelOptions(**values)
    except ValidationError as error:
        raise ConfigError(f"model: {describe_validation_error(ModelOptions, error)}.") from None


def _too_large(architecture: Architecture, sizes: Architecture) -> str | None:
    """Which size of ``architecture`` exceeds ``sizes``, in words; None when it fits."""
    if architecture.qkv_dim != sizes.qkv_dim:
        return f"qkv_dim must be {sizes.qkv_dim}, is {architecture.qkv_dim}"
    for name in ("encoder", "decoder"):
        stack, bound = getattr(architecture, name), getattr(sizes, name)
        if stack.embed_dim > bound.embed_dim:
            return f"{name}.embed_dim must be at most {bound.embed_dim}, is {stack.embed_dim}"
        if len(stack.layers) > len(bound.layers):
            return f"{name} must have at most {len(bound.layers)} layers, has {len(stack.layers)}"
        for index, (layer, limit) in enumerate(zip(stack.layers, bound.layers, strict=False)):
            if layer.ffn_dim > limit.ffn_dim:
                return f"{name}.layers.{index}.ffn_dim must be at most {limit.ffn_dim}, is {layer.ffn_dim}"
    return None


FileType = TypeVar("FileType", _TransformerFile, _SuperTransformerFile)
ModelType = TypeVar("ModelType", Transformer, SuperTransformer)


def _read_config(folder: Path, schema: type[FileType]) -> FileType:
    path = folder / "config.json"
    values = read_json(path, "a model's config.json")
    expected = schema.model_fields["format"].annotation.__args__[0]  # type: ignore[union-attr]
    if values.get("format") != expected:
        raise DataError(f'{path}: "format" must be "{expected}", is {json.dumps(values.get("format"))}.')
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{path}: {describe_validation_error(schema, error)}.") from None


def _load(build: Callable[..., ModelType], file: _TransformerFile | _SuperTransformerFile, folder: Path) -> ModelType:
    """The model that a ``config.json`` describes, with the weights beside it, in evaluation mode."""
    weights, where = _read_weights(folder)
    options = {name: getattr(file, name) for name in ModelOptions.model_fields}
    try:
        # Without memory until the weights are found to have these sizes, and without drawing weights to overwrite.
        with torch.device("meta"):
            model = build(source_vocab_size=file.source_vocab_size, target_vocab_size=file.target_vocab_size, **options)
    except ConfigError as error:
        raise DataError(f"{folder / 'config.json'}: {error}") from None
    except (RuntimeError, OverflowError):  # torch cannot count the elements
        raise DataError(f"{folder / 'config.json'}: the sizes of the model must be possible ones, are not.") from None
    model.load_weights(weights, where)
    return model.eval()


def _read_weights(folder: Path) -> tuple[dict[str, Tensor], str]:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise DataError(f"{path}: no such file; the weights of a model are expected here.")
    try:
        return load_file(path), str(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as weights (damaged or truncated?): {error}.") from None
