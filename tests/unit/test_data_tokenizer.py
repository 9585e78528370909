import contextlib
import io
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe as subword_nmt_learn_bpe

from hat.data.codec import TextCodec
from hat.data.learning import learn_bpe, learn_sentencepiece, sample_lines
from hat.data.text import read_lines
from hat.data.tokenizer import (
    BpeTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    TokenizerSettings,
    WhitespaceTokenizer,
    glue_bpe,
    load_tokenizer,
)
from hat.data.vocabulary import Vocabulary
from hat.errors import ConfigError, DataError
from hat.special_ids import EOS_ID, PAD_ID, UNK_ID

TEXT = [
    "ein hund läuft über die wiese .",
    "zwei hunde laufen über eine grüne wiese .",
    "ein junger mann steht auf einer leiter .",
    "eine junge frau liest ein buch im park .",
]
WORDS = Counter(word for line in TEXT for word in line.split())


def bpe(merges: int = 30, **options: object) -> BpeTokenizer:
    return BpeTokenizer(learn_bpe(WORDS, merges), TokenizerSettings(kind="bpe", **options))


@pytest.fixture(scope="module")
def piece_model() -> bytes:
    return learn_sentencepiece(TEXT * 20, 40, "unigram")


def test_bpe_splits_with_marks_and_joins_back() -> None:
    tokenizer = bpe()
    pieces = tokenizer.split("ein  unbekannter hund ")
    assert any(piece.endswith("@@") for piece in pieces)
    assert tokenizer.join(pieces) == tokenizer.join_words(pieces) == "ein unbekannter hund"


def test_learning_finds_the_most_frequent_pairs_first() -> None:
    # "ab" 5 times, then "abc" 3 times; "d" + "e" only once, so no third merge.
    assert learn_bpe({"ab": 2, "abc": 3, "de": 1}, 10).split("\n")[1:3] == ["b c</w>", "a bc</w>"]
    assert learn_bpe(WORDS, 5) == learn_bpe(Counter(dict(reversed(WORDS.items()))), 5), "order of words is no matter"


def test_learning_from_counts_is_learning_from_text(shared: Path) -> None:
    lines = read_lines(shared / "data/multi30k/tok/train.lc.norm.tok.de.gz")[:2000]
    text, codes = io.StringIO("\n".join(lines) + "\n"), io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()):
        subword_nmt_learn_bpe(text, codes, 300)
    counts = Counter(word for line in lines for word in line.split())
    assert learn_bpe(counts, 300) == codes.getvalue()
    tokenizer = BpeTokenizer(codes.getvalue(), TokenizerSettings(kind="bpe"))
    reference = BPE(io.StringIO(codes.getvalue()))
    assert all(" ".join(tokenizer.split(line)) == reference.process_line(line) for line in lines)


def test_learning_is_silent_and_says_when_it_runs_out(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    learn_bpe({"ab": 2}, 10)
    assert capfd.readouterr() == ("", "")
    assert "only 1 of 10 merges learnt" in caplog.text


def test_glue_keeps_unfinished_words() -> None:
    assert glue_bpe(["un@@", "fin@@", "ished", "wo@@"]) == ["unfinished", "wo"]
    assert glue_bpe([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="@", exclude_categories=["Cs"]), max_size=12), max_size=6))
def test_bpe_round_trip_of_any_words(words: list[str]) -> None:
    line = " ".join(words)
    assert ROUND_TRIP.join(ROUND_TRIP.split(line)) == " ".join(line.split())


ROUND_TRIP = bpe()


def test_whitespace_can_undo_marks_of_text_split_before() -> None:
    plain = WhitespaceTokenizer(TokenizerSettings(kind="whitespace"))
    marked = WhitespaceTokenizer(TokenizerSettings(kind="whitespace", bpe_marks=True))
    assert plain.split(" a@@ b\tc ") == marked.split("a@@ b c") == ["a@@", "b", "c"]
    assert plain.join(["a@@", "b"]) == "a@@ b"
    assert marked.join(["a@@", "b"]) == "ab"


def test_lowercase_and_moses() -> None:
    options = {"lowercase": True, "pretokenize": "moses", "language": "de"}
    tokenizer = bpe(**options)
    pieces = tokenizer.split('Ein Hund läuft, z.B. "schnell" & weg.')
    assert tokenizer.join_words(pieces) == 'ein hund läuft , z.b. " schnell " & weg .'
    assert tokenizer.join(pieces) == 'ein hund läuft, z.b. "schnell" & weg.'


def test_moses_needs_a_language_and_sacremoses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs a language"):
        WhitespaceTokenizer(TokenizerSettings(kind="whitespace", pretokenize="moses"))
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(ConfigError, match="sacremoses, which is not installed; pip install sacremoses"):
        WhitespaceTokenizer(TokenizerSettings(kind="whitespace", pretokenize="moses", language="de"))


def test_sentencepiece_round_trip(piece_model: bytes) -> None:
    tokenizer = SentencePieceTokenizer(piece_model, TokenizerSettings(kind="sentencepiece", lowercase=True))
    for line in TEXT:
        assert tokenizer.join(tokenizer.split(line.upper().replace("SS", "ß"))) == line
    assert len(tokenizer.split(TEXT[0])) > len(TEXT[0].split())


def test_sentencepiece_learns_the_same_twice_and_refuses_the_impossible(piece_model: bytes) -> None:
    assert learn_sentencepiece(TEXT * 20, 40, "unigram") == piece_model
    with pytest.raises(ConfigError, match="cannot learn 5000 pieces: Vocabulary size too high"):
        learn_sentencepiece(TEXT, 5000, "unigram")
    with pytest.raises(DataError, match="the training text is empty"):
        learn_sentencepiece([], 40, "unigram")


def test_sample_is_uniform_enough_and_seeded() -> None:
    lines = [str(number) for number in range(1000)]
    assert sample_lines(lines, 1000, 1) == lines
    assert sample_lines(lines, 100, 1) == sample_lines(lines, 100, 1) != sample_lines(lines, 100, 2)
    drawn = Counter(line for seed in range(200) for line in sample_lines(lines[:10], 5, seed))
    assert min(drawn.values()) > 70 and max(drawn.values()) < 130  # 100 expected, standard deviation 7


@pytest.mark.parametrize("kind", ["whitespace", "bpe", "sentencepiece"])
def test_folder_round_trip(tmp_path: Path, kind: str, piece_model: bytes) -> None:
    tokenizers: dict[str, Tokenizer] = {
        "whitespace": WhitespaceTokenizer(TokenizerSettings(kind="whitespace", lowercase=True)),
        "bpe": bpe(lowercase=True),
        "sentencepiece": SentencePieceTokenizer(piece_model, TokenizerSettings(kind="sentencepiece")),
    }
    original = tokenizers[kind]
    original.save(tmp_path / "tok")
    assert json.loads((tmp_path / "tok/tokenizer.json").read_text())["kind"] == kind
    copy = load_tokenizer(tmp_path / "tok")
    assert copy.settings == original.settings
    for line in [*TEXT, "Etwas Neues"]:
        assert copy.split(line) == original.split(line)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", '{"format": "hat.tokenizer/1", "kind": "spacy"}', "kind: must be 'whitespace', 'bpe' or"),
        ("tokenizer.json", '{"format": "hat.tokenizer/9", "kind": "bpe"}', "format: must be 'hat.tokenizer/1'"),
        ("tokenizer.json", "{", "not valid JSON"),
        ("bpe.codes", "#version: 0.2\na b\nabc\n", "bpe.codes, line 3: must be two symbols, is 'abc'"),
        ("bpe.codes", "#version: 7\na b\n", "line 1: the version of BPE codes must be 0.1 or 0.2"),
        ("bpe.codes", "", "line 1: must be two symbols"),
        ("bpe.codes", None, "no such file; BPE codes is expected here"),
        ("tokenizer.json", None, "no such file; the settings of a tokeniser is expected here"),
    ],
)
def test_damaged_folders_are_named(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    bpe().save(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(DataError) as error:
        load_tokenizer(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_damaged_sentencepiece_models_are_named(tmp_path: Path, content: bytes | None, piece_model: bytes) -> None:
    SentencePieceTokenizer(piece_model, TokenizerSettings(kind="sentencepiece")).save(tmp_path)
    (tmp_path / "sentencepiece.model").unlink()
    if content is not None:
        (tmp_path / "sentencepiece.model").write_bytes(content)
    with pytest.raises(DataError, match=r"sentencepiece\.model: .*sentencepiece model"):
        load_tokenizer(tmp_path)


def test_word_cache_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hat.data.tokenizer._MOST_CACHED_WORDS", 10)
    tokenizer = bpe()
    expected = tokenizer.split("ein hund")
    for number in range(100):
        tokenizer.split(f"wort{number}")
        assert len(tokenizer._known) <= 10 and len(tokenizer._bpe.cache) <= 1
    assert tokenizer.split("ein hund") == expected


def codec() -> TextCodec:
    tokenizer = bpe()
    vocabulary = Vocabulary.build(Counter(piece for line in TEXT for piece in tokenizer.split(line)))
    return TextCodec(tokenizer, vocabulary, tokenizer, vocabulary)


def test_codec_round_trip(tmp_path: Path) -> None:
    original = codec()
    original.save(tmp_path)
    copy = TextCodec.load(tmp_path)
    assert copy.joint_vocabulary
    for line in TEXT:
        ids = copy.encode_source(line)
        assert ids == original.encode_target(line)
        assert ids[-1] == EOS_ID and ids.count(EOS_ID) == 1
        assert copy.decode_target(ids) == copy.decode_target_words(ids) == copy.target_words(line) == line


def test_codec_stops_at_the_end_symbol() -> None:
    ids = codec().encode_target("ein hund .")
    assert codec().decode_target([0, *ids, PAD_ID, PAD_ID, 7, 8]) == "ein hund ."
    assert codec().decode_target([]) == ""
    assert codec().decode_target([UNK_ID, EOS_ID]) == "<unk>"
    assert UNK_ID in codec().encode_source("</s> 語")
    assert EOS_ID not in codec().encode_source("</s> 語")[:-1]


def test_codec_with_two_vocabularies_is_not_joint(tmp_path: Path) -> None:
    tokenizer = bpe()
    two = TextCodec(tokenizer, Vocabulary(["a", "b"]), tokenizer, Vocabulary(["b", "a"]))
    two.save(tmp_path)
    assert not TextCodec.load(tmp_path).joint_vocabulary
