from pathlib import Path

import pytest

from hat.data.vocabulary import Vocabulary
from hat.errors import ConfigError, DataError
from hat.special_ids import BOS_ID, EOS_ID, PAD_ID, UNK_ID


def test_special_ids_are_those_of_fairseq() -> None:
    assert (BOS_ID, PAD_ID, EOS_ID, UNK_ID) == (0, 1, 2, 3)
    assert Vocabulary(["a"]).decode([0, 1, 2, 3, 4]) == ["<s>", "<pad>", "</s>", "<unk>", "a"]


def test_build_sorts_by_count_then_symbol() -> None:
    vocabulary = Vocabulary.build({"b": 2, "c": 5, "a": 2, "rare": 1, "</s>": 99}, min_count=2)
    assert vocabulary.decode(range(4, len(vocabulary))) == ["c", "a", "b"]
    assert len(Vocabulary.build({"b": 2, "c": 5, "a": 2}, max_size=6)) == 6  # four special symbols, c and a
    assert "b" not in Vocabulary.build({"b": 2, "c": 5, "a": 2}, max_size=6)


def test_encode_gives_ids_without_end_and_unknown_for_the_rest() -> None:
    vocabulary = Vocabulary(["x", "y"])
    assert vocabulary.encode(["y", "x", "z"]) == [5, 4, UNK_ID]
    assert vocabulary.decode(vocabulary.encode(["y", "x"])) == ["y", "x"]
    assert vocabulary.encode(["</s>", "<pad>", "<s>"]) == [UNK_ID] * 3, "text must not become control symbols"


def test_file_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    symbols = ["the", "#fairseq:overwrite", "\u2028", "ä", "\u00a0", "12", "x\u0085y"]
    Vocabulary(symbols, range(7, 0, -1)).save(path)
    assert path.read_bytes().decode().split("\n")[:2] == ["the 7", "#fairseq:overwrite 6"]
    copy = Vocabulary.load(path)
    assert copy == Vocabulary(symbols)
    copy.save(tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()


def test_overwrite_flag_lets_a_later_row_win(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_text("a 3\nb 2\na 1 #fairseq:overwrite\n<s> 1 #fairseq:overwrite\n")
    vocabulary = Vocabulary.load(path)
    assert len(vocabulary) == 8
    assert vocabulary.encode(["a", "b", "<s>"]) == [6, 5, 7]
    assert vocabulary.decode([4, 6]) == ["a", "a"]
    vocabulary.save(tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_text() == path.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must list 'symbol count' lines, is empty"),
        ("a 1\nb\n", "line 2: must be 'symbol count', is 'b'"),
        ("a one\n", "line 1: must be 'symbol count', is 'a one'"),
        ("a -1\n", "line 1: must be 'symbol count'"),
        (f"a {'9' * 5000}\n", "line 1: must be 'symbol count', is 'a 999"),
        ("a 1\n\nb 2\n", "line 2: must be 'symbol count', is ''"),
        ("a 1\nb 2\na 3\n", "line 3: every symbol must be listed once, 'a' is a special symbol or a repetition"),
        ("<pad> 3\n", "line 1: every symbol must be listed once, '<pad>'"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "dict.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"dict\.txt") as error:
        Vocabulary.load(path)
    assert message in str(error.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        Vocabulary.load(tmp_path / "none.txt")
    (tmp_path / "bin").write_bytes(b"\xff\xfe 1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        Vocabulary.load(tmp_path / "bin")


def test_impossible_requests() -> None:
    with pytest.raises(DataError, match="none of 1 symbols was seen 2 times"):
        Vocabulary.build({"a": 1}, min_count=2)
    with pytest.raises(ConfigError, match="max_size must be at least 5"):
        Vocabulary.build({"a": 1}, max_size=4)
    for index in (-1, 5):
        with pytest.raises(DataError, match=rf"id {index} must be in \[0, 5\)"):
            Vocabulary(["a"]).decode([index])


def test_reads_a_dictionary_of_the_reference_program(shared: Path) -> None:
    vocabulary = Vocabulary.load(shared / "reference/golden/small_trained/dict.de.txt")
    assert len(vocabulary) == 1000
    assert vocabulary.encode([".", "a", "in"]) == [4, 5, 6]
