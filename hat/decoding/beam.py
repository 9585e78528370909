"""Batched beam search over a standalone Transformer, one position a step, with incremental state."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hat.config import Section
from hat.errors import DataError
from hat.special_ids import EOS_ID, PAD_ID


class BeamOptions(Section):
    """How the best translation is looked for."""

    beam: int = Field(default=5, gt=0)
    """Hypotheses kept at every step; 1 is greedy decoding."""
    length_penalty: float = Field(default=1.0, ge=-10, le=10)
    """A hypothesis scores its summed log-probability / length^penalty, the end symbol counting."""
    max_length_ratio: float = Field(default=1.0, ge=0)
    """Longest translation: ratio * source length + offset, the source's end symbol counting, the target's not."""
    max_length_offset: int = Field(default=200, ge=0)
    min_length: int = Field(default=1, ge=0)
    """Shortest translation, the end symbol not counting."""

    @model_validator(mode="after")
    def _check(self) -> "BeamOptions":
        if self.max_length_ratio == 0 and self.max_length_offset < max(self.min_length, 1):
            raise ValueError(
                f"max_length_offset must be at least min_length ({self.min_length}) and 1 when max_length_ratio is 0, "
                f"is {self.max_length_offset}"
            )
        return self


@dataclass(frozen=True)
class Hypothesis:
    """One finished translation."""

    tokens: tuple[int, ...]
    """Token ids; the last one is the end symbol."""
    score: float
    """Summed log-probability (nats) / length^penalty."""
    token_scores: tuple[float, ...]
    """Log-probability of every token, in nats."""


class DecodingState(Protocol):
    """What a network keeps between two steps."""

    def follow(self, parents: Tensor, sentences: Tensor | None = None) -> None:
        """Let hypothesis j of each sentence continue what was hypothesis ``parents[b, j]`` (int64, (B, beam)).

        ``sentences`` (int64) are those that are kept, None for all; ``parents`` are theirs.
        """


class DecodingNetwork(Protocol):
    """What can be decoded: :class:`hat.nn.Transformer`, or the same network on another backend."""

    def encode(self, source: Tensor) -> Any:
        """Whatever ``start`` needs of token ids (B, S), padded on the right."""

    def start(self, encoded: Any, beam: int) -> Any:
        """The :class:`DecodingState` before the first step, for ``beam`` hypotheses a sentence."""

    def step(self, tokens: Tensor, state: Any) -> Tensor:
        """Logits (B, beam, V) of the next token after ``tokens`` (B, beam); ``state`` is brought up to date.

        The search overwrites them: they must be a tensor of their own.
        """


@torch.inference_mode()
def beam_search(model: DecodingNetwork, source: Tensor, options: BeamOptions) -> list[list[Hypothesis]]:
    """Translate a batch.

    Args:
        model: in evaluation mode.
        source: token ids (B, S), each row ending with the end symbol, padded on the right.
        options: beam, penalty and length limits.

    Returns:
        For each sentence up to ``beam`` hypotheses, best first.
    """
    return search_encoded(model, model.encode(source), source.ne(PAD_ID).sum(1), options)


@torch.inference_mode()
def search_encoded(
    model: DecodingNetwork, encoded: Any, source_lengths: Tensor, options: BeamOptions
) -> list[list[Hypothesis]]:
    """Beam search from the encoder's output; ``source_lengths`` (B,) count tokens with their end symbol.

    It computes on the device of ``source_lengths``, which must be that of the model.

    A sentence is done when ``beam`` hypotheses have ended; an end symbol counts only among the ``beam`` best
    candidates of its step, and at the maximum length it is the only candidate. Done sentences leave the batch.

    Raises:
        DataError: if the model's scores are not numbers.

    Source: HAT (arXiv:2005.14187), section 3.2, names beam and penalty; what ends a sentence is as in the authors'
    program, which takes the padded source length where this takes each sentence's own.
    """
    ratio, offset = options.max_length_ratio, options.max_length_offset
    limits = [max(int(ratio * length + offset), options.min_length, 1) for length in source_lengths.tolist()]
    search = _Search(model, encoded, limits, source_lengths.device, options)
    while search.sentences:
        search.advance()
    if not all(search.finished):
        raise DataError("the model's scores are not numbers (NaN); its weights are damaged or its precision too low.")
    return [sorted(finished, key=lambda hypothesis: -hypothesis.score)[: options.beam] for finished in search.finished]


@dataclass(frozen=True)
class _Position:
    """The hypotheses after one step: R sentences, ``beam`` each."""

    rows: list[int] | None
    """Which sentences of the position before these are; None for the same."""
    parents: Tensor
    """Which hypothesis of its sentence each continues, (R, beam)."""
    tokens: Tensor
    """The token it adds, (R, beam)."""
    scores: Tensor
    """Summed log-probability with that token, (R, beam)."""

    @cached_property
    def lists(self) -> tuple[list[list[int]], list[list[int]], list[list[float]]]:
        """Parents, tokens and scores as Python numbers."""
        return self.parents.tolist(), self.tokens.tolist(), self.scores.tolist()


class _Search:
    """The unfinished part of a batch: R sentences, ``beam`` rows each."""

    def __init__(
        self, model: DecodingNetwork, encoded: Any, limits: list[int], device: torch.device, options: BeamOptions
    ) -> None:
        self.model = model
        self.options = options
        self.limits = limits
        self.finished: list[list[Hypothesis]] = [[] for _ in limits]
        self.sentences = list(range(len(limits)))  # original numbers of the R sentences
        self.shortest = min(limits, default=0)  # of their limits
        self.state: DecodingState = model.start(encoded, options.beam)
        self.written: list[_Position] = []
        shape = len(limits), options.beam
        self.tokens = torch.full(shape, EOS_ID, dtype=torch.int64, device=device)
        # Summed log-probability; at first only one row of each sentence is alive.
        self.scores = torch.zeros(shape, device=device)
        self.scores[:, 1:] = float("-inf")

    def advance(self) -> None:
        """Add one token to every hypothesis, put finished ones aside, drop finished sentences."""
        beam = self.options.beam
        total = self._next_scores()  # (R, beam, V)
        vocab = total.size(2)
        scores, indices = best(total.flatten(1), min(2 * beam, beam * vocab - 1))
        parents, tokens = indices.div(vocab, rounding_mode="floor"), indices.remainder(vocab)
        ends = tokens.eq(EOS_ID)
        rows = None
        if len(self.written) >= self.shortest or bool(ends.any()):
            self._finish(scores, parents, ends)
            # The best candidates that go on: a stable sort moves the ended ones to the back.
            order = ends.to(torch.uint8).sort(dim=1, stable=True).indices
            parents, tokens, scores = (x.gather(1, order) for x in (parents, tokens, scores))
            rows = self._unfinished()
        parents, tokens, scores = parents[:, :beam], tokens[:, :beam], scores[:, :beam]
        if rows is None:
            self.state.follow(parents)
        else:
            kept = torch.tensor(rows, dtype=torch.int64, device=parents.device)
            parents, tokens, scores = parents[kept], tokens[kept], scores[kept]
            self.sentences = [self.sentences[row] for row in rows]
            self.shortest = min((self.limits[sentence] for sentence in self.sentences), default=0)
            self.state.follow(parents, kept)
        self.tokens, self.scores = tokens, scores
        self.written.append(_Position(rows, parents, tokens, scores))

    def _next_scores(self) -> Tensor:
        """Summed log-probability of every hypothesis with every next token, forbidden ones at -inf: (R, beam, V)."""
        logits = self.model.step(self.tokens, self.state)
        scores = _log_softmax(logits.float())
        scores.select(2, PAD_ID).fill_(float("-inf"))
        length = len(self.written)
        if length < self.options.min_length:
            scores.select(2, EOS_ID).fill_(float("-inf"))
        if length >= self.shortest:
            full = [row for row, sentence in enumerate(self.sentences) if length >= self.limits[sentence]]
            ending = scores[full, :, EOS_ID]
            scores[full] = float("-inf")
            scores[full, :, EOS_ID] = ending
        return scores.add_(self.scores.unsqueeze(2))

    def _finish(self, scores: Tensor, parents: Tensor, ends: Tensor) -> None:
        """Put aside the hypotheses that end now; only those among the ``beam`` best candidates count."""
        beam = self.options.beam
        ended = ends[:, :beam] & scores[:, :beam].isfinite()
        length = len(self.written) + 1  # with the end symbol that comes now
        for row, column in ended.nonzero().tolist():
            finished = self.finished[self.sentences[row]]
            if len(finished) == beam:
                continue
            tokens, sums = self._trace(row, int(parents[row, column]))
            sums.append(float(scores[row, column]))
            finished.append(
                Hypothesis(
                    tokens=(*tokens, EOS_ID),
                    score=sums[-1] / length**self.options.length_penalty,
                    token_scores=tuple(after - before for before, after in pairwise(sums)),
                )
            )

    def _trace(self, row: int, column: int) -> tuple[list[int], list[float]]:
        """Tokens of a hypothesis, and the sum of log-probabilities before the first and after each."""
        tokens, sums = [], []
        for position in reversed(self.written):
            parents, added, scores = position.lists
            tokens.append(added[row][column])
            sums.append(scores[row][column])
            column = parents[row][column]
            row = row if position.rows is None else position.rows[row]
        return tokens[::-1], [0.0, *sums[::-1]]

    def _unfinished(self) -> list[int] | None:
        """Rows of the sentences that go on: not enough hypotheses yet, and room for another token; None for all."""
        length = len(self.written)
        rows = [
            row
            for row, sentence in enumerate(self.sentences)
            if len(self.finished[sentence]) < self.options.beam and length < self.limits[sentence]
        ]
        return None if len(rows) == len(self.sentences) else rows


def _log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities; the logits are no longer needed."""
    # On the CPU the pages of new memory take as long as the arithmetic when the batch is large.
    return torch.log_softmax(logits, dim=-1, out=logits if logits.device.type == "cpu" else None)


_BLOCK = 64  # scores whose maximum is taken at once when the best are looked for
_SHORT = 1 << 14  # scores that are sorted before their blocks would be found


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of every row (R, W) and where they are, largest first: ``topk``, faster for long rows.

    The best scores are in the blocks of the best maxima, and few blocks are quickly sorted.
    """
    width = scores.size(1)
    blocks = width // _BLOCK
    if width < _SHORT or blocks < count:
        return scores.topk(count, dim=1)
    end = blocks * _BLOCK
    chosen = scores[:, :end].unflatten(1, (blocks, _BLOCK)).amax(2).topk(count, dim=1, sorted=False).indices
    within = torch.arange(_BLOCK, device=scores.device)
    positions = torch.add(within, chosen.unsqueeze(2), alpha=_BLOCK).flatten(1)  # (R, count * _BLOCK)
    if end < width:
        rest = torch.arange(end, width, device=scores.device).expand(scores.size(0), -1)
        positions = torch.cat([positions, rest], dim=1)
    values, found = scores.gather(1, positions).topk(count, dim=1)
    return values, positions.gather(1, found)
