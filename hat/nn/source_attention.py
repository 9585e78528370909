"""What the decoding steps of a packed model do with the source sentence: cross-attention, in one of two ways.

A head scores a position with key k by (Q x + q) · k, and a position with value v and weight w adds w V v to the output.
Both are products with numbers that stay the same for the whole sentence: x · (Qᵀk) + q · k, and w (V v). So Qᵀk can be
computed once in place of k, and V v in place of v: a step then projects neither queries nor what the heads found. They
are as wide as the layer, where k and v are as wide as a head, and every sentence has its own, where all share Q and V.
So that pays for one sentence, if it is short.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hat.nn.attention import CrossAttention, Memory

_CALLS = 48_000
"""About as many numbers are read in the time of the calls that absorbing saves (measured at width 128)."""


class SourceAttention(Protocol):
    """What one layer sees of the source sentences."""

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """``residual`` plus what cross-attention from ``x`` gives, both (N, D) with N = B * beam."""

    def select(self, sentences: Tensor) -> "SourceAttention":
        """Of these sentences (int64)."""


class KeysAndValues:
    """Keys and values of every head; queries and what the heads found are projected at every step.

    Args:
        memory: what the layer sees, keys scaled.
        query: projects x (N, D) to queries (N, H * K).
        out: projects what the heads found (N, H * K) to (N, D).
    """

    def __init__(self, memory: Memory, query: Callable[..., Tensor], out: Callable[..., Tensor]) -> None:
        self._memory = memory.contiguous()
        self._query, self._out = query, out
        self._keys = self._memory.keys.flatten(0, 1).transpose(1, 2)  # (B * H, K, n * S)
        self._values = self._memory.values.flatten(0, 1)  # (B * H, n * S, K)
        self._bias = None  # (B * H, 1, n * S)
        if memory.bias is not None:
            self._bias = memory.bias.to(memory.keys.dtype).expand(-1, memory.keys.size(1), -1, -1).flatten(0, 1)

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """See :class:`SourceAttention`."""
        sentences, heads, _, head_dim = self._memory.keys.shape
        beam = x.size(0) // sentences
        query = self._query(x, -1).view(sentences, beam, heads, head_dim).transpose(1, 2).reshape(-1, beam, head_dim)
        keys, bias = self._keys, self._bias
        scores = torch.bmm(query, keys) if bias is None else torch.baddbmm(bias, query, keys)  # (B * H, beam, n * S)
        found = torch.bmm(torch.softmax(scores, -1), self._values)
        return residual + self._out(side_by_side(found, heads), -1)

    def select(self, sentences: Tensor) -> "KeysAndValues":
        """Of these sentences (int64)."""
        return KeysAndValues(self._memory.select(sentences), self._query, self._out)


class Absorbed(NamedTuple):
    """Keys and values of one sentence with the projections multiplied into them: two products and a softmax a step."""

    keys: Tensor
    """(D, H * n * S)."""
    bias: Tensor
    """Of the scores, padding hidden: (H * n * S,)."""
    values: Tensor
    """With the output's bias: (H * n * S, D)."""
    heads: int

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """See :class:`SourceAttention`."""
        scores = torch.addmm(self.bias, x, self.keys)
        weights = torch.softmax(scores.view(x.size(0), self.heads, -1), -1)
        return torch.addmm(residual, weights.view(scores.shape), self.values)

    def select(self, sentences: Tensor) -> "Absorbed":
        """Itself: of one sentence there is nothing to choose."""
        return self


class Projections:
    """Query and output projection of one layer's cross-attention, head by head, to be multiplied into a sentence.

    Args:
        attention: the layer's cross-attention.
        heads: how many it has.
    """

    def __init__(self, attention: CrossAttention, heads: int) -> None:
        query, out = attention.q_proj, attention.out_proj
        assert query.bias is not None and out.bias is not None, "attention's projections have a bias"
        qkv_dim, width = query.weight.shape
        scale = (qkv_dim // heads) ** -0.5
        self._query = (query.weight.detach() * scale).view(heads, -1, width)  # (H, K, D)
        self._query_bias = (query.bias.detach() * scale).view(heads, -1, 1)  # (H, K, 1)
        self._out = out.weight.detach().view(width, heads, -1).permute(1, 2, 0).contiguous()  # (H, K, D)
        self._out_bias = out.bias.detach() / heads  # a head's weights sum to 1

    def absorbed(self, memory: Memory) -> Absorbed | None:
        """Multiplied into what the layer sees, keys not scaled; None where that does not pay."""
        sentences, heads, entries, head_dim = memory.keys.shape
        width = self._query.size(2)
        # Numbers that a step reads one way and the other. Half: multiplying takes its time, and packed weights are read
        # faster.
        projected, absorbed = 2 * heads * head_dim * (width + entries), 2 * heads * entries * width
        if sentences != 1 or absorbed > projected // 2 + _CALLS:
            return None
        keys, values = memory.keys[0], memory.values[0]  # (H, n * S, K)
        bias = torch.bmm(keys, self._query_bias).squeeze(2)  # (H, n * S)
        if memory.bias is not None:
            bias = bias + memory.bias.flatten()
        keys = torch.bmm(keys, self._query).flatten(0, 1).t()
        values = (torch.bmm(values, self._out) + self._out_bias).flatten(0, 1)
        return Absorbed(keys, bias.flatten(), values, heads)


def side_by_side(found: Tensor, heads: int) -> Tensor:
    """The heads of each of N hypotheses: (B * H, beam, K) → (N, H * K)."""
    _, beam, head_dim = found.shape
    return found.view(-1, heads, beam, head_dim).transpose(1, 2).reshape(-1, heads * head_dim)
