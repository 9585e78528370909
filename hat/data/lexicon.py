"""Which target tokens translate a source token, learnt from sentence pairs: IBM Model 1, by expectation-maximisation.

What pairs of tokens occur in one sentence pair at all is sorted once; every iteration is then a few passes over arrays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hat.config import Section
from hat.data.corpus import ParallelCorpus, Sentences
from hat.data.shortlist import IdArray, Shortlist
from hat.special_ids import EOS_ID, UNK_ID

_ITERATIONS = 5
_BLOCK = 1 << 22  # links that are looked up at once


class ShortlistConfig(Section):
    """Which target tokens decoding may choose from, when it is told to use the shortlist."""

    per_token: int = Field(default=50, ge=1)
    """Target tokens for each token of the source sentence: its likeliest translations."""
    always: int = Field(default=200, ge=0)
    """The most frequent target tokens, for every sentence."""
    pairs: int = Field(default=100_000, ge=1)
    """Training pairs to learn from, drawn at random; a hundred thousand take about a gigabyte of memory."""


@dataclass(frozen=True)
class _Links:
    """All (source token, target token) of each sentence pair, those of one target token next to each other."""

    pairs: npt.NDArray[np.uint64]
    """The different ones, ascending: source id * target vocabulary + target id, (P,)."""
    which: npt.NDArray[np.int32]
    """Which of them each link is, (L,)."""
    starts: npt.NDArray[np.int64]
    """Where the links of each target token begin, (target tokens,)."""
    counts: npt.NDArray[np.int64]
    """How many there are, (target tokens,)."""


def learn_shortlist(corpus: ParallelCorpus, config: ShortlistConfig, joint: bool, seed: int) -> Shortlist:
    """The likeliest translations of every source token.

    Args:
        corpus: the training pairs.
        config: how many, and from how many pairs.
        joint: both sides have the same tokens under the same ids, so that every token may be copied, too.
        seed: draws the pairs.

    Source: Model 1 of Brown et al., 1993; the source's end symbol stands for their empty word.
    """
    rows = np.arange(len(corpus))
    if len(corpus) > config.pairs:
        rows = np.sort(np.random.default_rng(seed).choice(len(corpus), config.pairs, replace=False))
    source, target = (_take(side, rows) for side in (corpus.source_sentences, corpus.target_sentences))
    target_size = corpus.target_vocab_size
    frequencies = np.bincount(target[0], minlength=target_size)
    frequencies[: UNK_ID + 1] = 0  # the special tokens are there anyway
    always = np.argsort(-frequencies, kind="stable")[: config.always].astype(np.int32)
    links = _links(*source, *target, target_size)
    likely = _likeliest(links, _translation_probs(links, target_size), corpus, config.per_token)
    if joint:
        likely = np.hstack([np.arange(len(likely), dtype=np.int32)[:, None], likely])
    return Shortlist(always, likely, target_size)


def _take(sentences: Sentences, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids end to end, and lengths, of these sentences."""
    taken = [sentences[int(row)] for row in rows]
    return np.concatenate(taken).astype(np.int64), np.array([len(ids) for ids in taken], dtype=np.int64)


def _links(
    source: npt.NDArray[np.int64],
    source_lengths: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    target_lengths: npt.NDArray[np.int64],
    target_size: int,
) -> _Links:
    counts = np.repeat(source_lengths, target_lengths)  # every target token is linked to all of its source sentence
    starts = np.cumsum(counts) - counts
    source_starts = np.repeat(np.cumsum(source_lengths) - source_lengths, target_lengths)
    keys = np.repeat((source_starts - starts).astype(np.int64), counts)
    keys += np.arange(len(keys))
    keys = source[keys].astype(np.uint64)
    keys *= np.uint64(target_size)
    keys += np.repeat(target.astype(np.uint64), counts)
    pairs = np.unique(keys)
    which = np.empty(len(keys), dtype=np.int32)
    for start in range(0, len(keys), _BLOCK):
        which[start : start + _BLOCK] = np.searchsorted(pairs, keys[start : start + _BLOCK])
    return _Links(pairs, which, starts, counts)


def _translation_probs(links: _Links, target_size: int) -> npt.NDArray[np.float64]:
    """p(target token | source token) of every pair of tokens, (P,)."""
    sources = links.pairs // np.uint64(target_size)
    first = np.flatnonzero(np.diff(sources, prepend=sources[:1] + np.uint64(1)))  # where another source token begins
    sizes = np.diff(first, append=len(sources))
    probs = np.ones(len(links.pairs))
    for _ in range(_ITERATIONS):
        shares = probs[links.which].astype(np.float32)
        shares /= np.repeat(np.add.reduceat(shares, links.starts), links.counts)
        expected = np.bincount(links.which, weights=shares, minlength=len(probs))
        probs = expected / np.repeat(np.add.reduceat(expected, first), sizes)
    return probs


def _likeliest(links: _Links, probs: npt.NDArray[np.float64], corpus: ParallelCorpus, number: int) -> IdArray:
    """The target ids with the highest probabilities for each source id, (source vocabulary, number)."""
    sources, targets = np.divmod(links.pairs.astype(np.int64), corpus.target_vocab_size)
    order = np.lexsort((targets, -probs, sources))
    order = order[targets[order] > UNK_ID]
    sources, targets = sources[order], targets[order]
    first = np.searchsorted(sources, np.arange(corpus.source_vocab_size))
    rank = np.arange(len(sources)) - first[sources]
    kept = rank < number
    likely = np.full((corpus.source_vocab_size, number), EOS_ID, dtype=np.int32)
    likely[sources[kept], rank[kept]] = targets[kept]
    return likely
