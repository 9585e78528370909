"""Which target tokens translate a source token, learnt from sentence pairs: IBM Model 1, by expectation-maximisation.

What pairs of tokens occur in one sentence pair at all is sorted once; every iteration is then a few passes over arrays.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from tqdm import tqdm

from hat.config import Section
from hat.data.corpus import ParallelCorpus, Sentences
from hat.data.shortlist import IdArray, Shortlist
from hat.special_ids import EOS_ID, UNK_ID

_ITERATIONS = 5
_BLOCK = 2_000_000  # links at a time, so that what is between needs little memory

_T = TypeVar("_T")


class ShortlistConfig(Section):
    """Which target tokens decoding may choose from, when it is told to use the shortlist."""

    per_token: int = Field(default=50, ge=1)
    """Target tokens for each token of the source sentence: its likeliest translations."""
    always: int = Field(default=200, ge=0)
    """The most frequent target tokens, for every sentence."""
    pairs: int = Field(default=100_000, ge=1)
    """Training pairs to learn from, drawn at random; a hundred thousand of 28 tokens take minutes and up to 2 GB."""


@dataclass(frozen=True)
class _Links:
    """Every target token linked to all tokens of its source sentence, those of one target token next to each other."""

    pairs: npt.NDArray[np.uint64]
    """The different (source token, target token), ascending: source id * target vocabulary + target id, (P,)."""
    blocks: Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]
    """Of some sentences each: which of the pairs every link is, and how many links each target token has."""


def learn_shortlist(
    corpus: ParallelCorpus, config: ShortlistConfig, joint: bool, vocabularies: str, seed: int
) -> Shortlist:
    """The likeliest translations of every source token.

    Args:
        corpus: the training pairs.
        config: how many, and from how many pairs.
        joint: both sides have the same tokens under the same ids, so that every token may be copied, too.
        vocabularies: tells the corpus's vocabularies from others.
        seed: draws the pairs.

    Source: Model 1 of Brown et al., 1993; the source's end symbol stands for their empty word.
    """
    rows = np.arange(len(corpus))
    if len(corpus) > config.pairs:
        rows = np.sort(np.random.default_rng(seed).choice(len(corpus), config.pairs, replace=False))
    parts = _blocks(corpus, rows)
    links = _links(corpus, parts)
    number = min(config.per_token, corpus.target_vocab_size)
    likely = _likeliest(links, _translation_probs(links, corpus.target_vocab_size), corpus, number)
    if joint:
        likely = np.hstack([np.arange(len(likely), dtype=np.int32)[:, None], likely])
    always = _most_frequent(corpus, parts, config.always)
    return Shortlist(always, likely, corpus.target_vocab_size, vocabularies)


def _most_frequent(corpus: ParallelCorpus, parts: Sequence[npt.NDArray[np.int64]], number: int) -> IdArray:
    frequencies = np.zeros(corpus.target_vocab_size, dtype=np.int64)
    for part in parts:
        frequencies += np.bincount(_take(corpus.target_sentences, part)[0], minlength=len(frequencies))
    frequencies[: UNK_ID + 1] = 0  # the special tokens are there anyway
    return np.argsort(-frequencies, kind="stable")[:number].astype(np.int32)


def _blocks(corpus: ParallelCorpus, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """The rows in runs of about ``_BLOCK`` links."""
    lengths = [
        side.offsets[rows + 1] - side.offsets[rows] for side in (corpus.source_sentences, corpus.target_sentences)
    ]
    number = np.cumsum(lengths[0].astype(np.int64) * lengths[1]) // _BLOCK
    return np.split(rows, np.flatnonzero(np.diff(number)) + 1)


def _take(sentences: Sentences, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids end to end, and lengths, of these sentences."""
    taken = [sentences[int(row)] for row in rows]
    return np.concatenate(taken).astype(np.int64), np.array([len(ids) for ids in taken], dtype=np.int64)


def _links(corpus: ParallelCorpus, parts: Sequence[npt.NDArray[np.int64]]) -> _Links:
    """Twice over the sentences: what pairs there are, then which of them each link is."""
    found = [np.unique(_keys(corpus, part)[0]) for part in _shown(parts, "tokens that occur together")]
    pairs = np.unique(np.concatenate(found))
    blocks = []
    for part in _shown(parts, "linking them"):
        keys, counts = _keys(corpus, part)
        blocks.append((np.searchsorted(pairs, keys).astype(np.int32), counts))
    return _Links(pairs, blocks)


def _shown(blocks: Sequence[_T], what: str) -> Iterable[_T]:
    """The blocks, with a bar on a terminal."""
    shown: Iterable[_T] = tqdm(blocks, desc=what, disable=not sys.stderr.isatty(), leave=False)
    return shown


def _keys(corpus: ParallelCorpus, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The pair of every link of these sentences, and how many links each target token has."""
    source, source_lengths = _take(corpus.source_sentences, rows)
    target, target_lengths = _take(corpus.target_sentences, rows)
    counts = np.repeat(source_lengths, target_lengths)
    starts = np.cumsum(counts) - counts
    source_starts = np.repeat(np.cumsum(source_lengths) - source_lengths, target_lengths)
    places = np.arange(int(counts.sum())) + np.repeat(source_starts - starts, counts)
    keys = source[places] * corpus.target_vocab_size + np.repeat(target, counts)
    return keys.astype(np.uint64), counts


def _translation_probs(links: _Links, target_size: int) -> npt.NDArray[np.float64]:
    """p(target token | source token) of every pair of tokens, (P,)."""
    sources = links.pairs // np.uint64(target_size)
    first = np.flatnonzero(np.concatenate([[True], sources[1:] != sources[:-1]]))  # where another source token begins
    sizes = np.diff(first, append=len(sources))
    probs = np.ones(len(links.pairs))
    for iteration in range(1, _ITERATIONS + 1):
        expected = np.zeros(len(probs))
        for which, counts in _shown(links.blocks, f"iteration {iteration} of {_ITERATIONS}"):
            shares = probs[which]
            shares /= np.repeat(np.add.reduceat(shares, np.cumsum(counts) - counts), counts)
            np.add.at(expected, which, shares)
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
