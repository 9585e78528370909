"""The decoding step of a packed model: what :class:`hat.nn.layers.Decoder` computes, in as few calls as it takes.

A step of a small network is a few hundred short operations, and calling one takes longer than its arithmetic. So here
a layer is one function over rows of hypotheses, N = B * beam, nothing is cut up or moved that need not be, and what
is the same for all steps is laid out once.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor

from hat.nn.attention import Memory, Past
from hat.nn.elastic import LAYER_NORM_EPS, ElasticLayerNorm
from hat.nn.layers import FIRST_CAPACITY, Decoder, DecoderLayer, Encoded, IncrementalState
from hat.nn.source_attention import KeysAndValues, Projections, SourceAttention, side_by_side
from hat.space.architecture import DecoderLayerSpec, DecoderSpec


class PackedCache:
    """Queries, keys and values of all that was decoded so far, of one layer.

    The newest queries lie beside their keys because all three come from one product and are copied at once.
    """

    def __init__(self, room: Tensor) -> None:
        """``room``: for queries, keys and values, (3, B, H, capacity, K); it holds anything."""
        self._use(room)

    def _use(self, room: Tensor) -> None:
        self.entries = room
        queries, keys, values = room.flatten(1, 2)
        self.queries, self.keys, self.values = queries, keys.transpose(1, 2), values

    def append(self, projected: Tensor, start: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Write entries ``start`` to ``end``, one of each hypothesis of a sentence, in the order of hypotheses.

        Args:
            projected: their queries, keys and values side by side (N, 3 * H * K).
            start: how many entries there were.
            end: how many there are now.

        Returns:
            The new queries (B * H, beam, K), all keys (B * H, K, end) and all values (B * H, end, K).
        """
        _, sentences, heads, capacity, head_dim = self.entries.shape
        if end > capacity:
            larger = self.entries.new_empty(3, sentences, heads, 2 * end, head_dim)
            larger[:, :, :, :start] = self.entries[:, :, :, :start]
            self._use(larger)
        new = projected.view(sentences, end - start, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
        self.entries.narrow(3, start, end - start).copy_(new)
        query = self.queries.narrow(1, start, end - start)
        return query, self.keys.narrow(2, 0, end), self.values.narrow(1, 0, end)

    def select(self, sentences: Tensor) -> "PackedCache":
        """Of these sentences (int64)."""
        return PackedCache(self.entries.index_select(1, sentences))


PackedState: TypeAlias = IncrementalState[SourceAttention, PackedCache]
"""All that decoding needs between two steps."""


class PackedDecoder:
    """Decoding steps of a decoder whose linear layers are packed products.

    Args:
        decoder: the decoder.
        spec: the sizes of the model, which are the decoder's own.
        projections: of each layer's cross-attention, where they may be multiplied into the source.
    """

    def __init__(self, decoder: Decoder, spec: DecoderSpec, projections: Sequence[Projections | None]) -> None:
        self._decoder, self._spec, self._projections = decoder, spec, projections
        layers = zip(decoder.layers, spec.layers, strict=True)
        self._layers = [_Layer(cast(DecoderLayer, layer), layer_spec, decoder.qkv_dim) for layer, layer_spec in layers]
        self._heads = {layer.heads for layer in self._layers}
        self._final_norm = None if decoder.final_norm is None else _Norm(decoder.final_norm)

    def start(self, encoded: Encoded, beam: int) -> PackedState:
        """The state before the first step, for ``beam`` hypotheses a sentence."""
        memories = self._decoder.memories(encoded, self._spec)
        parts = zip(self._layers, self._projections, memories, strict=True)
        sources = [layer.source(memory, projections) for layer, projections, memory in parts]
        like = encoded.layers[-1]
        sentences, room = like.size(0), beam * FIRST_CAPACITY
        shapes = [(3, sentences, layer.heads, room, self._decoder.qkv_dim // layer.heads) for layer in self._layers]
        caches = [PackedCache(like.new_empty(shape)) for shape in shapes]
        return PackedState(sources, caches, Past(like.new_empty(sentences, beam, 0)))

    def step(self, x: Tensor, state: PackedState) -> Tensor:
        """One position for each hypothesis (N, D) → (N, D); ``state`` is brought up to date."""
        start = state.past.length
        bias = state.past.extend()  # (B, 1, beam, entries)
        biases: dict[int, Tensor | None] = dict.fromkeys(self._heads)
        if bias is not None:
            biases = {heads: bias.expand(-1, heads, -1, -1).flatten(0, 1) for heads in self._heads}
        for layer, source, cache in zip(self._layers, state.memories, state.caches, strict=True):
            x = layer.step(x, source, cache, biases[layer.heads], start, state.past.length)
        return x if self._final_norm is None else self._final_norm(x)


class _Norm:
    """What ``torch.nn.functional.layer_norm`` calls, two calls later."""

    def __init__(self, norm: ElasticLayerNorm) -> None:
        self.weight, self.bias, self.shape = norm.weight.detach(), norm.bias.detach(), (norm.weight.size(0),)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.native_layer_norm(x, self.shape, self.weight, self.bias, LAYER_NORM_EPS)[0]


class _Layer:
    """One decoder layer over rows of hypotheses."""

    def __init__(self, layer: DecoderLayer, spec: DecoderLayerSpec, qkv_dim: int) -> None:
        self.pre_norm = layer.pre_norm
        self.heads = spec.self_attn_heads
        self.scale = math.sqrt(self.heads / qkv_dim)
        self.qkv, self.self_out = layer.self_attn.qkv_proj.forward, layer.self_attn.out_proj.forward
        self.cross_query, self.cross_out = layer.cross_attn.q_proj.forward, layer.cross_attn.out_proj.forward
        self.fc1, self.fc2 = layer.ffn.fc1.forward, layer.ffn.fc2.forward
        norms = layer.self_attn_norm, layer.cross_attn_norm, layer.ffn_norm
        self.self_norm, self.cross_norm, self.ffn_norm = (_Norm(norm) for norm in norms)

    def source(self, memory: Memory, projections: Projections | None) -> SourceAttention:
        """What it sees of the source, laid out for its steps."""
        if projections is not None and (absorbed := projections.absorbed(memory)) is not None:
            return absorbed
        scaled = memory.keys * memory.keys.size(-1) ** -0.5
        return KeysAndValues(Memory(scaled, memory.values, memory.bias), self.cross_query, self.cross_out)

    def step(
        self, x: Tensor, source: SourceAttention, cache: PackedCache, bias: Tensor | None, start: int, end: int
    ) -> Tensor:
        """(N, D) → (N, D); what is new are entries ``start`` to ``end`` of the cache."""
        if self.pre_norm:
            x = x + self._attend_past(self.self_norm(x), cache, bias, start, end)
            x = source.add(x, self.cross_norm(x))
            return x + self._feed_forward(self.ffn_norm(x))
        x = self.self_norm(x + self._attend_past(x, cache, bias, start, end))
        x = self.cross_norm(source.add(x, x))
        return self.ffn_norm(x + self._feed_forward(x))

    def _attend_past(self, x: Tensor, cache: PackedCache, bias: Tensor | None, start: int, end: int) -> Tensor:
        query, keys, values = cache.append(self.qkv(x, -1), start, end)
        if bias is None:
            scores = torch.bmm(query, keys).mul_(self.scale)
        else:
            scores = torch.baddbmm(bias, query, keys, alpha=self.scale)  # (B * H, beam, entries)
        return self.self_out(side_by_side(torch.bmm(torch.softmax(scores, -1), values), self.heads), -1)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x, -1).relu_(), -1)
