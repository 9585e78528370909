"""Encoder and decoder: layers that are told their own sizes, and the stacks that walk through them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hat.nn.attention import CrossAttention, KeyValueCache, Memory, Past, SelfAttention, SelfAttentionCache, causal_bias
from hat.nn.dropout import Dropout, dropout
from hat.nn.elastic import ElasticLayerNorm, ElasticLinear
from hat.space.architecture import (
    DecoderLayerSpec,
    DecoderSpec,
    EncoderLayerSpec,
    EncoderSpec,
)

_Kept = TypeVar("_Kept", bound="_OfSentences")

FIRST_CAPACITY = 32
"""Positions that the caches have room for at first."""


class FeedForward(nn.Module):
    """Two linear layers around a ReLU, with an elastic width and an elastic hidden width."""

    def __init__(self, max_dim: int, max_ffn_dim: int) -> None:
        super().__init__()
        self.fc1 = ElasticLinear(max_dim, max_ffn_dim)
        self.fc2 = ElasticLinear(max_ffn_dim, max_dim)

    def forward(self, x: Tensor, ffn_dim: int, activation_dropout: float) -> Tensor:
        """(..., D) → (..., D) through ``ffn_dim`` hidden units."""
        hidden = functional.relu(self.fc1(x, ffn_dim))
        return self.fc2(dropout(hidden, activation_dropout), x.size(-1))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward block, each with a residual connection and LayerNorm."""

    def __init__(self, max_dim: int, qkv_dim: int, maximum: EncoderLayerSpec, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = SelfAttention(max_dim, qkv_dim)
        self.self_attn_norm = ElasticLayerNorm(max_dim)
        self.ffn = FeedForward(max_dim, maximum.ffn_dim)
        self.ffn_norm = ElasticLayerNorm(max_dim)

    def forward(self, x: Tensor, spec: EncoderLayerSpec, bias: Tensor | None, probs: Dropout) -> Tensor:
        """(B, S, D) → (B, S, D); ``bias`` (B, 1, 1, S) hides padding."""
        y = self.self_attn_norm(x) if self.pre_norm else x
        x = x + dropout(self.self_attn(y, spec.self_attn_heads, bias, probs.attention), probs.residual)
        x = x if self.pre_norm else self.self_attn_norm(x)

        y = self.ffn_norm(x) if self.pre_norm else x
        x = x + dropout(self.ffn(y, spec.ffn_dim, probs.activation), probs.residual)
        return x if self.pre_norm else self.ffn_norm(x)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward block, each with a residual connection and LayerNorm."""

    def __init__(
        self, max_dim: int, max_encoder_dim: int, qkv_dim: int, maximum: DecoderLayerSpec, pre_norm: bool
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = SelfAttention(max_dim, qkv_dim)
        self.self_attn_norm = ElasticLayerNorm(max_dim)
        self.cross_attn = CrossAttention(max_dim, max_encoder_dim, qkv_dim)
        self.cross_attn_norm = ElasticLayerNorm(max_dim)
        self.ffn = FeedForward(max_dim, maximum.ffn_dim)
        self.ffn_norm = ElasticLayerNorm(max_dim)

    def forward(
        self,
        x: Tensor,
        spec: DecoderLayerSpec,
        memory: Memory,
        bias: Tensor | None,
        probs: Dropout,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """(B, T, D) → (B, T, D); ``bias`` hides the future, (T, T), or, with a ``cache``, what is not its own past."""
        y = self.self_attn_norm(x) if self.pre_norm else x
        x = x + dropout(self.self_attn(y, spec.self_attn_heads, bias, probs.attention, cache), probs.residual)
        x = x if self.pre_norm else self.self_attn_norm(x)

        y = self.cross_attn_norm(x) if self.pre_norm else x
        x = x + dropout(self.cross_attn(y, memory, probs.attention), probs.residual)
        x = x if self.pre_norm else self.cross_attn_norm(x)

        y = self.ffn_norm(x) if self.pre_norm else x
        x = x + dropout(self.ffn(y, spec.ffn_dim, probs.activation), probs.residual)
        return x if self.pre_norm else self.ffn_norm(x)


@dataclass(frozen=True)
class Encoded:
    """What the encoder hands to the decoder."""

    layers: tuple[Tensor, ...]
    """Outputs of all active layers, first layer first, each (B, S, E)."""
    bias: Tensor | None
    """Shape (B, 1, 1, S): -inf at padding; None when no sentence is padded."""


class Encoder(nn.Module):
    """The encoder's layers; the first ones are active.

    Args:
        qkv_dim: width of queries, keys and values.
        maximum: the sizes to build.
        pre_norm: LayerNorm before each block and once at the end, instead of after each block.
    """

    def __init__(self, qkv_dim: int, maximum: EncoderSpec, pre_norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(maximum.embed_dim, qkv_dim, layer, pre_norm) for layer in maximum.layers
        )
        self.final_norm = ElasticLayerNorm(maximum.embed_dim) if pre_norm else None

    def forward(
        self, x: Tensor, spec: EncoderSpec, bias: Tensor | None, probs: Dropout, known: Sequence[Tensor] = ()
    ) -> Encoded:
        """Run the active layers on embedded tokens (B, S, E), or those after the first ones, whose outputs are known.

        With pre-norm the final LayerNorm applies to the last layer's output alone, as in the authors' program;
        earlier layers that a decoder layer attends stay as they are.
        """
        outputs = list(known)
        for layer, layer_spec in list(zip(self.layers, spec.layers, strict=False))[len(known) :]:
            x = layer(x, layer_spec, bias, probs)
            outputs.append(x)
        if self.final_norm is not None:
            outputs[-1] = self.final_norm(x)
        return Encoded(tuple(outputs), bias)


class _OfSentences(Protocol):
    def select(self: _Kept, sentences: Tensor) -> _Kept:
        """What belongs to these sentences (int64)."""


_MemoryT = TypeVar("_MemoryT", bound=_OfSentences)
_CacheT = TypeVar("_CacheT", bound=_OfSentences)


@dataclass
class IncrementalState(Generic[_MemoryT, _CacheT]):
    """All that decoding needs between two steps, for B sentences with ``beam`` hypotheses each."""

    memories: list[_MemoryT]
    """One entry per active decoder layer, as ``caches``."""
    caches: list[_CacheT]
    past: Past
    position: int = 0

    def follow(self, parents: Tensor, sentences: Tensor | None = None) -> None:
        """Let hypothesis j of each sentence continue what was hypothesis ``parents[b, j]`` (int64, (B, beam)).

        Args:
            parents: of the sentences that are kept.
            sentences: which are kept (int64); None keeps all.
        """
        if sentences is not None:
            self.memories = [memory.select(sentences) for memory in self.memories]
            self.caches = [cache.select(sentences) for cache in self.caches]
            self.past.select(sentences)
        self.past.follow(parents)


DecoderState: TypeAlias = IncrementalState[Memory, SelfAttentionCache]
"""That of a decoder whose layers are told their own sizes."""


class Decoder(nn.Module):
    """The decoder's layers; the first ones are active.

    Args:
        qkv_dim: width of queries, keys and values.
        maximum: the sizes to build.
        max_encoder_dim: largest width of the encoder.
        pre_norm: LayerNorm before each block and once at the end, instead of after each block.
    """

    def __init__(self, qkv_dim: int, maximum: DecoderSpec, max_encoder_dim: int, pre_norm: bool) -> None:
        super().__init__()
        self.qkv_dim = qkv_dim
        self.layers = nn.ModuleList(
            DecoderLayer(maximum.embed_dim, max_encoder_dim, qkv_dim, layer, pre_norm) for layer in maximum.layers
        )
        self.final_norm = ElasticLayerNorm(maximum.embed_dim) if pre_norm else None

    def memories(self, encoded: Encoded, spec: DecoderSpec) -> list[Memory]:
        """What each active layer's cross-attention sees: the last n active encoder layers, last layer first.

        Source: HAT, section 2.1. The authors' program attends copies of the last layer when the encoder is
        shallower than its maximum; here the last n *active* layers are meant.
        """
        memories = []
        for layer, layer_spec in zip(self.layers, spec.layers, strict=False):
            attended = encoded.layers[-layer_spec.attended_encoder_layers :]
            cross_attn, heads = cast(DecoderLayer, layer).cross_attn, layer_spec.cross_attn_heads
            memories.append(cross_attn.memory(list(reversed(attended)), heads, encoded.bias))
        return memories

    def forward(self, x: Tensor, spec: DecoderSpec, encoded: Encoded, probs: Dropout) -> Tensor:
        """Teacher-forced pass over embedded tokens (B, T, D) → (B, T, D)."""
        bias = causal_bias(x.size(1), x)
        layers = zip(self.layers, spec.layers, self.memories(encoded, spec), strict=False)
        for layer, layer_spec, memory in layers:
            x = layer(x, layer_spec, memory, bias, probs)
        return x if self.final_norm is None else self.final_norm(x)

    def start(self, encoded: Encoded, spec: DecoderSpec, beam: int) -> DecoderState:
        """The state before the first step, for ``beam`` hypotheses a sentence."""
        # Keys and values of the sentence are read at every step: side by side in memory.
        memories = [memory.contiguous() for memory in self.memories(encoded, spec)]
        like = encoded.layers[-1]
        sentences, room = like.size(0), beam * FIRST_CAPACITY
        caches = []
        for layer in spec.layers:
            heads = layer.self_attn_heads
            shape = (sentences, heads, room, self.qkv_dim // heads)
            caches.append(SelfAttentionCache(like.new_empty(shape), like.new_empty(shape)))
        return DecoderState(memories, caches, Past(like.new_empty(sentences, beam, 0)))

    def step(
        self,
        x: Tensor,
        spec: DecoderSpec,
        memories: Sequence[Memory],
        caches: Sequence[KeyValueCache],
        bias: Tensor | None,
    ) -> Tensor:
        """One position for each hypothesis (B, beam, D) → (B, beam, D); it is added to the ``caches``.

        ``bias`` (B, 1, beam, entries), those that are added included, hides what is not a hypothesis's own past.
        """
        for layer, layer_spec, memory, cache in zip(self.layers, spec.layers, memories, caches, strict=False):
            x = layer(x, layer_spec, memory, bias, Dropout(), cache)
        return x if self.final_norm is None else self.final_norm(x)


def padding_bias(tokens: Tensor, pad: int) -> Tensor | None:
    """Bias that hides padding, (B, S) → (B, 1, 1, S); None when there is none, which saves the addition."""
    hidden = tokens.eq(pad)
    # Only asked on the CPU: elsewhere the answer would stall the device. What is compiled must not depend on it.
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(hidden.any()):
        return None
    bias = torch.zeros(tokens.shape, device=tokens.device).masked_fill_(hidden, float("-inf"))
    return bias[:, None, None, :]
