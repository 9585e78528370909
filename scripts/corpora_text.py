"""Parallel text in the layouts of the public corpora → tokenised, cleaned pairs."""

import functools
import html
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hat.data.text import Chunk, decode_line, raw_lines
from hat.errors import ConfigError, DataError

_SEGMENT = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.DOTALL | re.IGNORECASE)
_METADATA = (b"<url>", b"<keywords>", b"<talkid>", b"<speaker>", b"<reviewer", b"<translator")
_KEPT_TAGS = re.compile(rb"</?(?:title|description)>")


def plain_lines(path: Path) -> Iterator[bytes]:
    """One sentence a line, plain or gzipped."""
    return raw_lines(path)


def segment_lines(path: Path, plain_apostrophes: bool = True) -> Iterator[bytes]:
    """The ``<seg>`` elements of an SGML or XML test set, in order, with entities resolved.

    The usual recipes write the typographic apostrophe of test sets as the plain one of the training text; that can be
    turned off.

    The file is searched, not interpreted: nothing in it is ever included or run, and the many public sets that are not
    well-formed are read all the same.
    """
    numbered = enumerate(raw_lines(path), start=1)
    text = "\n".join(decode_line(line, path, number) for number, line in numbered)
    segments = _SEGMENT.findall(text)
    if not segments:
        raise DataError(f"{path}: must hold <seg> elements, holds none; is it an SGML or XML test set?")
    for segment in segments:
        text = html.unescape(segment)
        yield " ".join((text.replace("’", "'") if plain_apostrophes else text).split()).encode()


def iwslt_lines(path: Path) -> Iterator[bytes]:
    """The sentences of an IWSLT ``train.tags`` file: all lines but metadata; titles and descriptions count as text."""
    for line in raw_lines(path):
        if not line.lstrip().startswith(_METADATA):
            yield _KEPT_TAGS.sub(b"", line).strip()


def parallel_lines(
    source: Path, target: Path, read: Callable[[Path], Iterator[bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of lines from two files. Raises DataError when one has more lines than the other."""
    sources, targets = read(source), read(target)
    count = 0
    for pair in itertools.zip_longest(sources, targets):
        if None in pair:
            rest = 1 + sum(1 for _ in (targets if pair[0] is None else sources))
            lines = (count, count + rest) if pair[0] is None else (count + rest, count)
            raise DataError(
                f"{source} and {target}: must have equally many lines, have {lines[0]} and {lines[1]}; "
                "is one of them incomplete?"
            )
        count += 1
        yield pair
    if count == 0:
        raise DataError(f"{source} and {target}: must hold sentence pairs, are empty.")


def table_lines(path: Path, source_column: int, target_column: int) -> Iterator[tuple[bytes, bytes]]:
    """Pairs from two columns (counted from 0) of a tab-separated file.

    Rows that lack a column give an empty side, which cleaning drops: some public tables have such rows.
    """
    last = max(source_column, target_column)
    complete = False
    for line in raw_lines(path):
        columns = line.split(b"\t")
        if len(columns) > last:
            complete = True
            yield columns[source_column], columns[target_column]
        else:
            yield b"", b""
    if not complete:
        raise DataError(f"{path}: must be a table with {last + 1} columns between tabs, has no such row.")


def chunked(pairs: Iterable[tuple[bytes, bytes]], name: str, size: int) -> Iterator[Chunk]:
    """Group pairs, so that processes can work on them; ``name`` is what errors call the text."""
    iterator, first = iter(pairs), 1
    while block := list(itertools.islice(iterator, size)):
        yield Chunk(name, name, first, [source for source, _ in block], [target for _, target in block])
        first += len(block)


@dataclass(frozen=True)
class TextRules:
    """What is done to each line before its words are counted.

    ``tokenize`` splits words and punctuation as Moses does (special characters escaped, as in the published recipes);
    ``aggressive_hyphens`` also splits hyphens: ``x-y`` → ``x @-@ y``; ``normalize`` first unifies quotes, dashes and
    spaces of training text and replaces control characters. Evaluation sets stay as they were written: the numbers that
    are published are BLEU against them.
    """

    source_language: str
    target_language: str
    tokenize: bool = True
    normalize: bool = True
    aggressive_hyphens: bool = False
    lowercase: bool = False


@dataclass(frozen=True)
class CleanRules:
    """Which training pairs stay: lengths in words of both sides, and how many times longer one may be."""

    min_words: int = 1
    max_words: int = 250
    max_ratio: float = 1.5

    def reason(self, source: str, target: str) -> str | None:
        """Why a pair is dropped; None when it stays."""
        shorter, longer = sorted((len(source.split()), len(target.split())))
        if shorter < self.min_words:
            return "too short"
        if longer > self.max_words:
            return "too long"
        return "length ratio" if longer > self.max_ratio * shorter else None


@dataclass
class CleanChunk:
    """The pairs of a chunk that stay, and why others do not."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def process(chunk: Chunk, text: TextRules, clean: CleanRules | None) -> CleanChunk:
    """Tokenise and clean a chunk; with ``clean`` None, for evaluation sets, every pair stays, and is not normalised.

    Raises:
        DataError: if a line of an evaluation set is not UTF-8; such a training pair is dropped.
    """
    result = CleanChunk()
    if clean is None:
        text = replace(text, normalize=False)
    for number, raw in enumerate(zip(chunk.source, chunk.target, strict=True), chunk.first_line):
        try:
            source, target = (decode_line(line, chunk.source_path, number) for line in raw)
        except DataError:
            if clean is None:
                raise
            result.dropped["not UTF-8"] += 1
            continue
        source = process_line(source, text.source_language, text)
        target = process_line(target, text.target_language, text)
        if clean is not None and (reason := clean.reason(source, target)):
            result.dropped[reason] += 1
        else:
            result.pairs.append((source, target))
    return result


def process_line(line: str, language: str, rules: TextRules) -> str:
    """One line, normalised, tokenised and lower-cased as the rules say."""
    if rules.normalize:
        line = _printable(_normalizer(language).normalize(line))
    if rules.tokenize:
        words = _tokenizer(language).tokenize(line, aggressive_dash_splits=rules.aggressive_hyphens, return_str=True)
        line = " ".join(words.split())  # no exotic space or line separator is left in a word
    return line.lower() if rules.lowercase else line


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(" " if unicodedata.category(character).startswith("C") else character for character in line)


@functools.lru_cache(maxsize=4)
def _normalizer(language: str) -> Any:
    return import_sacremoses().MosesPunctNormalizer(lang=language)


@functools.lru_cache(maxsize=4)
def _tokenizer(language: str) -> Any:
    return import_sacremoses().MosesTokenizer(lang=language)


def import_sacremoses() -> Any:
    """The sacremoses module. Raises ConfigError when it is not installed."""
    try:
        import sacremoses
    except ImportError:
        raise ConfigError(
            "this corpus is tokenised with the package sacremoses, which is not installed; pip install sacremoses."
        ) from None
    return sacremoses
