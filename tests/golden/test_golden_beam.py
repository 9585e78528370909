"""Beam search of the authors' program against ours: token for token, with scores.

Source of the hypotheses: the program released with HAT (arXiv:2005.14187), commit 70e5a27, run on the CPU in float32;
every model comes through our importer. Theirs decodes batches that are padded on the left.
"""

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_reference import CASES, Golden, right_padded
from torch import Tensor

from hat.data.codec import TextCodec
from hat.decoding import BeamOptions, Hypothesis, beam_search
from hat.nn import Transformer
from hat.recipes.import_checkpoint import import_checkpoint
from hat.special_ids import PAD_ID

SEARCHES = {"gen_beam5": (5, 1.0), "gen_beam4_lenpen0.6": (4, 0.6)}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "reference" / "golden"


def search_options(name: str, max_length: int) -> BeamOptions:
    beam, penalty = SEARCHES[name]
    return BeamOptions(
        beam=beam, length_penalty=penalty, max_length_ratio=0.0, max_length_offset=max_length, min_length=1
    )


def check(ours: list[Hypothesis], theirs: list[dict[str, Any]]) -> None:
    """All hypotheses of a sentence, best first."""
    assert [list(hypothesis.tokens) for hypothesis in ours] == [entry["tokens"] for entry in theirs]
    for hypothesis, entry in zip(ours, theirs, strict=True):
        assert hypothesis.score == pytest.approx(entry["score"], abs=1e-4)
        if "positional_scores" in entry:
            assert list(hypothesis.token_scores) == pytest.approx(entry["positional_scores"], abs=1e-4)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(("name", "index"), CASES)
def test_random_weights(folder: Path, name: str, index: int, search: str) -> None:
    golden = Golden(folder / name)
    net = golden.model.extract(golden.architecture(index))
    found = beam_search(net, right_padded(golden.array("src_tokens")).long(), search_options(search, 12))
    for ours, theirs in zip(found, golden.facts["configs"][index][search]["hyps"], strict=True):
        check(ours, theirs)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("index", range(5))
def test_trained_weights(folder: Path, index: int, search: str) -> None:
    golden = Golden(folder / "small_trained")
    net = golden.model.extract(golden.architecture(index))
    expected = golden.facts["configs"][index][search]
    found = beam_search(net, batch(golden.facts["test_src"]), search_options(search, expected["max_len_b"]))
    assert len(found) == 64
    for ours, theirs in zip(found, expected["hyps"], strict=True):
        check(ours, theirs)


def batch(sentences: list[list[int]]) -> Tensor:
    rows = [torch.tensor(sentence) for sentence in sentences]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD_ID)


def test_whole_test_set_through_an_imported_model_folder(folder: Path, multi30k: Path, tmp_path: Path) -> None:
    """From their checkpoint, dictionaries and YAML to text: the 1,000 sentences of the Multi30k test set 2016."""
    trained = folder / "small_trained"
    text = multi30k / "tok" / "test_2016_flickr.lc.norm.tok.de.gz"
    model = import_checkpoint(
        trained / "checkpoint_last.pt",
        tmp_path / "model",
        dictionaries=(trained / "dict.de.txt", trained / "dict.en.txt"),
        subtransformer=trained / "sub_largest.yml",
    )
    net, codec = Transformer.from_pretrained(model), TextCodec.load(model / "tokenizer")
    with gzip.open(text, "rt", encoding="utf-8") as file:
        sentences = [codec.encode_source(line) for line in file.read().splitlines()]
    lines = (trained / "test_largest_beam5.H.tsv").read_text(encoding="utf-8").splitlines()
    expected = [line.split("\t") for line in lines]
    assert len(sentences) == len(expected) == 1000

    order = sorted(range(1000), key=lambda number: len(sentences[number]))
    for start in range(0, 1000, 100):
        numbers = order[start : start + 100]
        for number, found in zip(
            numbers, beam_search(net, batch([sentences[n] for n in numbers]), BeamOptions()), strict=True
        ):
            label, score, words = expected[number]
            assert label == f"H-{number}"
            assert codec.decode_target_words(found[0].tokens) == words
            assert found[0].score == pytest.approx(float(score), abs=1e-4)
