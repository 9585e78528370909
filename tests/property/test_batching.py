import itertools
import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hat.data.batch import Batch
from hat.data.batching import (
    BLOCK_ROWS,
    POOL_ROWS,
    EpochPlan,
    TrainingBatches,
    validation_batches,
    validation_rows,
)
from hat.data.corpus import ParallelCorpus, Sentences
from hat.data.text import read_lines
from hat.errors import ConfigError, DataError
from hat.special_ids import EOS_ID, PAD_ID

DEMO = Path(__file__).parents[2] / "data" / "demo"


def make_corpus(rows: int, seed: int = 0, longest: int = 30) -> ParallelCorpus:
    """Random pairs with related lengths; the first id of a sentence is 4 + its row."""
    rng = np.random.default_rng(seed)
    source_lengths = rng.integers(2, longest, rows)
    target_lengths = np.clip(source_lengths + rng.integers(-3, 4, rows), 2, longest)
    sides = []
    for lengths in (source_lengths, target_lengths):
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids = rng.integers(4, 1000, offsets[-1])
        ids[offsets[:-1]] = 4 + np.arange(rows)
        ids[offsets[1:] - 1] = EOS_ID
        sides.append(Sentences(ids, offsets))
    return ParallelCorpus(*sides, source_vocab_size=rows + 1000, target_vocab_size=rows + 1000)


def batch_indices(
    corpus: ParallelCorpus,
    max_tokens: int,
    seed: int,
    epoch: int,
    max_sentences: int | None = None,
    pool_rows: int = POOL_ROWS,
) -> Iterator[np.ndarray]:
    """The rows of every batch of one epoch, in order."""
    plan = EpochPlan(len(corpus), seed, pool_rows)
    for pool in range(plan.num_pools):
        yield from plan.batches(corpus, epoch, pool, max_tokens, max_sentences)


def rows_of(batch: Batch) -> list[int]:
    return (batch.source[:, 0] - 4).tolist()


def same(one: list[Batch], other: list[Batch]) -> bool:
    fields = ("source", "target_in", "target_out")
    return len(one) == len(other) and all(
        torch.equal(getattr(a, name), getattr(b, name)) for a, b in zip(one, other, strict=True) for name in fields
    )


def stream(corpus: ParallelCorpus, **options: int) -> TrainingBatches:
    return TrainingBatches(corpus, **{"max_tokens": 200, "seed": 3, **options})


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 300),
    max_tokens=st.integers(30, 400),
    max_sentences=st.none() | st.integers(1, 20),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_every_row_once_within_the_limits(
    rows: int, max_tokens: int, max_sentences: int | None, seed: int, epoch: int
) -> None:
    corpus = make_corpus(rows)
    batches = list(batch_indices(corpus, max_tokens, seed, epoch, max_sentences))
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    for batch in batches:
        longest = max(max(len(corpus.source(row)), len(corpus.target(row))) for row in batch)
        assert longest * len(batch) <= max_tokens
        assert max_sentences is None or len(batch) <= max_sentences


def test_batches_are_as_full_as_they_can_be() -> None:
    corpus = make_corpus(500)
    by_size = [corpus_batch.tolist() for corpus_batch in batch_indices(corpus, 200, seed=1, epoch=0)]
    lengths = [max(len(corpus.source(row)), len(corpus.target(row))) for row in range(500)]
    costs = [len(batch) * max(lengths[row] for row in batch) for batch in by_size]
    # Adding one more sentence of at most the longest length would overflow; only the last one packed may be short.
    assert sum(cost + 30 + 3 * len(batch) < 200 for cost, batch in zip(costs, by_size, strict=True)) <= 1


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40), longest=st.integers(3, 12))
def test_batch_content_is_the_corpus(rows: int, longest: int) -> None:
    corpus = make_corpus(rows, longest=longest)
    seen = []
    for batch in validation_batches(corpus, 40):
        for index, row in enumerate(rows_of(batch)):
            seen.append(row)
            source, target = corpus.source(row).tolist(), corpus.target(row).tolist()
            assert [i for i in batch.source[index].tolist() if i != PAD_ID] == source
            assert batch.source[index].tolist()[: len(source)] == source, "padding must be on the right"
            assert batch.target_out[index].tolist()[: len(target)] == target
            assert batch.target_in[index].tolist()[: len(target)] == [EOS_ID, *target[:-1]]
            assert set(batch.target_in[index].tolist()[len(target) :]) <= {PAD_ID}
        assert batch.num_target_tokens == int((batch.target_out != PAD_ID).sum())
        assert torch.equal(batch.target_in == PAD_ID, batch.target_out == PAD_ID)
    assert sorted(seen) == list(range(rows))


def test_validation_batches_never_change_and_go_from_short_to_long() -> None:
    corpus = make_corpus(200)
    first, second = validation_batches(corpus, 150), validation_batches(corpus, 150)
    assert same(first, second)
    widths = [max(batch.source.size(1), batch.target_out.size(1)) for batch in first]
    assert widths == sorted(widths)
    assert all(batch.num_sentences <= 4 for batch in validation_batches(corpus, 150, max_sentences=4))


def test_same_seed_same_stream_other_seed_or_epoch_another() -> None:
    corpus = make_corpus(300)

    def epoch(seed: int, number: int) -> list[list[int]]:
        return [rows.tolist() for rows in batch_indices(corpus, 200, seed, number)]

    assert epoch(3, 0) == epoch(3, 0)
    assert epoch(3, 0) != epoch(4, 0)
    assert epoch(3, 0) != epoch(3, 1)
    one, other = stream(corpus), stream(corpus)
    assert all(same(one.next_update(), other.next_update()) for _ in range(80))


def test_stream_is_the_epochs_end_to_end() -> None:
    corpus = make_corpus(300)
    expected = [rows.tolist() for epoch in range(3) for rows in batch_indices(corpus, 200, 3, epoch)]
    batches = stream(corpus)
    epochs = []
    for rows in expected:
        epochs.append(batches.epoch)
        assert [rows_of(batch) for batch in batches.next_update()] == [rows]
    assert epochs[0] == 0 and sorted(set(epochs)) == [0, 1, 2] and epochs == sorted(epochs)


@pytest.mark.parametrize(("workers", "accumulate"), [(2, 1), (3, 1), (2, 3), (1, 6), (5, 2)])
def test_shards_together_are_the_whole(workers: int, accumulate: int) -> None:
    corpus = make_corpus(150)
    whole = stream(corpus, accumulate=workers * accumulate)
    shards = [stream(corpus, world_size=workers, rank=rank, accumulate=accumulate) for rank in range(workers)]
    for _ in range(20):  # crosses epochs, whose number of batches is no multiple of an update's
        parts = [shard.next_update() for shard in shards]
        together = [parts[rank][step] for step in range(accumulate) for rank in range(workers)]
        assert same(whole.next_update(), together)
        assert all(shard.state_dict() == whole.state_dict() for shard in shards)
        assert all(shard.epoch == whole.epoch for shard in shards)
    assert whole.epoch > 1


@settings(max_examples=25, deadline=None)
@given(before=st.integers(0, 40), accumulate=st.integers(1, 3), pool_blocks=st.integers(1, 3))
def test_resumed_stream_is_exactly_the_rest(before: int, accumulate: int, pool_blocks: int) -> None:
    corpus = BLOCKS
    options = {"accumulate": accumulate, "pool_rows": pool_blocks * BLOCK_ROWS, "max_tokens": 3000}
    run = stream(corpus, **options)
    for _ in range(before):
        run.next_update()
    state = json.loads(json.dumps(run.state_dict()))
    resumed = stream(corpus, **options)
    resumed.next_update()  # what it handed out before must leave no trace
    resumed.load_state_dict(state)
    assert resumed.epoch == run.epoch
    for _ in range(15):
        assert same(run.next_update(), resumed.next_update())
    assert run.state_dict() == resumed.state_dict()


BLOCKS = make_corpus(2 * BLOCK_ROWS + 100)


def test_resume_with_another_number_of_workers() -> None:
    corpus = make_corpus(200)
    one = stream(corpus, accumulate=2)
    for _ in range(7):
        one.next_update()
    two = [stream(corpus, world_size=2, rank=rank) for rank in range(2)]
    for shard in two:
        shard.load_state_dict(one.state_dict())
    for _ in range(10):
        assert same(one.next_update(), [batch for shard in two for batch in shard.next_update()])


def test_state_describes_what_was_handed_out() -> None:
    batches = stream(make_corpus(200))
    assert [batches.state_dict()[key] for key in ("epoch", "pool", "batch")] == [0, 0, 0]
    for number in range(1, 4):
        batches.next_update()
        assert batches.state_dict()["batch"] == number, "what is prefetched must not count"


def test_a_state_of_other_settings_is_refused() -> None:
    corpus = make_corpus(100)
    state = stream(corpus).state_dict()
    with pytest.raises(
        ConfigError, match="taken with max_tokens 200, this run has 300; resume with the same max_tokens"
    ):
        stream(corpus, max_tokens=300).load_state_dict(state)
    with pytest.raises(ConfigError, match="taken with seed 3, this run has 4"):
        stream(corpus, seed=4).load_state_dict(state)
    with pytest.raises(ConfigError, match="taken with pairs 100, this run has 101"):
        stream(make_corpus(101)).load_state_dict(state)
    for damaged in ({}, {**state, "batch": "x"}, {**state, "identity": None}):
        with pytest.raises(DataError, match="saved position in the training data is damaged"):
            stream(corpus).load_state_dict(damaged)


def test_impossible_settings_are_refused() -> None:
    corpus = make_corpus(100, longest=30)
    with pytest.raises(
        ConfigError, match=r"max_tokens must be at least the longest sentence, 30 tokens \(pair \d+\), is 29"
    ):
        stream(corpus, max_tokens=29)
    with pytest.raises(ConfigError, match="max_tokens must be at least"):
        validation_batches(corpus, 5)
    with pytest.raises(ConfigError, match="max_sentences must be at least 1, is 0"):
        stream(corpus, max_sentences=0)
    with pytest.raises(ConfigError, match="they are 2 of 2 and 1"):
        stream(corpus, world_size=2, rank=2)
    with pytest.raises(ConfigError, match="accumulate at least 1; they are 0 of 1 and 0"):
        stream(corpus, accumulate=0)
    with pytest.raises(ConfigError, match="seed must be 0 or more, is -1"):
        stream(corpus, seed=-1)


def share_of_tokens(source: np.ndarray, target: np.ndarray, max_tokens: int) -> float:
    """Tokens of both sides over all entries of both matrices, for sentences of these lengths."""
    sides = [Sentences(np.full(n.sum(), EOS_ID), np.concatenate([[0], np.cumsum(n)])) for n in (source, target)]
    real = padded = 0
    for rows in batch_indices(ParallelCorpus(*sides, 10, 10), max_tokens, seed=1, epoch=0):
        real += int(source[rows].sum() + target[rows].sum())
        padded += len(rows) * int(source[rows].max() + target[rows].max())
    return real / padded


def test_little_padding_on_lengths_as_in_multi30k() -> None:
    """Log-normal lengths with the moments of English-German Multi30k under 10,000 BPE merges (mean 14.7 tokens)."""
    rng = np.random.default_rng(1)
    source = np.clip(np.rint(rng.lognormal(2.647, 0.286, 29_000)), 5, 46).astype(int)
    target = np.clip(np.rint(source * rng.lognormal(-0.003, 0.163, 29_000)), 3, 52).astype(int)
    assert share_of_tokens(source, target, 4096) >= 0.95


def test_little_padding_on_multi30k(shared: Path) -> None:
    folder = shared / "data/multi30k/tok"
    words = [[len(line.split()) + 1 for line in read_lines(folder / f"train.lc.norm.tok.{side}.gz")] for side in SIDES]
    assert share_of_tokens(np.array(words[0]), np.array(words[1]), 4096) >= 0.955  # 0.959 when this was written


SIDES = ("en", "de")


def test_pools_cover_a_large_corpus_once_in_bounded_memory() -> None:
    rows = 3_000_000
    # Every sentence has 2 to 9 tokens; the ids are one number seen through a view without memory behind it.
    lengths = np.tile(np.arange(2, 10), rows // 8)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.broadcast_to(np.int64(EOS_ID), offsets[-1:].tolist())
    corpus = ParallelCorpus(Sentences(ids, offsets), Sentences(ids, offsets), 10, 10)
    seen = np.zeros(rows, dtype=np.uint8)
    tracemalloc.start()
    batches: Iterator[np.ndarray] = batch_indices(corpus, 4096, seed=1, epoch=0, pool_rows=1 << 18)
    for batch in batches:
        seen[batch] += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen.min() == seen.max() == 1
    assert peak < 50e6, "a pool of 262,144 rows needs some 20 MB; all rows at once would need 250 MB"


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    max_tokens=st.integers(30, 120),
    max_sentences=st.none() | st.integers(1, 4),
    batch_cost=st.integers(0, 80),
    seed=st.integers(0, 20),
)
def test_no_other_cut_of_the_validation_pairs_is_cheaper(
    rows: int, max_tokens: int, max_sentences: int | None, batch_cost: int, seed: int
) -> None:
    corpus = make_corpus(rows, seed)
    lengths = [(len(corpus.source(row)), len(corpus.target(row))) for row in range(rows)]

    def cost(batch: list[int]) -> float:
        """In padded tokens of both sides; infinite over a limit."""
        sources, targets = zip(*(lengths[row] for row in batch), strict=True)
        too_large = len(batch) * max(sources + targets) > max_tokens or len(batch) > (max_sentences or rows)
        return math.inf if too_large else len(batch) * (max(sources) + max(targets)) + batch_cost

    planned = [batch.tolist() for batch in validation_rows(corpus, max_tokens, max_sentences, None, batch_cost)]
    order = [row for batch in planned for row in batch]
    assert sorted(order) == list(range(rows))
    cheapest = math.inf
    for cuts in itertools.product([False, True], repeat=rows - 1):
        bounds = [0, *(index + 1 for index, cut in enumerate(cuts) if cut), rows]
        cheapest = min(cheapest, sum(cost(order[start:stop]) for start, stop in itertools.pairwise(bounds)))
    assert sum(map(cost, planned)) == cheapest < math.inf


def demo_corpus(split: str) -> ParallelCorpus:
    """The demo corpus's words, without their ids."""
    sides = []
    for language in ("de", "en"):
        lengths = [len(line.split()) + 1 for line in read_lines(DEMO / f"{split}.{language}.gz")]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        sides.append(Sentences(np.full(offsets[-1], EOS_ID), offsets))
    return ParallelCorpus(*sides, source_vocab_size=10, target_vocab_size=10)


@pytest.mark.parametrize("max_tokens", [1024, 2048, 4096])
def test_training_batches_of_the_demo_corpus_are_hardly_padded(max_tokens: int) -> None:
    corpus = demo_corpus("train")
    source, target = corpus.source_lengths(0, len(corpus)), corpus.target_lengths(0, len(corpus))
    tokens = padded = 0
    for rows in batch_indices(corpus, max_tokens, seed=1, epoch=0):
        tokens += int(source[rows].sum() + target[rows].sum())
        padded += len(rows) * int(source[rows].max() + target[rows].max())
    assert tokens >= 0.95 * padded


def test_validation_batches_of_the_demo_corpus_are_hardly_padded() -> None:
    batches = validation_batches(demo_corpus("valid"), 8192)
    tokens = sum(int(side.ne(PAD_ID).sum()) for batch in batches for side in (batch.source, batch.target_out))
    padded = sum(side.numel() for batch in batches for side in (batch.source, batch.target_out))
    assert tokens >= 0.85 * padded
