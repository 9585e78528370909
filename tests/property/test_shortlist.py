"""Shortlists: choosing among some target tokens is choosing with all others forbidden; and which tokens these are."""

import contextlib
import random
import zipfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_models import random_batch, randomize
from test_decoding import check_same, random_net, random_options
from test_packed import WIDE
from torch import Tensor

from hat.data import lexicon
from hat.data.corpus import ParallelCorpus, Sentences
from hat.data.lexicon import ShortlistConfig, _blocks, _links, _translation_probs, learn_shortlist
from hat.data.shortlist import Shortlist
from hat.decoding import beam_search
from hat.errors import DataError
from hat.nn import Transformer
from hat.nn import packed as packed_module
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
    packed = pack(net, shortlists=True)
    expected = beam_search(Forbidding(packed, candidates), source, options)
    for found, wanted in zip(beam_search(packed.among(candidates), source, options), expected, strict=True):
        check_same([replace(one, tokens=tuple(candidates[list(one.tokens)].tolist())) for one in found], wanted)


@pytest.mark.parametrize("seed", range(10))
def test_all_tokens_are_no_restriction(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net)[0], random_options(rng, beam=rng.randint(1, 4))
    packed = pack(net, shortlists=True)
    everything = packed.among(torch.arange(net.target_vocab_size))
    assert beam_search(everything, source, options) == beam_search(packed, source, options)


def learned(corpus: ParallelCorpus, joint: bool = False, seed: int = 1, **settings: int) -> Shortlist:
    return learn_shortlist(corpus, ShortlistConfig(**settings), joint, "v", seed)


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
    links = _links(corpus, _blocks(corpus, np.arange(len(corpus))))
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
    found = learned(corpus, per_token=1, always=0)
    for source in range(4, 60):
        assert found.candidates([source]).tolist() == sorted([0, 1, 2, 3, translation[source]])
    copying = learned(corpus, joint=True, per_token=1, always=0)
    assert set(copying.candidates([7, 8]).tolist()) == {0, 1, 2, 3, 7, 8, translation[7], translation[8]}


def test_frequent_tokens_are_always_there_and_a_sample_depends_on_the_seed_alone() -> None:
    corpus = random_corpus(1, size=200)
    frequent = learned(corpus, per_token=1, always=3)
    counts = np.bincount(corpus.target_sentences.ids, minlength=9)
    assert set(np.argsort(-counts)[:3]) <= set(frequent.candidates([]).tolist())
    sampled = [learned(corpus, seed=seed, per_token=2, always=0, pairs=20) for seed in (1, 1, 2)]
    same, again, other = ([one.candidates([token]).tolist() for token in range(12)] for one in sampled)
    assert same == again != other


def test_a_shortlist_is_read_as_it_was_written(tmp_path: Path) -> None:
    shortlist = learned(random_corpus(2), per_token=2, always=2)
    shortlist.save(tmp_path / "shortlist.npz")
    loaded = Shortlist.load(tmp_path / "shortlist.npz")
    assert (loaded.source_vocab_size, loaded.target_vocab_size, loaded.vocabularies) == (12, 9, "v")
    for token in range(12):
        assert loaded.candidates([token]).tolist() == shortlist.candidates([token]).tolist()


def _arrays(**changed: Any) -> dict[str, Any]:
    good = {"always": np.arange(3, dtype=np.int32), "likely": np.ones((5, 2), dtype=np.int32)}
    return {**good, "target_vocab_size": 7, "vocabularies": "v", **changed}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (_arrays(always=np.array([7], dtype=np.int32)), "ids must be from 0 to 6"),
        (_arrays(likely=np.array([[-1]], dtype=np.int32)), "ids must be from 0 to 6"),
        (_arrays(likely=np.ones(5, dtype=np.int32)), "holds something else"),
        (_arrays(likely=np.ones((0, 2), dtype=np.int32)), "holds something else"),
        (_arrays(always=np.ones(2)), "holds something else"),
        (_arrays(target_vocab_size=np.array([7, 7])), "holds something else"),
        (_arrays(vocabularies=3), "holds something else"),
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
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        Shortlist.load(tmp_path)
    learned(random_corpus(2)).save(path)
    whole = path.read_bytes()
    np.save(tmp_path / "single.npy", np.arange(3))
    single = (tmp_path / "single.npy").read_bytes()
    for content in (b"", b"no zip", whole[:40], whole[: len(whole) // 2], whole[:-30], single):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is none or damaged"):
            Shortlist.load(path)


def test_changed_bytes_and_foreign_members_are_told_of(tmp_path: Path) -> None:
    """Whatever a file holds, it is read or told of in one line."""
    path, rng, loaded = tmp_path / "shortlist.npz", random.Random(1), 0
    for save in (np.savez, np.savez_compressed):
        save(path, **_arrays())
        whole = path.read_bytes()
        for _ in range(400):
            changed = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            path.write_bytes(changed)
            with contextlib.suppress(DataError):
                Shortlist.load(path)
                loaded += 1
    assert loaded < 400
    with zipfile.ZipFile(path, "w") as archive:
        for name in _arrays():
            archive.writestr(f"{name}", b"no array")
    with pytest.raises(DataError, match="is none or damaged"):
        Shortlist.load(path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("share", ["all", "none"])
def test_candidates_of_large_vocabularies_score_as_they_do_among_all(dtype: packed_module.DType, share: str) -> None:
    """Every kernel; with int8, the candidates' products are float32, so they are nearer to the plain model's."""
    net = Transformer(WIDE.largest(), source_vocab_size=503, target_vocab_size=503, share_embeddings=share).eval()
    randomize(net, torch.Generator().manual_seed(1))
    packed, candidates = pack(net, dtype, shortlists=True), torch.arange(3, 503, 2)
    listed, tokens = packed.among(candidates), torch.tensor([[7, 20]])
    with torch.inference_mode():
        encoded = packed.encode(torch.tensor([[5, 9, EOS_ID]]))
        found = listed.step(tokens, listed.start(encoded, 2))
        expected = packed.step(candidates[tokens], packed.start(encoded, 2))[:, :, candidates]
    tolerance = {"float32": 1e-5, "bfloat16": 0.05, "int8": 0.2}[dtype]
    assert float((found - expected).abs().max()) < tolerance * float(expected.std())


def test_a_model_that_was_packed_without_shortlists_says_so() -> None:
    with pytest.raises(ValueError, match="shortlists=True"):
        pack(random_net(1)[0]).among(torch.arange(6))
