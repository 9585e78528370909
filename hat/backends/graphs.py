"""A network as two functions of tensors: what compilers take, and what decoding needs around them.

The encoder's function also projects what the decoder's cross-attention sees, once a sentence; so what a decoder step
needs of the source are tensors that do not change from step to step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from hat.nn import Transformer
from hat.nn.attention import Memory, SelfAttentionCache
from hat.nn.layers import DecoderState

MEMORY_PARTS = ("keys", "values", "bias")
"""What a decoder layer sees of the source: shapes (B, n * S, Q), (B, n * S, Q) and (B, 1, 1, n * S)."""
CACHE_PARTS = ("keys", "values")
"""What it sees of earlier positions: shapes (B, beam, t, Q), so that B and the beam are known apart."""

Encoder = Callable[[Tensor], Sequence[Tensor]]
Step = Callable[[Tensor, list[Tensor], list[Tensor]], tuple[Tensor, Sequence[Tensor]]]


class EncoderGraph(nn.Module):
    """Token ids (B, S) → the memories of all decoder layers, ``MEMORY_PARTS`` of each."""

    def __init__(self, net: Transformer) -> None:
        super().__init__()
        self.net = net

    def forward(self, source: Tensor) -> list[Tensor]:
        """The memories; their bias is there whether or not a sentence is padded."""
        memories = self.net.decoder.memories(self.net.encode(source), self.net.architecture.decoder)
        return [tensor for memory in memories for tensor in (memory.keys, memory.values, _some(memory.bias))]


class StepGraph(nn.Module):
    """Tokens (B, beam), memories and caches → logits (N, V), and the caches with one more position."""

    def __init__(self, net: Transformer) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor, memories: list[Tensor], caches: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One step; the position is the length of the caches."""
        parts = len(MEMORY_PARTS)
        rows = [cache.flatten(0, 1) for cache in caches]
        state = DecoderState(
            memories=[Memory(*memories[i : i + parts]) for i in range(0, len(memories), parts)],
            caches=[SelfAttentionCache(*rows[i : i + 2]) for i in range(0, len(rows), 2)],
            position=caches[0].size(2),
        )
        logits = self.net.step(tokens.flatten(), state)
        grown = [rows.unflatten(0, tokens.shape) for cache in state.caches for rows in (cache.keys, cache.values)]
        return logits, grown


@dataclass
class GraphState:
    """All that decoding needs between two steps; as :class:`hat.nn.layers.DecoderState`."""

    memories: list[Tensor]
    caches: list[Tensor]
    beam: int

    def reorder(self, rows: Tensor) -> None:
        """Let the N hypotheses continue from ``rows`` (int64, shape (N,)): each sentence's from its own rows."""
        self.caches = [cache.flatten(0, 1).index_select(0, rows).unflatten(0, (-1, self.beam)) for cache in self.caches]

    def select_sentences(self, sentences: Tensor) -> None:
        """Keep the memories of these sentences (int64) only; the caches follow through :meth:`reorder`."""
        self.memories = [memory.index_select(0, sentences) for memory in self.memories]


class GraphNetwork:
    """A network that decodes through two functions, wherever they run.

    Args:
        encoder: what :class:`EncoderGraph` computes.
        step: what :class:`StepGraph` computes.
    """

    def __init__(self, encoder: Encoder, step: Step) -> None:
        self._encoder = encoder
        self._step = step

    def encode(self, source: Tensor) -> list[Tensor]:
        """All that decoding needs of token ids (B, S), padded on the right."""
        return list(self._encoder(source))

    def start(self, encoded: list[Tensor], beam: int) -> GraphState:
        """The state before the first step, for ``beam`` hypotheses a sentence."""
        keys = encoded[0]
        empty = keys.new_zeros(keys.size(0), beam, 0, keys.size(2))
        layers = len(encoded) // len(MEMORY_PARTS)
        return GraphState(encoded, [empty] * (len(CACHE_PARTS) * layers), beam)

    def step(self, tokens: Tensor, state: GraphState) -> Tensor:
        """Logits (N, V) of the next token after ``tokens`` (N,); ``state`` is brought up to date."""
        # A copy: where it lies within a larger tensor, which differs from step to step, is one thing compilers look at.
        rows = tokens.clone().unflatten(0, (-1, state.beam))
        logits, caches = self._step(rows, state.memories, state.caches)
        state.caches = list(caches)
        return logits


def _some(bias: Tensor | None) -> Tensor:
    assert bias is not None, "what is compiled or exported does not ask whether there is padding"
    return bias
