"""Learning BPE codes and sentencepiece models from text."""

import contextlib
import io
import logging
import random
from collections.abc import Iterable, Iterator, Mapping

import sentencepiece
from subword_nmt.learn_bpe import learn_bpe as subword_nmt_learn_bpe

from hat.errors import ConfigError, DataError, HatError

logger = logging.getLogger(__name__)

_SENTENCEPIECE_THREADS = 8  # its result depends on their number, so it must not depend on the machine


def learn_bpe(word_counts: Mapping[str, int], merges: int) -> str:
    """The text of a codes file with at most ``merges`` merges, learnt with subword-nmt.

    Args:
        word_counts: how often each word was seen; words hold no white space.
        merges: merges to learn; fewer when no pair of symbols is left that was seen twice.

    Raises:
        DataError: if there is nothing to merge.
    """
    if not any(len(word) > 1 for word in word_counts):
        raise DataError("BPE cannot be learnt: the training text has no word of two characters or more.")
    codes = io.StringIO()
    in_order = (f"{word} {count}" for word, count in sorted(word_counts.items()))
    with contextlib.redirect_stderr(io.StringIO()):  # it draws a progress bar wherever it runs
        subword_nmt_learn_bpe(in_order, codes, merges, is_dict=True)
    text = codes.getvalue()
    learnt = text.count("\n") - 1  # the first line is the version
    if learnt < merges:
        logger.warning("BPE: only %d of %d merges learnt, then no pair of symbols occurs twice", learnt, merges)
    return text


def learn_sentencepiece(lines: Iterable[str], vocab_size: int, model_type: str) -> bytes:
    """The bytes of a sentencepiece model learnt from ``lines``.

    Raises:
        ConfigError: if the text is too small or too varied for ``vocab_size``.
        DataError: if there is no text.
    """
    model = io.BytesIO()
    failure: list[HatError] = []  # sentencepiece turns errors of the iterator into text
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_remember_failure(lines, failure),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            num_threads=_SENTENCEPIECE_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        if failure:
            raise failure[0] from None
        reason = str(error).rpartition("]")[2].strip()
        if not reason:
            raise DataError("sentencepiece cannot learn: the training text is empty.") from None
        raise ConfigError(f"tokenizer.vocab_size: sentencepiece cannot learn {vocab_size} pieces: {reason}") from None
    return model.getvalue()


def _remember_failure(lines: Iterable[str], failure: list[HatError]) -> Iterator[str]:
    try:
        yield from lines
    except HatError as error:
        failure.append(error)
        raise


def sample_lines(lines: Iterable[str], size: int, seed: int) -> list[str]:
    """At most ``size`` lines, each equally likely to be among them; all of them, in order, when there are fewer."""
    rng = random.Random(seed)
    kept: list[str] = []
    for number, line in enumerate(lines):
        if number < size:
            kept.append(line)
        elif (place := rng.randrange(number + 1)) < size:
            kept[place] = line
    return kept
