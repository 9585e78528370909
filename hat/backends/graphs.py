"""A network as two functions of tensors: what compilers take, and what decoding needs around them.

The encoder's function also projects what the decoder's cross-attention sees, once a sentence; so what a decoder step
needs of the source are tensors that do not change from step to step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hat.nn import Transformer
from hat.nn.attention import Memory, Past, own_entries

MEMORY_PARTS = ("keys", "values", "bias")
"""What a decoder layer sees of the source: shapes (B, H, n * S, K), (B, H, n * S, K) and (B, 1, 1, n * S)."""
CACHE_PARTS = ("keys", "values")
"""What it sees of earlier positions, of all hypotheses of a sentence: shapes (B, H, entries, K)."""

Encoder = Callable[[Tensor], Sequence[Tensor]]
Step = Callable[[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]], tuple[Tensor, Sequence[Tensor]]]


class EncoderGraph(nn.Module):
    """Token ids (B, S) → the memories of all decoder layers, ``MEMORY_PARTS`` of each."""

    def __init__(self, net: Transformer) -> None:
        super().__init__()
        self.net = net

    def forward(self, source: Tensor) -> list[Tensor]:
        """The memories; their bias is there whether or not a sentence is padded."""
        memories = self.net.decoder.memories(self.net.encode(source), self.net.architecture.decoder)
        return [tensor for memory in memories for tensor in (memory.keys, memory.values, _some(memory.bias))]


@dataclass
class _GrownCache:
    """A cache as a value: what is added makes larger tensors, and nothing is written in place."""

    keys: Tensor
    values: Tensor

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, those of the new entries last."""
        self.keys, self.values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        return self.keys, self.values


class StepGraph(nn.Module):
    """One decoder step: tokens (B, beam) → logits (B, beam, V), and the caches with one more entry a hypothesis."""

    def __init__(self, net: Transformer) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, tokens: Tensor, positions: Tensor, past: Tensor, memories: list[Tensor], caches: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The signals of the position are (1, D); ``past`` (B, 1, beam, entries) hides what is not one's own past."""
        parts = len(MEMORY_PARTS)
        grown = [_GrownCache(*caches[i : i + 2]) for i in range(0, len(caches), 2)]
        seen = [Memory(*memories[i : i + parts]) for i in range(0, len(memories), parts)]
        own = own_entries(tokens.size(1), past).expand(past.size(0), 1, -1, -1)
        logits = self.net.next_logits(tokens, positions, torch.cat([past, own], 3), seen, grown)
        return logits, [tensor for cache in grown for tensor in (cache.keys, cache.values)]


@dataclass
class GraphState:
    """All that decoding needs between two steps; as :class:`hat.nn.layers.DecoderState`."""

    memories: list[Tensor]
    caches: list[Tensor]
    past: Past
    position: int = 0

    def follow(self, parents: Tensor, sentences: Tensor | None = None) -> None:
        """Let hypothesis j of each sentence continue what was hypothesis ``parents[b, j]`` (int64, (B, beam))."""
        if sentences is not None:
            self.memories = [memory.index_select(0, sentences) for memory in self.memories]
            self.caches = [cache.index_select(0, sentences) for cache in self.caches]
            self.past.select(sentences)
        self.past.follow(parents)


class GraphNetwork:
    """A network that decodes through two functions, wherever they run.

    Args:
        net: whose functions they are; it tells sizes and position signals.
        encoder: what :class:`EncoderGraph` computes.
        step: what :class:`StepGraph` computes.
    """

    def __init__(self, net: Transformer, encoder: Encoder, step: Step) -> None:
        self._net = net
        self._encoder = encoder
        self._step = step

    def encode(self, source: Tensor) -> list[Tensor]:
        """All that decoding needs of token ids (B, S), padded on the right."""
        return list(self._encoder(source))

    def start(self, encoded: list[Tensor], beam: int) -> GraphState:
        """The state before the first step, for ``beam`` hypotheses a sentence."""
        like = encoded[0]
        caches = []
        for layer in self._net.architecture.decoder.layers:
            head_dim = self._net.architecture.qkv_dim // layer.self_attn_heads
            empty = like.new_empty(like.size(0), layer.self_attn_heads, 0, head_dim)
            caches += [empty] * len(CACHE_PARTS)
        return GraphState(encoded, caches, Past(like.new_empty(like.size(0), beam, 0)))

    def step(self, tokens: Tensor, state: GraphState) -> Tensor:
        """Logits (B, beam, V) of the next token after ``tokens`` (B, beam); ``state`` is brought up to date."""
        positions = self._net.decoder_positions(state.position, 1, self._net.architecture.decoder.embed_dim)
        # A copy: where tokens lie in a larger tensor, which differs from step to step, is one thing compilers look at.
        given = tokens.clone(), positions.clone(), state.past.seen().contiguous()
        logits, caches = self._step(*given, state.memories, state.caches)
        state.past.extend()
        state.caches = list(caches)
        state.position += 1
        return logits


def _some(bias: Tensor | None) -> Tensor:
    assert bias is not None, "what is compiled or exported does not ask whether there is padding"
    return bias
