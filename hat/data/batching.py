"""Batches of sentence pairs of about the same length, in an order that a seed decides.

An epoch is cut into *pools* of about a million pairs, made of contiguous blocks of rows in shuffled order. A pool's
pairs are sorted by length, packed into batches, and the batches shuffled. So memory stays bounded for any corpus, the
disk is read in blocks, and a saved position is found again by packing one pool only.
"""

import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from hat.data.batch import Batch, Rows, collate
from hat.data.corpus import ParallelCorpus
from hat.errors import ConfigError, DataError

POOL_ROWS = 1 << 20
BLOCK_ROWS = 1 << 10
BATCH_COST = 256
"""About as many tokens take a processor as long as what has to be done for a batch however small it is."""
_GPU_BATCH_COST = 4096  # likewise of a GPU


def batch_cost_on(device_type: str) -> int:
    """How many tokens take a device (``cpu``, ``cuda``) as long as what has to be done for a batch of any size."""
    return _GPU_BATCH_COST if device_type == "cuda" else BATCH_COST


def check_max_tokens(corpus: ParallelCorpus, max_tokens: int, max_sentences: int | None = None) -> None:
    """Check that every pair fits a batch. Raises ConfigError, naming the longest pair, when one does not."""
    if max_sentences is not None and max_sentences < 1:
        raise ConfigError(f"max_sentences must be at least 1, is {max_sentences}.")
    longest, row = 0, 0
    for sentences in (corpus.source_sentences, corpus.target_sentences):
        for start, lengths in sentences.length_chunks():
            if int(lengths.max()) > longest:
                longest, row = int(lengths.max()), start + int(lengths.argmax())
    if longest > max_tokens:
        raise ConfigError(
            f"{corpus.name}: max_tokens must be at least the longest sentence, {longest} tokens (pair {row + 1}), "
            f"is {max_tokens}; raise it, or leave such pairs out of the text (of the training text, max_tokens of "
            "hat-prepare does)."
        )


def pack(
    source_lengths: Rows, target_lengths: Rows, order: Rows, max_tokens: int, max_sentences: int | None = None
) -> list[Rows]:
    """Cut ``order`` into batches, each as long as ``max_tokens`` and ``max_sentences`` allow.

    The cost of a batch is its number of pairs times its longest sentence of either side.

    Args:
        source_lengths: tokens of each source sentence.
        target_lengths: tokens of each target sentence.
        order: positions in the two arrays, sorted so that neighbours are of similar length.
        max_tokens: highest cost of a batch; no sentence is longer.
        max_sentences: most pairs in a batch; None sets no limit.
    """
    longest = np.maximum(source_lengths, target_lengths)[order]
    most = len(order) if max_sentences is None else max_sentences
    batches = []
    start = 0
    while start < len(order):
        # No batch is larger than its first sentence allows.
        window = longest[start : start + min(most, max_tokens // int(longest[start]))]
        costs = np.maximum.accumulate(window) * np.arange(1, len(window) + 1)
        size = int(np.searchsorted(costs, max_tokens, side="right"))
        batches.append(order[start : start + size])
        start += size
    return batches


def sort_by_length(source_lengths: Rows, target_lengths: Rows, ties: Rows) -> Rows:
    """Positions by target length, then source length; equal pairs in the order of ``ties``.

    The source length rises for even target lengths and falls for odd ones, so that it has no jump where the target
    length changes and a batch across that border needs little padding.
    """
    zigzag = np.where(target_lengths % 2 == 0, source_lengths, -source_lengths)
    return np.lexsort((ties, zigzag, target_lengths))


class _Position(NamedTuple):
    """The next batch of the global stream."""

    epoch: int
    pool: int
    batch: int


class TrainingBatches:
    """The endless stream of training batches, one epoch after the other, as one of several workers sees it.

    The global stream depends on the corpus, ``max_tokens``, ``max_sentences`` and ``seed`` only. Update u takes the
    ``accumulate * world_size`` batches that follow those of update u - 1, whether or not an epoch ends among them;
    worker r gets batches r, r + world_size, … of these. So all workers agree on every update, nothing is left out, and
    one worker with ``accumulate=2`` sees what two with ``accumulate=1`` see together.

    The batches of the next update are prepared on a thread while the caller works on the current ones.

    Args:
        corpus: the training pairs.
        max_tokens: most tokens of a batch, padding included: pairs times the longest sentence of either side.
        seed: decides the order.
        world_size: number of workers.
        rank: which of them this is.
        accumulate: batches per update and worker.
        max_sentences: most pairs in a batch; None sets no limit.
        pool_rows: pairs sorted together.

    Raises:
        ConfigError: if a sentence is longer than ``max_tokens``.
    """

    def __init__(
        self,
        corpus: ParallelCorpus,
        *,
        max_tokens: int,
        seed: int,
        world_size: int = 1,
        rank: int = 0,
        accumulate: int = 1,
        max_sentences: int | None = None,
        pool_rows: int = POOL_ROWS,
    ) -> None:
        if not 0 <= rank < world_size or accumulate < 1:
            raise ConfigError(
                f"rank must be in [0, world_size) and accumulate at least 1; they are {rank} of {world_size} and "
                f"{accumulate}."
            )
        check_max_tokens(corpus, max_tokens, max_sentences)
        self._corpus = corpus
        self._plan = EpochPlan(len(corpus), seed, pool_rows)
        self._limits = max_tokens, max_sentences
        self._world_size, self._rank, self._accumulate = world_size, rank, accumulate
        self._position = _Position(0, 0, 0)
        self._packed: tuple[tuple[int, int], list[Rows]] | None = None  # the pool in use; only the thread touches it
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._prefetched: Future[tuple[list[Batch], _Position]] | None = None

    @property
    def epoch(self) -> int:
        """The epoch, from 0, that the next batch belongs to."""
        return self._position.epoch

    def next_update(self) -> list[Batch]:
        """This worker's batches of the next update, ``accumulate`` of them."""
        future = self._prefetched or self._thread.submit(self._prepare, self._position)
        batches, self._position = future.result()
        self._prefetched = self._thread.submit(self._prepare, self._position)
        return batches

    def state_dict(self) -> dict[str, Any]:
        """The position after what was handed out, as plain JSON values; the same on every worker."""
        return {**self._position._asdict(), "identity": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where ``state`` was taken; the number of workers may have changed since.

        Raises:
            ConfigError: if the state was taken on other data or with other settings.
            DataError: if it is no such state.
        """
        try:
            position = _Position(*(int(state[name]) for name in _Position._fields))
            identity = dict(state["identity"])
        except (KeyError, TypeError, ValueError):
            raise DataError("the saved position in the training data is damaged; resume from another one.") from None
        for name, value in self._identity().items():
            if identity.get(name) != value:
                raise ConfigError(
                    f"the saved position in the training data was taken with {name} {identity.get(name)}, "
                    f"this run has {value}; resume with the same {name}."
                )
        if self._prefetched is not None:
            self._prefetched.result()
            self._prefetched = None
        self._position = position

    def _identity(self) -> dict[str, int | None]:
        max_tokens, max_sentences = self._limits
        settings = {"max_tokens": max_tokens, "max_sentences": max_sentences, "seed": self._plan.seed}
        return {**settings, "pool_rows": self._plan.pool_rows, "pairs": len(self._corpus)}

    def _prepare(self, position: _Position) -> tuple[list[Batch], _Position]:
        """This worker's batches of the update that starts at ``position``, and where the next one starts."""
        batches = []
        for index in range(self._accumulate * self._world_size):
            packed = self._pool(position)
            if position.batch >= len(packed):
                last = position.pool + 1 == self._plan.num_pools
                position = (
                    _Position(position.epoch + 1, 0, 0) if last else _Position(position.epoch, position.pool + 1, 0)
                )
                packed = self._pool(position)
            if index % self._world_size == self._rank:
                batches.append(collate(self._corpus, packed[position.batch]))
            position = position._replace(batch=position.batch + 1)
        return batches, position

    def _pool(self, position: _Position) -> list[Rows]:
        key = position.epoch, position.pool
        if self._packed is None or self._packed[0] != key:
            self._packed = None  # frees the old pool before the new one is made
            self._packed = key, self._plan.batches(self._corpus, *key, *self._limits)
        return self._packed[1]


class EpochPlan:
    """Which rows belong to which pool of an epoch, and how a pool becomes batches.

    Args:
        rows: sentence pairs of the corpus.
        seed: decides every order.
        pool_rows: pairs sorted together, rounded up to whole blocks of rows.
    """

    def __init__(self, rows: int, seed: int, pool_rows: int = POOL_ROWS) -> None:
        if seed < 0:
            raise ConfigError(f"seed must be 0 or more, is {seed}.")
        if pool_rows < 1:
            raise ConfigError(f"pool_rows must be at least 1, is {pool_rows}.")
        self.rows, self.seed, self.pool_rows = rows, seed, pool_rows
        self._num_blocks = -(-rows // BLOCK_ROWS)
        self._pool_blocks = -(-pool_rows // BLOCK_ROWS)

    @property
    def num_pools(self) -> int:
        """Pools per epoch."""
        return -(-self._num_blocks // self._pool_blocks)

    def blocks(self, epoch: int, pool: int) -> list[tuple[int, int]]:
        """First row and end of each block of a pool."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self._num_blocks)
        chosen = order[pool * self._pool_blocks : (pool + 1) * self._pool_blocks]
        return [(int(b) * BLOCK_ROWS, min(int(b) * BLOCK_ROWS + BLOCK_ROWS, self.rows)) for b in chosen]

    def batches(
        self, corpus: ParallelCorpus, epoch: int, pool: int, max_tokens: int, max_sentences: int | None = None
    ) -> list[Rows]:
        """The rows of each batch of a pool, in the order they are trained on."""
        blocks = self.blocks(epoch, pool)
        rows = np.concatenate([np.arange(start, stop) for start, stop in blocks])
        source_lengths = np.concatenate([corpus.source_lengths(start, stop) for start, stop in blocks])
        target_lengths = np.concatenate([corpus.target_lengths(start, stop) for start, stop in blocks])
        rng = np.random.default_rng([self.seed, epoch, pool])
        order = sort_by_length(source_lengths, target_lengths, rng.permutation(len(rows)))
        packed = pack(source_lengths, target_lengths, order, max_tokens, max_sentences)
        return [rows[packed[index]] for index in rng.permutation(len(packed))]


def validation_rows(
    corpus: ParallelCorpus,
    max_tokens: int,
    max_sentences: int | None = None,
    rows: Rows | None = None,
    batch_cost: int = BATCH_COST,
) -> list[Rows]:
    """The rows of each batch when every pair is read once, shortest first; always the same.

    Few pairs differ much in length, so neighbours are put together only where that saves more than it pads.

    Args:
        corpus: the pairs.
        max_tokens: most tokens of a batch, padding included.
        max_sentences: most pairs in a batch; None sets no limit.
        rows: only these pairs; None takes all.
        batch_cost: how many tokens of either side take as long as one more batch.

    Raises:
        ConfigError: if a sentence is longer than ``max_tokens``.
    """
    check_max_tokens(corpus, max_tokens, max_sentences)
    rows = np.arange(len(corpus)) if rows is None else rows
    source_lengths, target_lengths = (
        lengths(0, len(corpus))[rows].astype(np.int64) for lengths in (corpus.source_lengths, corpus.target_lengths)
    )
    longest = np.maximum(source_lengths, target_lengths)
    order = np.lexsort((source_lengths + target_lengths, longest))
    limits = np.minimum(max_tokens // longest[order], max_sentences or len(rows))
    bounds = _cheapest_cuts(source_lengths[order], target_lengths[order], limits, max_tokens, batch_cost)
    return [rows[order[start:stop]] for start, stop in itertools.pairwise(bounds)]


def _cheapest_cuts(
    source_lengths: Rows, target_lengths: Rows, limits: Rows, max_tokens: int, batch_cost: int
) -> list[int]:
    """Where to cut a row of pairs so that the padded tokens of all batches and the cost of each are least.

    Args:
        source_lengths: of each pair.
        target_lengths: of each pair; the longer side of a pair is never shorter than that of the one before.
        limits: most pairs of a batch that starts with this pair.
        max_tokens: most tokens of a batch on its longer side, padding included.
        batch_cost: of each batch, in tokens.

    Returns:
        Where each batch starts, and the end.
    """
    pairs = len(source_lengths)
    least = np.full(pairs + 1, np.iinfo(np.int64).max)  # cost of the first so many pairs
    least[0] = 0
    before = np.zeros(pairs + 1, dtype=np.int64)  # where their last batch starts
    for start, limit in enumerate(limits.tolist()):
        window = slice(start, start + limit)
        source, target = np.maximum.accumulate(source_lengths[window]), np.maximum.accumulate(target_lengths[window])
        sizes = np.arange(1, len(source) + 1)
        sizes = sizes[sizes * np.maximum(source, target) <= max_tokens]  # a leading part: this only grows
        costs = least[start] + sizes * (source + target)[: len(sizes)] + batch_cost
        better = costs < least[start + sizes]
        least[start + sizes[better]] = costs[better]
        before[start + sizes[better]] = start
    cuts = [pairs]
    while cuts[-1] > 0:
        cuts.append(int(before[cuts[-1]]))
    return cuts[::-1]


def validation_batches(
    corpus: ParallelCorpus,
    max_tokens: int,
    max_sentences: int | None = None,
    rows: Rows | None = None,
    batch_cost: int = BATCH_COST,
) -> list[Batch]:
    """The batches of :func:`validation_rows`."""
    planned = validation_rows(corpus, max_tokens, max_sentences, rows, batch_cost)
    return [collate(corpus, batch) for batch in planned]
