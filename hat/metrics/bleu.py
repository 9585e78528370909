"""BLEU in the three ways the field reports it; every number says which one it is."""

import re
from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from hat.errors import DataError

_COMPOUND = re.compile(r"(\S)-(\S)")


def tokenized_bleu(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> float:
    """BLEU of text that is already split into tokens, as Moses' multi-bleu computes it: 4-grams, no smoothing.

    Comparable only between texts with the same tokenisation.

    Args:
        hypotheses: one translation a line, tokens separated by spaces.
        references: the right translations, in the same order.
        lowercase: compare without case.

    Raises:
        DataError: if the numbers of lines differ or are zero.
    """
    _check(hypotheses, references)
    metric = BLEU(tokenize="none", smooth_method="none", force=True, lowercase=lowercase)
    return float(metric.corpus_score(list(hypotheses), [list(references)]).score)


def split_compounds(line: str) -> str:
    """Cut hyphenated compounds in two: ``x-y`` → ``x ##AT##-##AT## y``."""
    return _COMPOUND.sub(r"\1 ##AT##-##AT## \2", line)


def compound_split_bleu(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> float:
    """Tokenised BLEU after cutting hyphenated compounds on both sides, as WMT'14 results are reported.

    Source: HAT (arXiv:2005.14187), section 3.2.
    """
    return tokenized_bleu(
        [split_compounds(line) for line in hypotheses], [split_compounds(line) for line in references], lowercase
    )


def sacre_bleu(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False) -> dict[str, Any]:
    """BLEU of plain text with sacreBLEU's own tokenisation: ``{"score": …, "signature": …}``.

    Args:
        hypotheses: one translation a line, as people write it.
        references: the untouched reference text.
        lowercase: compare without case; the signature says so.

    Raises:
        DataError: if the numbers of lines differ or are zero.
    """
    _check(hypotheses, references)
    metric = BLEU(force=True, lowercase=lowercase)  # no warning about text that looks tokenised; the score is the same
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return {"score": float(score.score), "signature": str(metric.get_signature())}


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise DataError(
            f"BLEU: there must be one reference a translation, but there are {len(hypotheses)} translations and "
            f"{len(references)} references."
        )
    if not references:
        raise DataError("BLEU: needs at least one sentence, there is none.")
