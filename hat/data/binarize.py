"""Chunks of raw text → counts and token ids; the functions that the workers of ``hat-prepare`` run.

Results come back in the order of the chunks, so that nothing depends on the number of workers.
"""

import functools
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hat.config import Section
from hat.data.codec import TextCodec
from hat.data.corpus import id_type
from hat.data.text import Chunk, single_line
from hat.data.tokenizer import Tokenizer, TokenizerSettings, WordSplitter, load_tokenizer
from hat.data.vocabulary import Vocabulary
from hat.errors import DataError
from hat.special_ids import EOS_ID, UNK_ID

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_PER_WORKER = 3  # chunks sent ahead: enough to keep workers busy, few enough to bound memory


class PairFilter(Section):
    """Which training pairs are kept. Lengths are in tokens, the end symbol not counted."""

    min_tokens: int = 1
    """Pairs with a shorter side are dropped."""
    max_tokens: int | None = None
    """Pairs with a longer side are dropped."""
    max_length_ratio: float | None = None
    """Pairs whose longer side is more than this many times the shorter one are dropped."""

    def reason(self, source_tokens: int, target_tokens: int) -> str | None:
        """Why a pair of these lengths is dropped, or None when it is kept."""
        shorter, longer = sorted((source_tokens, target_tokens))
        if shorter < self.min_tokens:
            return "too_short"
        if self.max_tokens is not None and longer > self.max_tokens:
            return "too_long"
        if self.max_length_ratio is not None and longer > self.max_length_ratio * shorter:
            return "length_ratio"
        return None


@dataclass
class SideIds:
    """One side of a binarised chunk."""

    ids: npt.NDArray[Any]
    """Token ids end to end, each sentence closed by ``EOS_ID``."""
    lengths: npt.NDArray[np.int64]
    """Tokens of each sentence, end symbol included."""
    unknown: int
    """Tokens that the vocabulary lacks."""


@dataclass
class BinaryChunk:
    """The pairs of a chunk that were kept, as ids."""

    source: SideIds
    target: SideIds
    dropped: Counter[str]
    """Pairs left out, by reason."""
    source_text: list[str] = field(default_factory=list)
    """Source lines as they were given (evaluation sets only)."""
    target_text: list[str] = field(default_factory=list)
    """Target lines as they were given (evaluation sets only)."""


def count_words(
    chunk: Chunk, source_settings: TokenizerSettings, target_settings: TokenizerSettings
) -> tuple[Counter[str], Counter[str]]:
    """How often each word occurs in the source and in the target of a chunk."""
    source_words, target_words = _splitter(source_settings), _splitter(target_settings)
    source_counts: Counter[str] = Counter()
    target_counts: Counter[str] = Counter()
    for _, source, target in chunk.pairs():
        source_counts.update(source_words.split(source))
        target_counts.update(target_words.split(target))
    return source_counts, target_counts


def count_pieces(chunk: Chunk, folder: str, pair_filter: PairFilter) -> tuple[Counter[str], Counter[str]]:
    """How often each piece occurs in the pairs of a chunk that ``pair_filter`` keeps.

    Args:
        chunk: raw lines.
        folder: holds the tokenisers, in ``source/`` and ``target/``.
        pair_filter: which pairs count.
    """
    source_tokenizer, target_tokenizer = _tokenizer(f"{folder}/source"), _tokenizer(f"{folder}/target")
    source_counts: Counter[str] = Counter()
    target_counts: Counter[str] = Counter()
    for _, source, target in chunk.pairs():
        source_pieces, target_pieces = source_tokenizer.split(source), target_tokenizer.split(target)
        if pair_filter.reason(len(source_pieces), len(target_pieces)) is None:
            source_counts.update(source_pieces)
            target_counts.update(target_pieces)
    return source_counts, target_counts


def binarize(chunk: Chunk, folder: str, pair_filter: PairFilter | None) -> BinaryChunk:
    """Turn a chunk into ids.

    Args:
        chunk: raw lines.
        folder: holds the codec: tokenisers and vocabularies.
        pair_filter: which pairs to keep; None for evaluation sets, whose pairs are all kept, with their text.

    Raises:
        DataError: if a line is not UTF-8, or an evaluation set has a line without any token.
    """
    codec = _codec(folder)
    source_rows: list[list[int]] = []
    target_rows: list[list[int]] = []
    result_text: tuple[list[str], list[str]] = ([], [])
    dropped: Counter[str] = Counter()
    for number, source, target in chunk.pairs():
        source_ids, target_ids = codec.encode_source(source), codec.encode_target(target)
        if pair_filter is None:
            for ids, path in ((source_ids, chunk.source_path), (target_ids, chunk.target_path)):
                if len(ids) == 1:
                    raise DataError(
                        f"{path}, line {number}: must hold text, is empty; remove the pair from both files."
                    )
            for texts, line in zip(result_text, (source, target), strict=True):
                texts.append(single_line(line))
        elif reason := pair_filter.reason(len(source_ids) - 1, len(target_ids) - 1):
            dropped[reason] += 1
            continue
        source_rows.append(source_ids)
        target_rows.append(target_ids)
    return BinaryChunk(
        _side(source_rows, codec.source_vocabulary), _side(target_rows, codec.target_vocabulary), dropped, *result_text
    )


def _side(rows: list[list[int]], vocabulary: Vocabulary) -> SideIds:
    ids = np.array([index for row in rows for index in row], dtype=id_type(len(vocabulary)))
    assert all(row[-1] == EOS_ID for row in rows)
    return SideIds(ids, np.array([len(row) for row in rows], dtype=np.int64), int(np.count_nonzero(ids == UNK_ID)))


# Every chunk names what it needs, and a worker keeps what it loaded for the next one.
_splitter = functools.lru_cache(maxsize=2)(WordSplitter)


@functools.lru_cache(maxsize=2)
def _tokenizer(folder: str) -> Tokenizer:
    return load_tokenizer(folder)


@functools.lru_cache(maxsize=1)
def _codec(folder: str) -> TextCodec:
    return TextCodec.load(Path(folder))


class Workers:
    """Processes that map a function over chunks; a context manager. With one worker all runs in this process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        if self._count > 1:
            # Not forked: the calling process may have threads.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, mp_context=spawn, initializer=_ignore_interrupts)
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """``function`` of each item, in order. Only a few items are taken from ``items`` ahead of time.

        Raises:
            DataError: if a worker was killed.
        """
        if self._pool is None:
            yield from map(function, items)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > _WAITING_PER_WORKER * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError("a worker process was killed, most likely for lack of memory; set fewer workers.") from None


def _ignore_interrupts() -> None:
    """Let the parent process alone react to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
