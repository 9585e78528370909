import math
from pathlib import Path

import pytest

from hat.errors import DataError
from hat.metrics import compound_split_bleu, sacre_bleu, split_compounds, tokenized_bleu


def geometric_mean(*precisions: float) -> float:
    return math.prod(precisions) ** (1 / len(precisions))


@pytest.mark.parametrize(
    ("hypotheses", "references", "expected"),
    [
        (["a b c d"], ["a b c d"], 100.0),
        # Too short: every n-gram is right, the brevity penalty is exp(1 - 5/4).
        (["a b c d"], ["a b c d e"], 100 * math.exp(-0.25)),
        # Too long: no penalty, 4 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples.
        (["a b c d e f"], ["a b c d"], 100 * geometric_mean(4 / 6, 3 / 5, 2 / 4, 1 / 3)),
        # No quadruple is right: 0, without smoothing.
        (["a b c x d"], ["a b c y d"], 0.0),
        # Counts are summed over the corpus, and a word counts no more often than in the reference.
        (
            ["a b c d e", "the the the the the"],
            ["a b c d e", "the cat sat on it"],
            100 * geometric_mean(6 / 10, 4 / 8, 3 / 6, 2 / 4),
        ),
        # An empty translation has no n-grams, but its reference counts in the brevity penalty.
        (["a b c d", ""], ["a b c d", "e f g h"], 100 * math.exp(-1.0)),
        (["", ""], ["a", "b"], 0.0),
    ],
)
def test_tokenized_bleu_by_hand(hypotheses: list[str], references: list[str], expected: float) -> None:
    assert tokenized_bleu(hypotheses, references) == pytest.approx(expected, rel=1e-9)


def test_tokens_are_what_spaces_separate() -> None:
    # Nothing is split further, and the amount of space does not matter.
    assert tokenized_bleu(["a, b. c! d?"], ["a,  b.\tc! d? "]) == pytest.approx(100)
    assert tokenized_bleu(["a , b . c"], ["a, b. c d"]) == 0


def test_case() -> None:
    assert tokenized_bleu(["A b C d"], ["a b c d"]) == 0
    assert tokenized_bleu(["A b C d"], ["a b c d"], lowercase=True) == pytest.approx(100)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rich-text format", "rich ##AT##-##AT## text format"),
        ("x-y", "x ##AT##-##AT## y"),
        ("state-of-the-art", "state ##AT##-##AT## of ##AT##-##AT## the ##AT##-##AT## art"),
        ("a - b -c d- --", "a - b -c d- --"),
        ("1-2, 3", "1 ##AT##-##AT## 2, 3"),
        # As the usual script does: a single letter between two hyphens is used up by the first.
        ("a-b-c", "a ##AT##-##AT## b-c"),
        ("", ""),
    ],
)
def test_split_compounds(line: str, expected: str) -> None:
    assert split_compounds(line) == expected


def test_compound_split_bleu_counts_the_parts() -> None:
    hypotheses, references = ["the rich-text file is here and there"], ["the rich-media file is here and there"]
    # Whole: 6 of 7 words, 4 of 6 pairs, 3 of 5 triples, 2 of 4 quadruples.
    whole = 100 * geometric_mean(6 / 7, 4 / 6, 3 / 5, 2 / 4)
    assert tokenized_bleu(hypotheses, references) == pytest.approx(whole)
    # Split, there are two words more, and only one of three is wrong: 8 of 9, 6 of 8, 4 of 7, 2 of 6.
    split = 100 * geometric_mean(8 / 9, 6 / 8, 4 / 7, 2 / 6)
    assert compound_split_bleu(hypotheses, references) == pytest.approx(split)


def test_sacrebleu_tokenises_itself_and_signs() -> None:
    result = sacre_bleu(["Hello, big world!", "Yes."], ["Hello , big world !", "Yes ."])
    assert result["score"] == pytest.approx(100)
    for part in ("nrefs:1", "case:mixed", "tok:13a", "smooth:exp", "version:"):
        assert part in result["signature"]


@pytest.mark.parametrize("bleu", [tokenized_bleu, compound_split_bleu, sacre_bleu])
def test_unequal_or_no_lines_are_refused(bleu: object) -> None:
    assert callable(bleu)
    with pytest.raises(DataError, match=r"one reference a translation, but there are 2 translations and 1 references"):
        bleu(["a", "b"], ["a"])
    with pytest.raises(DataError, match="needs at least one sentence"):
        bleu([], [])


def test_the_authors_translations_have_their_bleu(shared: Path) -> None:
    folder = shared / "reference/golden/small_trained"
    hypotheses, references = (
        (folder / f"test_largest_beam5.{name}").read_text(encoding="utf-8").splitlines() for name in ("sys", "ref")
    )
    assert len(hypotheses) == 1000
    assert "BLEU4 = 20.79," in (folder / "bleu.txt").read_text(encoding="utf-8")
    assert round(tokenized_bleu(hypotheses, references), 2) == 20.79
