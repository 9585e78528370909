"""Tokenisers and vocabularies for a parallel text: learnt from it, or read from files that are given."""

import contextlib
import functools
import io
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import sentencepiece
from subword_nmt.learn_bpe import learn_bpe as subword_nmt_learn_bpe

from hat.artifacts import read_text
from hat.data.binarize import PairFilter, Workers, count_pieces, count_words
from hat.data.settings import TokenizerConfig, VocabularyConfig
from hat.data.text import Chunk
from hat.data.tokenizer import (
    BpeTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    TokenizerSettings,
    WhitespaceTokenizer,
    read_model_bytes,
)
from hat.data.vocabulary import Vocabulary
from hat.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

ReadChunks = Callable[[str], Iterator[Chunk]]
"""Reads the training text from the start; the argument says what for, to show progress."""

_SENTENCEPIECE_THREADS = 8  # its result depends on their number, so it must not depend on the machine


def make_tokenizers(
    options: TokenizerConfig, languages: tuple[str, str], read_chunks: ReadChunks, workers: Workers, seed: int
) -> tuple[Tokenizer, Tokenizer]:
    """The tokenisers of source and target.

    Args:
        options: what kind, and whether to learn it or to read files.
        languages: codes of the source and target language.
        read_chunks: gives the training text.
        workers: count its words.
        seed: draws the lines sentencepiece learns from.

    Raises:
        ConfigError: if nothing can be learnt with these options.
        DataError: if a file that is given, or the text, is missing or damaged.
    """
    source, target = options.for_language(languages[0]), options.for_language(languages[1])
    if options.kind == "whitespace":
        return WhitespaceTokenizer(source), WhitespaceTokenizer(target)
    if options.kind == "bpe":
        return _bpe_tokenizers(options, source, target, read_chunks, workers)
    if options.model is not None:
        first, last = options.model[0], options.model[-1]
        models = read_model_bytes(first), read_model_bytes(last)
        return SentencePieceTokenizer(models[0], source, first), SentencePieceTokenizer(models[1], target, last)
    sides = [(0, 1)] if options.joint else [(0,), (1,)]
    learnt = [_learn_sentencepiece_sides(options, side, read_chunks, seed) for side in sides]
    return SentencePieceTokenizer(learnt[0], source), SentencePieceTokenizer(learnt[-1], target)


def make_vocabularies(
    options: VocabularyConfig, folder: str, pair_filter: PairFilter, read_chunks: ReadChunks, workers: Workers
) -> tuple[Vocabulary, Vocabulary]:
    """The vocabularies of source and target.

    Args:
        options: how to build them, or which files to read.
        folder: holds the tokenisers, in ``source/`` and ``target/``.
        pair_filter: pieces of the pairs that it keeps are counted.
        read_chunks: gives the training text.
        workers: tokenise it.

    Raises:
        DataError: if a file that is given is damaged, or no piece is left.
    """
    if options.source is not None and options.target is not None:
        given = Vocabulary.load(options.source), Vocabulary.load(options.target)
        if options.joint and given[0] != given[1]:
            raise DataError(
                f"{options.source} and {options.target}: a joint vocabulary must have the same symbols on both sides, "
                "these differ; give the same file twice, or set vocabulary.joint: false."
            )
        return given
    count = functools.partial(count_pieces, folder=folder, pair_filter=pair_filter)
    counts = _sum(workers.map(count, read_chunks("building the vocabulary")))
    if not counts[0]:
        raise DataError(
            "no training pair is left for the vocabulary: all are shorter than min_tokens, longer than max_tokens, or "
            "beyond max_length_ratio; change these."
        )
    if options.joint:
        joint = Vocabulary.build(counts[0] + counts[1], options.max_size, options.min_count)
        return joint, joint
    source, target = (Vocabulary.build(side, options.max_size, options.min_count) for side in counts)
    return source, target


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


def learn_sentencepiece(lines: Sequence[str], vocab_size: int, model_type: str) -> bytes:
    """The bytes of a sentencepiece model learnt from ``lines``.

    Raises:
        ConfigError: if the text is too small or too varied for ``vocab_size``.
        DataError: if there is no text.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            num_threads=_SENTENCEPIECE_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rpartition("]")[2].strip()
        if not reason:
            raise DataError("sentencepiece cannot learn: the training text is empty.") from None
        raise ConfigError(f"tokenizer.vocab_size: sentencepiece cannot learn {vocab_size} pieces: {reason}") from None
    return model.getvalue()


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


def _bpe_tokenizers(
    options: TokenizerConfig,
    source: TokenizerSettings,
    target: TokenizerSettings,
    read_chunks: ReadChunks,
    workers: Workers,
) -> tuple[Tokenizer, Tokenizer]:
    if options.codes is not None:
        first, last = options.codes[0], options.codes[-1]
        given = read_text(first, "BPE codes"), read_text(last, "BPE codes")
        return BpeTokenizer(given[0], source, where=first), BpeTokenizer(given[1], target, where=last)
    assert options.merges is not None, "checked by TokenizerConfig"
    count = functools.partial(count_words, source_settings=source, target_settings=target)
    counts = _sum(workers.map(count, read_chunks("counting words")))
    logger.info("learning %d BPE merges", options.merges)
    sides = (counts[0] + counts[1],) if options.joint else counts
    codes = [learn_bpe(side, options.merges) for side in sides]
    return BpeTokenizer(codes[0], source), BpeTokenizer(codes[-1], target)


def _learn_sentencepiece_sides(
    options: TokenizerConfig, sides: tuple[int, ...], read_chunks: ReadChunks, seed: int
) -> bytes:
    """A model learnt from one side (0 source, 1 target) or both."""
    assert options.vocab_size is not None, "checked by TokenizerConfig"
    lines = (
        pair[side].lower() if options.lowercase else pair[side]
        for chunk in read_chunks("reading lines to learn from")
        for _, *pair in chunk.pairs()
        for side in sides
    )
    sample = sample_lines(lines, options.sample_lines, seed)
    logger.info("learning %d sentencepiece pieces from %d lines", options.vocab_size, len(sample))
    return learn_sentencepiece(sample, options.vocab_size, options.model_type)


def _sum(counts: Iterable[tuple[Counter[str], Counter[str]]]) -> tuple[Counter[str], Counter[str]]:
    totals: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for part in counts:
        totals[0].update(part[0])
        totals[1].update(part[1])
    return totals
