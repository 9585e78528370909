"""Shortlists: choosing among some target tokens is choosing with all others forbidden; and which tokens these are."""

import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_models import random_batch
from test_decoding import check_same, random_net, random_options
from torch import Tensor

from hat.data import lexicon
from hat.data.corpus import ParallelCorpus, Sentences
from hat.data.lexicon import ShortlistConfig, _links, _translation_probs, learn_shortlist
from hat.data.shortlist import Shortlist
from hat.decoding import beam_search
from hat.errors import DataError
from hat.nn.packed import PackedTransformer, pack
from hat.special_ids import EOS_ID


class Forbidding:
    """A packed model that gives all but some tokens no chance."""

    def __init__(self, net: PackedTransformer, candidates: Tensor) -> None:
        self.net, self.candidates = net, candidates
        self.encode, self.start = net.encode, net.start

    def step(self, tokens: Tensor, state: Any) -> Tensor:
        logits = self.net.step(tokens, state)
        return torch.full_like(logits, float("-inf")).index_copy(2, self.candidates, logits[:, :, self.candidates])


@pytest.mark.parametrize("seed", range(60))
def test_candidates_are_chosen_among_as_if_all_others_were_forbidden(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net)[0], random_options(rng, beam=rng.randint(1, 3))
    others = rng.sample(range(4, net.target_vocab_size), 6)
    candidates = torch.tensor([0, 1, 2, 3, *sorted(others)])
    packed = pack(net)
    expected = beam_search(Forbidding(packed, candidates), source, options)
    for found, wanted in zip(beam_search(packed.among(candidates), source, options), expected, strict=True):
        check_same([replace(one, tokens=tuple(candidates[list(one.tokens)].tolist())) for one in found], wanted)


@pytest.mark.parametrize("seed", range(10))
def test_all_tokens_are_no_restriction(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net)[0], random_options(rng, beam=rng.randint(1, 4))
    packed = pack(net)
    everything = packed.among(torch.arange(net.target_vocab_size))
    assert beam_search(everything, source, options) == beam_search(packed, source, options)


def corpus_of(pairs: list[tuple[list[int], list[int]]], source_size: int, target_size: int) -> ParallelCorpus:
    sides = []
    for side in zip(*pairs, strict=True):
        offsets = np.cumsum([0, *(len(ids) + 1 for ids in side)])
        sides.append(Sentences(np.array([token for ids in side for token in (*ids, EOS_ID)]), offsets))
    return ParallelCorpus(sides[0], sides[1], source_size, target_size)


def random_corpus(seed: int, size: int = 30) -> ParallelCorpus:
    rng = random.Random(seed)
    lengths = [(rng.randint(0, 6), rng.randint(0, 6)) for _ in range(size)]
    pairs = [
        ([rng.randrange(4, 11) for _ in range(source)], [rng.randrange(4, 9) for _ in range(target)])
        for source, target in lengths
    ]
    return corpus_of(pairs, 12, 9)


@pytest.mark.parametrize("seed", range(10))
def test_probabilities_are_those_of_model_1_written_out(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = random_corpus(seed)
    monkeypatch.setattr(lexicon, "_BLOCK", 7)
    links = _links(corpus, np.arange(len(corpus)))
    found = {divmod(int(key), 9): prob for key, prob in zip(links.pairs, _translation_probs(links, 9), strict=True)}
    probs: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(5):
        expected: dict[tuple[int, int], float] = defaultdict(float)
        for row in range(len(corpus)):
            for target in corpus.target(row).tolist():
                total = sum(probs[source, target] for source in corpus.source(row).tolist())
                for source in corpus.source(row).tolist():
                    expected[source, target] += probs[source, target] / total
        totals: dict[int, float] = defaultdict(float)
        for (source, _), count in expected.items():
            totals[source] += count
        probs = defaultdict(float, {pair: count / totals[pair[0]] for pair, count in expected.items()})
    assert found == pytest.approx(dict(probs), rel=1e-9)


def test_a_dictionary_is_found_in_shuffled_sentences() -> None:
    rng = random.Random(1)
    translation = dict(zip(range(4, 60), rng.sample(range(4, 60), 56), strict=True))
    pairs = []
    for _ in range(300):
        source = rng.sample(range(4, 60), rng.randint(3, 8))
        target = [translation[token] for token in source]
        rng.shuffle(target)
        pairs.append((source, target))
    corpus = corpus_of(pairs, 60, 60)
    found = learn_shortlist(corpus, ShortlistConfig(per_token=1, always=0), joint=False, seed=1)
    for source in range(4, 60):
        assert found.candidates([source]).tolist() == sorted([0, 1, 2, 3, translation[source]])
    copying = learn_shortlist(corpus, ShortlistConfig(per_token=1, always=0), joint=True, seed=1)
    assert set(copying.candidates([7, 8]).tolist()) == {0, 1, 2, 3, 7, 8, translation[7], translation[8]}


def test_frequent_tokens_are_always_there_and_a_sample_depends_on_the_seed_alone() -> None:
    corpus = random_corpus(1, size=200)
    frequent = learn_shortlist(corpus, ShortlistConfig(per_token=1, always=3), joint=False, seed=1)
    counts = np.bincount(corpus.target_sentences.ids, minlength=9)
    assert set(np.argsort(-counts)[:3]) <= set(frequent.candidates([]).tolist())
    sampled = [
        learn_shortlist(corpus, ShortlistConfig(per_token=2, always=0, pairs=20), joint=False, seed=seed)
        for seed in (1, 1, 2)
    ]
    same, again, other = ([one.candidates([token]).tolist() for token in range(12)] for one in sampled)
    assert same == again != other


def test_a_shortlist_is_read_as_it_was_written(tmp_path: Path) -> None:
    shortlist = learn_shortlist(random_corpus(2), ShortlistConfig(per_token=2, always=2), joint=False, seed=1)
    shortlist.save(tmp_path / "shortlist.npz")
    loaded = Shortlist.load(tmp_path / "shortlist.npz")
    assert (loaded.source_vocab_size, loaded.target_vocab_size) == (12, 9)
    for token in range(12):
        assert loaded.candidates([token]).tolist() == shortlist.candidates([token]).tolist()


def _arrays(**changed: Any) -> dict[str, Any]:
    good = {"always": np.arange(3, dtype=np.int32), "likely": np.ones((5, 2), dtype=np.int32), "target_vocab_size": 7}
    return {**good, **changed}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (_arrays(always=np.array([7], dtype=np.int32)), "ids must be from 0 to 6"),
        (_arrays(likely=np.array([[-1]], dtype=np.int32)), "ids must be from 0 to 6"),
        (_arrays(likely=np.ones(5, dtype=np.int32)), "holds something else"),
        (_arrays(likely=np.ones((0, 2), dtype=np.int32)), "holds something else"),
        (_arrays(always=np.ones(2)), "holds something else"),
        (_arrays(target_vocab_size=np.array([7, 7])), "holds something else"),
        (_arrays(always=np.array([{}], dtype=object)), "is none or damaged"),
        ({"always": np.arange(3, dtype=np.int32)}, "is none or damaged"),
    ],
)
def test_something_else_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "shortlist.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message):
        Shortlist.load(path)


def test_missing_empty_and_truncated_files_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "shortlist.npz"
    with pytest.raises(DataError, match="no such file; hat-prepare writes one"):
        Shortlist.load(path)
    with pytest.raises(DataError, match="is none or damaged"):
        Shortlist.load(tmp_path)
    learn_shortlist(random_corpus(2), ShortlistConfig(), joint=False, seed=1).save(path)
    whole = path.read_bytes()
    np.save(tmp_path / "single.npy", np.arange(3))
    single = (tmp_path / "single.npy").read_bytes()
    for content in (b"", b"no zip", whole[:40], whole[: len(whole) // 2], whole[:-30], single):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is none or damaged"):
            Shortlist.load(path)
