"""Multi-head attention: one function for the arithmetic, two modules for where keys and values come from."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from hat.nn.dropout import dropout
from hat.nn.elastic import ElasticLinear


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, drop: float) -> Tensor:
    """Scaled dot-product attention: the one place where a kernel is chosen for whole sequences.

    The steps of packed models have their own arithmetic, one position at a time: :mod:`hat.nn.packed_decoder`.
    On the CPU, two batched products around a softmax take 0.4 of the time of ``scaled_dot_product_attention`` in
    bfloat16, and 1.0 to 1.2 of it in float32 (docs/performance.md); elsewhere the fused kernels win. Both are exact.

    Args:
        query: shape (B, H, T, K); the scale is K^-0.5.
        key: shape (B, H, S, K).
        value: shape (B, H, S, K).
        bias: added to the scores, 0 where attention is allowed and -inf where it is not; broadcasts to (B, H, T, S).
        drop: probability that an attention weight is dropped; 0 in evaluation.

    Returns:
        The heads side by side, shape (B, T, H * K).
    """
    if query.device.type == "cpu":
        scores = torch.matmul(query * query.size(-1) ** -0.5, key.transpose(2, 3))  # (B, H, T, S)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        weights = torch.softmax(scores, dim=-1)
        mixed = torch.matmul(dropout(weights, drop), value)
    else:
        if bias is not None:
            bias = bias.to(query.dtype)
        mixed = functional.scaled_dot_product_attention(query, key, value, bias, drop)
    return mixed.transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Contiguous groups of features as heads: (B, length, H * K) → (B, H, length, K), a view."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def causal_bias(length: int, like: Tensor) -> Tensor:
    """Bias that lets position t see positions <= t → (length, length)."""
    return torch.full((length, length), float("-inf"), dtype=like.dtype, device=like.device).triu(1)


class KeyValueCache(Protocol):
    """Where self-attention finds what was decoded before."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values (B, H, new, K); returns all of them so far."""


@dataclass
class SelfAttentionCache:
    """Keys and values of all that was decoded so far, each (B, H, capacity, K); the first ``length`` are written.

    Every step adds those of all hypotheses of a sentence, and nothing is moved when hypotheses change places: which
    entries belong to whose past is said by the bias of the attention.
    """

    keys: Tensor
    values: Tensor
    length: int = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values (B, H, new, K); returns all of them so far, as views."""
        end = self.length + keys.size(2)
        if end > self.keys.size(2):
            room = max(end, 2 * self.keys.size(2))
            self.keys, self.values = (_enlarge(x, 2, room) for x in (self.keys, self.values))
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, sentences: Tensor) -> "SelfAttentionCache":
        """The cache of these sentences (int64)."""
        keys, values = self.keys.index_select(0, sentences), self.values.index_select(0, sentences)
        return SelfAttentionCache(keys, values, self.length)


@dataclass
class Past:
    """Which entries of the caches each hypothesis stems from: a bias (B, beam, entries), 0 there and -inf elsewhere.

    With one hypothesis a sentence there is nothing to tell apart.
    """

    bias: Tensor
    """At first (B, beam, 0)."""
    length: int = 0
    """Entries of a sentence so far."""

    def __post_init__(self) -> None:
        self.beam = self.bias.size(1)
        self._own = own_entries(self.beam, self.bias)

    def extend(self) -> Tensor | None:
        """Let every hypothesis see its own new entry; returns the bias of all, (B, 1, beam, length), None for zeros."""
        self.length += self.beam
        if self.beam == 1:
            return None
        self.bias = torch.cat([self.bias, self._own.expand(self.bias.size(0), -1, -1)], 2)
        return self.bias.unsqueeze(1)

    def seen(self) -> Tensor:
        """The bias of all entries so far, (B, 1, beam, length)."""
        if self.beam == 1:
            return self.bias.new_zeros(self.bias.size(0), 1, 1, self.length)
        return self.bias.unsqueeze(1)

    def follow(self, parents: Tensor) -> None:
        """Let hypothesis j of sentence b continue hypothesis ``parents[b, j]`` (int64)."""
        if self.beam > 1:
            self.bias = self.bias.gather(1, parents.unsqueeze(2).expand_as(self.bias))

    def select(self, sentences: Tensor) -> None:
        """Keep these sentences (int64) only."""
        self.bias = self.bias.index_select(0, sentences)


def own_entries(beam: int, like: Tensor) -> Tensor:
    """The bias by which each of ``beam`` hypotheses sees its own of as many new entries, (beam, beam)."""
    numbers = torch.arange(beam, device=like.device)
    hidden = numbers[:, None] != numbers
    return torch.zeros(beam, beam, dtype=like.dtype, device=like.device).masked_fill(hidden, -math.inf)


def _enlarge(x: Tensor, dim: int, size: int) -> Tensor:
    """A copy with room for ``size`` entries along ``dim``; the new ones hold anything."""
    shape = list(x.shape)
    shape[dim] = size
    larger = x.new_empty(shape)
    larger.narrow(dim, 0, x.size(dim)).copy_(x)
    return larger


class SelfAttention(nn.Module):
    """Self-attention with an elastic input width; the query, key and value width is fixed.

    The number of heads changes how the projections are cut up, not how many weights there are.

    Args:
        max_dim: largest width of the layer.
        qkv_dim: width of queries, keys and values, all heads together.
    """

    def __init__(self, max_dim: int, qkv_dim: int) -> None:
        super().__init__()
        self.qkv_dim = qkv_dim
        self.qkv_proj = ElasticLinear(max_dim, 3 * qkv_dim)  # rows: queries, keys, values
        self.out_proj = ElasticLinear(qkv_dim, max_dim)

    def forward(
        self, x: Tensor, heads: int, bias: Tensor | None, drop: float, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Attend over ``x``, and over what is in ``cache`` when there is one.

        Shape: (B, T, D) → (B, T, D). With a cache, T is the number of new positions, or of hypotheses that each add
        one; they are added to it.
        """
        projected = self.qkv_proj(x, 3 * self.qkv_dim).chunk(3, dim=-1)
        query, key, value = (split_heads(part, heads) for part in projected)
        if cache is not None:
            key, value = cache.append(key, value)
        return self.out_proj(attention(query, key, value, bias, drop), x.size(-1))


@dataclass
class Memory:
    """What one decoder layer's cross-attention sees: projected once per sentence. Shapes (B, H, n * S, K)."""

    keys: Tensor
    values: Tensor
    bias: Tensor | None
    """Shape (B, 1, 1, n * S), hides padding; None when no sentence is padded."""

    def contiguous(self) -> "Memory":
        """The same with every head's keys and values side by side in memory."""
        return Memory(self.keys.contiguous(), self.values.contiguous(), self.bias)

    def select(self, sentences: Tensor) -> "Memory":
        """The memory of these sentences (int64)."""
        bias = None if self.bias is None else self.bias.index_select(0, sentences)
        return Memory(self.keys.index_select(0, sentences), self.values.index_select(0, sentences), bias)


class CrossAttention(nn.Module):
    """Attention of the decoder over one or more encoder layers; encoder and decoder widths are independent.

    Args:
        max_dim: largest width of the decoder.
        max_encoder_dim: largest width of the encoder.
        qkv_dim: width of queries, keys and values, all heads together.

    Source: HAT (arXiv:2005.14187), section 2.1, "Arbitrary Encoder-Decoder Attention".
    """

    def __init__(self, max_dim: int, max_encoder_dim: int, qkv_dim: int) -> None:
        super().__init__()
        self.qkv_dim = qkv_dim
        self.q_proj = ElasticLinear(max_dim, qkv_dim)
        self.kv_proj = ElasticLinear(max_encoder_dim, 2 * qkv_dim)  # rows: keys, values
        self.out_proj = ElasticLinear(qkv_dim, max_dim)

    def memory(self, encoder_layers: list[Tensor], heads: int, bias: Tensor | None) -> Memory:
        """Keys and values of the attended encoder layers, one after the other along the length axis.

        Args:
            encoder_layers: outputs of the attended layers, last layer first, each (B, S, E).
            heads: into how many they are split.
            bias: shape (B, 1, 1, S), hides padding.
        """
        attended = encoder_layers[0] if len(encoder_layers) == 1 else torch.cat(encoder_layers, dim=1)
        projected = self.kv_proj(attended, 2 * self.qkv_dim).chunk(2, dim=-1)
        keys, values = (split_heads(part, heads) for part in projected)
        if bias is not None:
            bias = bias.repeat(1, 1, 1, len(encoder_layers))
        return Memory(keys, values, bias)

    def forward(self, x: Tensor, memory: Memory, drop: float) -> Tensor:
        """Attend from ``x`` (B, T, D) to ``memory`` → (B, T, D); T are positions, or hypotheses of one sentence."""
        query = split_heads(self.q_proj(x, self.qkv_dim), memory.keys.size(1))
        return self.out_proj(attention(query, memory.keys, memory.values, memory.bias, drop), x.size(-1))
