"""A standalone Transformer as it runs fastest: its matrix products through the best kernel there is for a type.

A decoding step reads its weights once for a handful of rows, so it takes as long as reading them does: what counts is
a layout that is read at the memory's speed, and few bytes. On the CPU that is oneDNN's own layout for float32 and
bfloat16, and int8 weights with the scale of each output. With small weights it takes as long as calling what is done
with them: what counts is few calls.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, cast

import torch
from torch import Tensor, nn

from hat.errors import ConfigError
from hat.nn.elastic import ElasticLinear
from hat.nn.layers import DecoderLayer, Encoded
from hat.nn.packed_decoder import PackedDecoder, PackedState
from hat.nn.products import BFloat16Linear, Int8Linear, OneDnnLinear, PackedOutput, PlainLinear, onednn_can
from hat.nn.source_attention import Projections
from hat.nn.transformer import SuperTransformer, Transformer

DType = Literal["float32", "bfloat16", "float16", "int8"]

_LEAST_WEIGHTS = 1 << 16
"""On the CPU a smaller matrix stays as it is: torch's own product is over before another kernel has begun."""


class PackedTransformer(nn.Module):
    """A copy of a Transformer for inference: what translates and scores, with the same results but for rounding.

    It stays on the device that it was packed for.

    Args:
        net: the copy, with packed products.
        output_weight: of the output projection as it was, (V, D), for shortlists; None where there are none.
        dtype: of the products.
        projections: of each decoder layer's cross-attention, where they may be multiplied into the source.
    """

    def __init__(
        self,
        net: Transformer,
        output_weight: Tensor | None,
        dtype: DType,
        projections: Sequence[Projections | None],
    ) -> None:
        super().__init__()
        self._net = net
        self._output_weight = None if output_weight is None else output_weight.detach()
        self._dtype = dtype
        self._decoder = PackedDecoder(net.decoder, net.architecture.decoder, projections)
        self._embedding, self._scale = net.target_embedding_and_scale()

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        """Logits (B, T, V) of every next token, as :meth:`Transformer.forward`."""
        return self._net(source, target_in)

    def encode(self, source: Tensor) -> Encoded:
        """Run the encoder on token ids (B, S), padded on the right."""
        return self._net.encode(source)

    def start(self, encoded: Encoded, beam: int) -> PackedState:
        """The decoding state before the first step, for ``beam`` hypotheses a sentence."""
        return self._decoder.start(encoded, beam)

    def step(self, tokens: Tensor, state: PackedState) -> Tensor:
        """Logits (B, beam, V) of the next token after ``tokens`` (B, beam); ``state`` is brought up to date."""
        return self._net.output_embedding.logits(self.hidden(tokens, state)).view(*tokens.shape, -1)

    def hidden(self, tokens: Tensor, state: PackedState) -> Tensor:
        """:meth:`step` before the output projection: (B, beam) → (B * beam, D)."""
        positions = self._net.decoder_positions.forward(state.position, 1, self._embedding.size(1))
        state.position += 1
        embedded = self._embedding.index_select(0, tokens.reshape(-1))
        return self._decoder.step(torch.add(positions, embedded, alpha=self._scale), state)

    def among(self, candidates: Tensor) -> "ShortlistedTransformer":
        """The same model choosing among these target ids only (int64, (C,), on its device).

        Raises:
            ValueError: if it was not packed with ``shortlists=True``.
        """
        if self._output_weight is None:
            raise ValueError("shortlists need a model that was packed with shortlists=True")
        return ShortlistedTransformer(self, candidates)

    def output_among(self, candidates: Tensor) -> nn.Module:
        """Their part of the output projection."""
        assert self._output_weight is not None, "checked by among"
        # It is packed for every batch, and 8 bits take longer to make than they save where there are few rows.
        dtype = "float32" if self._dtype == "int8" else self._dtype
        return _packed_linear(self._output_weight[candidates], None, dtype)

    def save_pretrained(self, folder: str | Path) -> NoReturn:
        """Raises ConfigError: the weights are no longer here as they were."""
        raise ConfigError(f"{folder}: a packed model cannot be saved; save the model that it was packed from.")


@dataclass
class ShortlistedState:
    """What decoding among some tokens needs between two steps."""

    state: PackedState
    output: nn.Module
    """The candidates' part of the output projection."""

    def follow(self, parents: Tensor, sentences: Tensor | None = None) -> None:
        """As :meth:`hat.nn.layers.IncrementalState.follow`."""
        self.state.follow(parents, sentences)


class ShortlistedTransformer:
    """A packed model that chooses among some target tokens only, for which an id is its place among them.

    The products of all others are left out, which are most of a step where the vocabulary is large. Log-probabilities
    are of the candidates alone, so they are somewhat higher. With ``int8``, the candidates' products are float32.

    Args:
        net: the model.
        candidates: their ids in its vocabulary, (C,).
    """

    def __init__(self, net: PackedTransformer, candidates: Tensor) -> None:
        self._net, self._candidates = net, candidates

    def encode(self, source: Tensor) -> Encoded:
        """Run the encoder on token ids (B, S), padded on the right."""
        return self._net.encode(source)

    def start(self, encoded: Encoded, beam: int) -> ShortlistedState:
        """The state before the first step; the candidates' part of the output projection is packed here."""
        return ShortlistedState(self._net.start(encoded, beam), self._net.output_among(self._candidates))

    def step(self, tokens: Tensor, state: ShortlistedState) -> Tensor:
        """Logits (B, beam, C) of the next token after ``tokens`` (B, beam); ``state`` is brought up to date."""
        logits: Tensor = state.output(self._net.hidden(self._candidates[tokens], state.state), -1)
        return logits.view(*tokens.shape, -1)


def pack(
    net: Transformer, dtype: DType = "float32", device: torch.device | None = None, shortlists: bool = False
) -> PackedTransformer:
    """A copy for inference: same results but for rounding; it can be neither trained nor saved.

    Args:
        net: the model; it stays as it is.
        dtype: type of weights and activations on a GPU; on the CPU, of the products with large weights, and all else
            is float32. ``int8``: weights are rounded to 255 steps of each row's largest, activations to 128 steps of
            their range (256 on ARM) at every product.
        device: where the copy is to run; None for where the model is.
        shortlists: keep what :meth:`PackedTransformer.among` needs, memory for the output projection as it was.

    On the CPU, cross-attention's projections are kept twice where they are float32: for short sentences, see
    :mod:`hat.nn.source_attention`.

    Raises:
        ConfigError: if the device cannot compute with that type.
    """
    device = device or next(net.parameters()).device
    if (problem := why_not(dtype, device)) is not None:
        raise ConfigError(f"dtype: {problem}.")
    packed = copy.deepcopy(net).eval().requires_grad_(False)
    packed.to(device, torch.float32 if device.type == "cpu" else getattr(torch, dtype))
    output = packed.output_weight(packed.architecture.decoder.embed_dim)
    output = output.contiguous()
    linear = _packed_linear(output, None, dtype)
    setattr(packed, "output_embedding", PackedOutput(linear))  # noqa: B010 (an embedding, for those who check types)
    projections = _source_projections(packed, dtype)
    for parent in list(packed.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, ElasticLinear):
                setattr(parent, name, _packed_linear(module.weight, module.bias, dtype))
    return PackedTransformer(packed, output if shortlists else None, dtype, projections)


def _source_projections(net: Transformer, dtype: DType) -> list[Projections | None]:
    """Of each decoder layer; None where they have fewer bits than what they would be multiplied into.

    On the CPU only, where it was measured.
    """
    projections: list[Projections | None] = []
    for layer, spec in zip(net.decoder.layers, net.architecture.decoder.layers, strict=True):
        attention = cast(DecoderLayer, layer).cross_attn
        weight = attention.q_proj.weight
        whole = weight.device.type == "cpu" and _kernel(weight.numel(), dtype, weight.device) in _WHOLE
        projections.append(Projections(attention, spec.cross_attn_heads) if whole else None)
    return projections


def lower_linears(model: SuperTransformer, dtype: torch.dtype) -> SuperTransformer:
    """A copy for evaluation under autocast to ``dtype`` whose linear layers hold their weights in that type already.

    The results are the same, but weights are not converted again for every batch.
    """
    lowered = copy.deepcopy(model).requires_grad_(False)
    for module in lowered.modules():
        if isinstance(module, ElasticLinear):
            module.to(dtype)
    return lowered


def why_not(dtype: DType, device: torch.device) -> str | None:
    """Why this device cannot compute with that type, in words; None when it can."""
    if dtype == "float16" and device.type != "cuda":
        return f"float16 needs a GPU, device is {device}; use float32, bfloat16 or int8"
    if dtype == "int8" and (device.type != "cpu" or not _int8_engines()):
        return f"int8 needs a CPU and a torch with a quantised engine, device is {device}; use float32 or bfloat16"
    return None


def _int8_engines() -> list[str]:
    return [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]


def kernels(dtype: DType, device: torch.device) -> dict[str, str]:
    """What multiplies the weights of a packed model, small ones and large ones: for records of how fast it was."""
    engine = f" ({torch.backends.quantized.engine})" if dtype == "int8" else ""
    small, large = (_kernel(weights, dtype, device) for weights in (_LEAST_WEIGHTS - 1, _LEAST_WEIGHTS))
    return {f"fewer than {_LEAST_WEIGHTS} weights": small, "more": large + engine}


def _kernel(weights: int, dtype: DType, device: torch.device) -> str:
    """The fastest product with a matrix of that many weights: a rule, so that the same is chosen in every run."""
    if device.type != "cpu" or weights < _LEAST_WEIGHTS:
        return "torch"
    if dtype == "int8":
        return "int8"
    if dtype == "bfloat16":
        return "oneDNN bfloat16" if onednn_can(torch.bfloat16) else "torch bfloat16"
    return "oneDNN" if onednn_can(torch.float32) else "torch"


_PRODUCTS: dict[str, Callable[[Tensor, Tensor | None], nn.Module]] = {
    "torch": PlainLinear,
    "oneDNN": OneDnnLinear,
    "torch bfloat16": partial(BFloat16Linear, PlainLinear),
    "oneDNN bfloat16": partial(BFloat16Linear, OneDnnLinear),
    "int8": Int8Linear,
}
_WHOLE = ("torch", "oneDNN")
"""Those that keep float32's bits on a CPU."""


def _packed_linear(weight: Tensor, bias: Tensor | None, dtype: DType) -> nn.Module:
    return _PRODUCTS[_kernel(weight.numel(), dtype, weight.device)](weight, bias)
