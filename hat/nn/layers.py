"""Encoder and decoder: layers that are told their own sizes, and the stacks that walk through them."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hat.nn.attention import CrossAttention, Memory, SelfAttention, SelfAttentionCache, causal_bias
from hat.nn.dropout import Dropout, dropout
from hat.nn.elastic import ElasticLayerNorm, ElasticLinear
from hat.space.architecture import (
    DecoderLayerSpec,
    DecoderSpec,
    EncoderLayerSpec,
    EncoderSpec,
)


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
        cache: SelfAttentionCache | None = None,
    ) -> Tensor:
        """(N, T, D) → (N, T, D); ``bias`` (T, T) hides the future and is not needed with a ``cache``."""
        y = self.self_attn_norm(x) if self.pre_norm else x
        x = x + dropout(self.self_attn(y, spec.self_attn_heads, bias, probs.attention, cache), probs.residual)
        x = x if self.pre_norm else self.self_attn_norm(x)

        y = self.cross_attn_norm(x) if self.pre_norm else x
        x = x + dropout(self.cross_attn(y, memory, spec.cross_attn_heads, probs.attention), probs.residual)
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

    def forward(self, x: Tensor, spec: EncoderSpec, bias: Tensor | None, probs: Dropout) -> Encoded:
        """Run the active layers on embedded tokens (B, S, E).

        With pre-norm the final LayerNorm applies to the last layer's output alone, as in the authors' program;
        earlier layers that a decoder layer attends stay as they are.
        """
        outputs = []
        for layer, layer_spec in zip(self.layers, spec.layers, strict=False):
            x = layer(x, layer_spec, bias, probs)
            outputs.append(x)
        if self.final_norm is not None:
            outputs[-1] = self.final_norm(x)
        return Encoded(tuple(outputs), bias)


@dataclass
class DecoderState:
    """All that decoding needs between two steps: one entry per active decoder layer."""

    memories: list[Memory]
    caches: list[SelfAttentionCache]
    position: int = 0

    def reorder(self, rows: Tensor) -> None:
        """Let the N hypotheses continue from ``rows`` (int64, shape (N,)): each sentence's from its own rows."""
        for cache in self.caches:
            cache.reorder(rows)

    def select_sentences(self, sentences: Tensor) -> None:
        """Keep the memories of these sentences (int64) only; the caches follow through :meth:`reorder`."""
        self.memories = [memory.select(sentences) for memory in self.memories]


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
            memories.append(cast(DecoderLayer, layer).cross_attn.memory(list(reversed(attended)), encoded.bias))
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
        memories = self.memories(encoded, spec)
        keys = memories[0].keys
        empty = keys.new_zeros(keys.size(0) * beam, 0, self.qkv_dim)
        return DecoderState(memories, [SelfAttentionCache(empty, empty) for _ in memories])

    def step(self, x: Tensor, spec: DecoderSpec, state: DecoderState) -> Tensor:
        """One position for each of N rows (N, 1, D) → (N, 1, D); ``state`` is brought up to date."""
        for layer, layer_spec, memory, cache in zip(
            self.layers, spec.layers, state.memories, state.caches, strict=False
        ):
            x = layer(x, layer_spec, memory, None, Dropout(), cache)
        state.position += 1
        return x if self.final_norm is None else self.final_norm(x)


def padding_bias(tokens: Tensor, pad: int) -> Tensor | None:
    """Bias that hides padding, (B, S) → (B, 1, 1, S); None when there is none, which saves the addition."""
    hidden = tokens.eq(pad)
    # Only asked on the CPU: elsewhere the answer would stall the device. What is compiled must not depend on it.
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(hidden.any()):
        return None
    bias = torch.zeros(tokens.shape, device=tokens.device).masked_fill_(hidden, float("-inf"))
    return bias[:, None, None, :]
