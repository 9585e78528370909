"""Parts of a corpus: every pair once, sizes that double, and like lengths in all of them."""

import numpy as np
import pytest
from tiny_task import make_data

from hat.data.batching import validation_batches, validation_rows
from hat.data.corpus import ParallelCorpus
from hat.data.parts import nested_parts
from hat.special_ids import PAD_ID


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ParallelCorpus:
    return ParallelCorpus.load(make_data(tmp_path_factory.mktemp("task")), "train")


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5, 6])
def test_every_pair_once_and_each_part_as_large_as_all_before(corpus: ParallelCorpus, parts: int) -> None:
    found = nested_parts(corpus, parts, seed=1, least=1)
    assert len(found) == parts
    assert sorted(np.concatenate(found).tolist()) == list(range(len(corpus)))
    before = len(found[0])
    for part in found[1:]:
        assert abs(len(part) - before) <= parts  # the last pairs by length may not fill a whole stratum
        before += len(part)


def test_all_parts_have_like_lengths(corpus: ParallelCorpus) -> None:
    lengths = corpus.target_lengths(0, len(corpus))
    for part in nested_parts(corpus, 4, seed=1, least=1):
        assert lengths[part].mean() == pytest.approx(lengths.mean(), rel=0.05)
        assert np.all(np.diff(lengths[part]) >= 0)


def test_a_seed_decides(corpus: ParallelCorpus) -> None:
    first, again, other = (nested_parts(corpus, 4, seed, least=1) for seed in (1, 1, 2))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(first, other, strict=False))


@pytest.mark.parametrize(("least", "parts"), [(121, 1), (120, 1), (60, 2), (31, 2), (30, 3), (7, 5), (1, 5)])
def test_no_part_is_too_small(corpus: ParallelCorpus, least: int, parts: int) -> None:
    """The corpus has 120 pairs."""
    found = nested_parts(corpus, 5, seed=1, least=least)
    assert len(found) == parts and (parts == 1 or len(found[0]) >= least)


def test_batches_of_some_rows(corpus: ParallelCorpus) -> None:
    rows = nested_parts(corpus, 3, seed=1, least=1)[2]
    planned = validation_rows(corpus, 200, 9, rows)
    batches = validation_batches(corpus, 200, 9, rows)
    assert all(batch.num_sentences <= 9 for batch in batches)
    targets = [row[row.ne(PAD_ID)].tolist() for batch in batches for row in batch.target_out]
    in_order = [row for batch in planned for row in batch.tolist()]
    assert targets == [corpus.target(row).tolist() for row in in_order] and sorted(in_order) == sorted(rows.tolist())
