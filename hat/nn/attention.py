"""Multi-head attention: one function for the arithmetic, two modules for where keys and values come from."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hat.nn.dropout import dropout
from hat.nn.elastic import ElasticLinear


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None, drop: float) -> Tensor:
    """Scaled dot-product attention of ``heads`` heads: the one place where a kernel is chosen.

    On the CPU, two batched products around a softmax are 2 to 10 times faster than
    ``scaled_dot_product_attention`` at sentence lengths; elsewhere the fused kernels win. Both are exact.

    Args:
        query: shape (B, T, Q).
        key: shape (B, S, Q).
        value: shape (B, S, Q).
        heads: heads are contiguous groups of Q / heads features; the scale is (Q / heads)^-0.5.
        bias: added to the scores, 0 where attention is allowed and -inf where it is not; broadcasts to (B, H, T, S).
        drop: probability that an attention weight is dropped; 0 in evaluation.

    Returns:
        Shape (B, T, Q).
    """
    query, key, value = (_split_heads(x, heads) for x in (query, key, value))  # (B, H, length, K)
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


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def causal_bias(length: int, like: Tensor) -> Tensor:
    """Bias that lets position t see positions <= t → (length, length)."""
    return torch.full((length, length), float("-inf"), dtype=like.dtype, device=like.device).triu(1)


@dataclass
class SelfAttentionCache:
    """Keys and values of the positions decoded so far, grown by one position a step. Shapes (N, t, Q)."""

    keys: Tensor
    values: Tensor

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Add the keys and values of new positions, shapes (N, 1, Q)."""
        self.keys = torch.cat([self.keys, keys], dim=1)
        self.values = torch.cat([self.values, values], dim=1)

    def reorder(self, rows: Tensor) -> None:
        """Keep ``rows`` (int64), in this order; a row may appear more than once."""
        self.keys = self.keys.index_select(0, rows)
        self.values = self.values.index_select(0, rows)


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
        self, x: Tensor, heads: int, bias: Tensor | None, drop: float, cache: SelfAttentionCache | None = None
    ) -> Tensor:
        """Attend over ``x``, and over the earlier positions in ``cache`` when there is one.

        Shape: (B, T, D) → (B, T, D). With a cache, T is the number of new positions, which are added to it.
        """
        query, key, value = self.qkv_proj(x, 3 * self.qkv_dim).chunk(3, dim=-1)
        if cache is not None:
            cache.append(key, value)
            key, value = cache.keys, cache.values
        return self.out_proj(attention(query, key, value, heads, bias, drop), x.size(-1))


@dataclass
class Memory:
    """What one decoder layer's cross-attention sees: projected once per sentence. Shapes (B, n * S, Q)."""

    keys: Tensor
    values: Tensor
    bias: Tensor | None
    """Shape (B, 1, 1, n * S), hides padding; None when no sentence is padded."""

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

    def memory(self, encoder_layers: list[Tensor], bias: Tensor | None) -> Memory:
        """Keys and values of the attended encoder layers, one after the other along the length axis.

        Args:
            encoder_layers: outputs of the attended layers, last layer first, each (B, S, E).
            bias: shape (B, 1, 1, S), hides padding.
        """
        attended = encoder_layers[0] if len(encoder_layers) == 1 else torch.cat(encoder_layers, dim=1)
        keys, values = self.kv_proj(attended, 2 * self.qkv_dim).chunk(2, dim=-1)
        if bias is not None:
            bias = bias.repeat(1, 1, 1, len(encoder_layers))
        return Memory(keys, values, bias)

    def forward(self, x: Tensor, memory: Memory, heads: int, drop: float) -> Tensor:
        """Attend from ``x`` (N, T, D) to ``memory`` → (N, T, D).

        N is the memory's B, or, for one decoding step (T = 1), B times the beam: then the rows of one sentence
        attend together, and keys and values are never copied for each beam.
        """
        query = self.q_proj(x, self.qkv_dim)
        grouped = query.reshape(memory.keys.size(0), -1, self.qkv_dim)  # (B, T or beam, Q)
        mixed = attention(grouped, memory.keys, memory.values, heads, memory.bias, drop)
        return self.out_proj(mixed.reshape(query.shape), x.size(-1))
