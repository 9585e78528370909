"""Which SubTransformers a SuperTransformer holds: the choices of every knob, read from YAML."""

import random
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from hat.config import Section, load_config, shorten
from hat.space.architecture import (
    Architecture,
    DecoderLayerSpec,
    DecoderSpec,
    EncoderLayerSpec,
    EncoderSpec,
)

Choices = tuple[int, ...]


def _stack_choices(value: object) -> Choices:
    """``[512, 640]``, or ``512`` for a single choice."""
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not numbers or not all(_is_positive(number) for number in numbers) or len(set(numbers)) != len(numbers):
        raise ValueError(f"must hold whole numbers above 0, each once, like [1, 2], is {shorten(value)}")
    return numbers


def _layer_choices(value: object) -> Choices | tuple[Choices, ...]:
    """``[512, 1024]`` for all layers alike, or one such list per layer."""
    if isinstance(value, list | tuple) and any(isinstance(item, list | tuple) for item in value):
        return tuple(_stack_choices(item) for item in value)
    return _stack_choices(value)


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


Positive = Annotated[int, Field(gt=0, strict=True)]
StackChoices = Annotated[Choices, BeforeValidator(_stack_choices)]
LayerChoices = Annotated[Choices | tuple[Choices, ...], BeforeValidator(_layer_choices)]


class EncoderSpace(Section):
    """The choices of the encoder. A layer knob is one list for all layers, or a list of lists, one per layer."""

    embed_dim: StackChoices
    """Widths of the whole stack."""
    num_layers: StackChoices
    """Depths: the first n layers are active."""
    ffn_dim: LayerChoices
    """Hidden widths of a layer's feed-forward network."""
    self_attn_heads: LayerChoices
    """Heads of a layer's self-attention."""


class DecoderSpace(EncoderSpace):
    """The choices of the decoder."""

    cross_attn_heads: LayerChoices
    """Heads of a layer's attention over the encoder."""
    attended_encoder_layers: LayerChoices
    """How many of the last active encoder layers a decoder layer's cross-attention sees."""


class EncoderMaximum(Section):
    """Size of the SuperTransformer's encoder where it is larger than every choice."""

    embed_dim: Positive | None = None
    num_layers: Positive | None = None
    ffn_dim: Positive | None = None


class Maximum(Section):
    """Size of the SuperTransformer where it is larger than every choice; what is left out follows the choices."""

    encoder: EncoderMaximum = EncoderMaximum()
    decoder: EncoderMaximum = EncoderMaximum()


class SearchSpace(Section):
    """All SubTransformers of one SuperTransformer.

    An architecture is a member when each of its knobs takes one of the choices given here. Choices of
    ``attended_encoder_layers`` above the active encoder depth are no members and are never sampled.

    Source: HAT (arXiv:2005.14187), sections 2.1 and 3.3. Elastic encoder depth and choices per layer go beyond it.
    """

    qkv_dim: Positive
    """Width of the query, key and value projections of every attention, the same in all SubTransformers."""
    encoder: EncoderSpace
    decoder: DecoderSpace
    maximum: Maximum = Maximum()

    @classmethod
    def from_yaml(cls, path: str | Path) -> "SearchSpace":
        """Read a space. Raises ConfigError, naming the file and the key."""
        return load_config(cls, path)

    @model_validator(mode="after")
    def _check(self) -> "SearchSpace":
        for name, stack in (("encoder", self.encoder), ("decoder", self.decoder)):
            self._check_stack(name, stack)
        shallowest = min(self.encoder.num_layers)
        for index, choices in enumerate(self.layer_choices("decoder", "attended_encoder_layers")):
            if min(choices) > shallowest:
                raise ValueError(
                    f"decoder.attended_encoder_layers must offer a choice of at most {shallowest}, the smallest "
                    f"encoder depth, for every layer; layer {index} offers {list(choices)}"
                )
        return self

    def _check_stack(self, name: str, stack: EncoderSpace) -> None:
        depth = max(stack.num_layers)
        for knob in type(stack).model_fields:
            choices = getattr(stack, knob)
            if isinstance(choices[0], tuple) and len(choices) != depth:
                raise ValueError(f"{name}.{knob} must have one list for each of the {depth} layers, has {len(choices)}")
            for heads in _flat(choices) if knob.endswith("heads") else ():
                if self.qkv_dim % heads:
                    raise ValueError(f"{name}.{knob} must divide qkv_dim ({self.qkv_dim}), is {heads}")
        maximum: EncoderMaximum = getattr(self.maximum, name)
        for knob in EncoderMaximum.model_fields:
            bound, largest = getattr(maximum, knob), max(_flat(getattr(stack, knob)))
            if bound is not None and bound < largest:
                raise ValueError(f"maximum.{name}.{knob} must be at least the largest choice ({largest}), is {bound}")

    def layer_choices(self, stack: str, knob: str) -> tuple[Choices, ...]:
        """The choices of a layer knob for every layer up to the greatest depth; ``stack`` is encoder or decoder."""
        section: EncoderSpace = getattr(self, stack)
        choices = getattr(section, knob)
        return choices if isinstance(choices[0], tuple) else (choices,) * max(section.num_layers)

    def build(self, choose: Callable[[Choices], int]) -> Architecture:
        """The architecture that takes ``choose(choices)`` at every knob, widths and depths first.

        Sampling, the largest, the smallest and the reading of genes all go through it, in this order of the knobs,
        which is also that of genes (:mod:`hat.space.encoding`).
        """
        encoder_dim, decoder_dim = choose(self.encoder.embed_dim), choose(self.decoder.embed_dim)
        encoder_depth, decoder_depth = choose(self.encoder.num_layers), choose(self.decoder.num_layers)

        def layer(stack: str, knobs: tuple[str, ...], index: int) -> dict[str, int]:
            choices = {knob: self.layer_choices(stack, knob)[index] for knob in knobs}
            if "attended_encoder_layers" in choices:
                choices["attended_encoder_layers"] = _up_to(choices["attended_encoder_layers"], encoder_depth)
            return {knob: choose(choices[knob]) for knob in knobs}

        encoder = [EncoderLayerSpec(**layer("encoder", ENCODER_LAYER_KNOBS, i)) for i in range(encoder_depth)]
        decoder = [DecoderLayerSpec(**layer("decoder", DECODER_LAYER_KNOBS, i)) for i in range(decoder_depth)]
        return Architecture(
            qkv_dim=self.qkv_dim,
            encoder=EncoderSpec(embed_dim=encoder_dim, layers=tuple(encoder)),
            decoder=DecoderSpec(embed_dim=decoder_dim, layers=tuple(decoder)),
        )

    def sample(self, rng: random.Random) -> Architecture:
        """A random member: every knob uniform over its choices (not uniform over networks: depth is a knob too).

        Source: HAT, section 2.2.
        """
        return self.build(rng.choice)

    def largest(self) -> Architecture:
        """The member with the largest choice at every knob."""
        return self.build(max)

    def smallest(self) -> Architecture:
        """The member with the smallest choice at every knob."""
        return self.build(min)

    def super_architecture(self) -> Architecture:
        """The sizes of the SuperTransformer itself: the largest member, or what ``maximum`` says beyond it."""
        largest = self.largest()
        encoder_layers = _grown(largest.encoder.layers, self.maximum.encoder)
        decoder_layers = _grown(largest.decoder.layers, self.maximum.decoder)
        return Architecture(
            qkv_dim=self.qkv_dim,
            encoder=EncoderSpec(
                embed_dim=self.maximum.encoder.embed_dim or largest.encoder.embed_dim, layers=encoder_layers
            ),
            decoder=DecoderSpec(
                embed_dim=self.maximum.decoder.embed_dim or largest.decoder.embed_dim, layers=decoder_layers
            ),
        )

    def size(self) -> int:
        """How many different SubTransformers there are, exactly."""
        widths = len(self.encoder.embed_dim) * len(self.decoder.embed_dim)
        total = 0
        for encoder_depth in self.encoder.num_layers:
            encoders = _combinations([self.layer_choices("encoder", k) for k in ENCODER_LAYER_KNOBS], encoder_depth)
            knobs = [self.layer_choices("decoder", knob) for knob in DECODER_LAYER_KNOBS[:-1]]
            attended = self.layer_choices("decoder", DECODER_LAYER_KNOBS[-1])
            knobs.append(tuple(_up_to(choices, encoder_depth) for choices in attended))
            total += encoders * sum(_combinations(knobs, depth) for depth in self.decoder.num_layers)
        return widths * total

    def why_not(self, architecture: Architecture) -> str | None:
        """The first knob of ``architecture`` this space does not hold, in words; None for a member."""
        if architecture.qkv_dim != self.qkv_dim:
            return f"qkv_dim must be {self.qkv_dim}, is {architecture.qkv_dim}"
        for name in ("encoder", "decoder"):
            section: EncoderSpace = getattr(self, name)
            stack: EncoderSpec | DecoderSpec = getattr(architecture, name)
            if stack.embed_dim not in section.embed_dim:
                return f"{name}.embed_dim must be one of {list(section.embed_dim)}, is {stack.embed_dim}"
            if len(stack.layers) not in section.num_layers:
                return f"{name} must have {list(section.num_layers)} layers, has {len(stack.layers)}"
            for knob in ENCODER_LAYER_KNOBS if name == "encoder" else DECODER_LAYER_KNOBS:
                for index, (layer, choices) in enumerate(
                    zip(stack.layers, self.layer_choices(name, knob), strict=False)
                ):
                    if getattr(layer, knob) not in choices:
                        value = getattr(layer, knob)
                        return f"{name}.layers.{index}.{knob} must be one of {list(choices)}, is {value}"
        return None

    def __contains__(self, architecture: object) -> bool:
        return isinstance(architecture, Architecture) and self.why_not(architecture) is None


ENCODER_LAYER_KNOBS = ("ffn_dim", "self_attn_heads")
# attended_encoder_layers stays last: its choices depend on the encoder's depth.
DECODER_LAYER_KNOBS = ("ffn_dim", "self_attn_heads", "cross_attn_heads", "attended_encoder_layers")


def _up_to(choices: Choices, bound: int) -> Choices:
    return tuple(choice for choice in choices if choice <= bound)


def _flat(choices: tuple[int, ...] | tuple[Choices, ...]) -> list[int]:
    return [number for choice in choices for number in (choice if isinstance(choice, tuple) else (choice,))]


def _combinations(knobs: list[tuple[Choices, ...]], depth: int) -> int:
    """How many ways the first ``depth`` layers can be chosen."""
    return prod(len(layer) for knob in knobs for layer in knob[:depth])


def _grown(layers: tuple, maximum: EncoderMaximum) -> tuple:  # type: ignore[type-arg]
    """``layers`` with the feed-forward width and the depth that ``maximum`` asks for."""
    if maximum.ffn_dim is not None:
        layers = tuple(layer.model_copy(update={"ffn_dim": maximum.ffn_dim}) for layer in layers)
    return layers + (layers[-1],) * ((maximum.num_layers or len(layers)) - len(layers))
