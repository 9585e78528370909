"""What the ``prepare_*.py`` scripts share: from the public files of a corpus to tokenised text for ``hat-prepare``.

A script describes its corpus (:class:`Corpus`) and calls :func:`main`. Text is streamed, worked on by several processes
and written under ``OUTPUT/tok`` as gzipped files that are complete when they have their name; what is finished is kept
when the script runs again. The result depends on the files alone, not on the number of processes.
"""

import argparse
import contextlib
import functools
import gzip
import io
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from corpora_sources import Sources
from corpora_text import (
    CleanRules,
    TextRules,
    chunked,
    import_sacremoses,
    iwslt_lines,
    parallel_lines,
    plain_lines,
    process,
    segment_lines,
    table_lines,
)  # fmt: skip

from hat.artifacts import atomic_path
from hat.cli.command import make_parser, run_guarded
from hat.data.binarize import Workers
from hat.data.text import Chunk
from hat.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

_CHUNK_PAIRS = 2_000
_READERS = {"plain": plain_lines, "segments": segment_lines, "iwslt": iwslt_lines}


@dataclass(frozen=True)
class Part:
    """Some of the text of a split: two files of an archive, or two columns of a table.

    ``source`` and ``target`` name files in ``archive`` (or, for ``layout`` table, columns of it, counted from 0).
    ``layout`` is plain (a sentence a line), segments (SGML or XML test sets), iwslt (``train.tags``), or table.
    """

    archive: str
    source: str | int
    target: str | int
    layout: str = "plain"


@dataclass(frozen=True)
class Split:
    """Training, validation or test text, written to ``tok/`` under ``file_name`` with the language put in.

    With ``untouched``, only the target goes to ``raw/``, as it is, for sacreBLEU.
    """

    file_name: str
    parts: tuple[Part, ...]
    clean: CleanRules | None = None
    untouched: bool = False


@dataclass(frozen=True)
class Corpus:
    """A corpus: where its files are and what is done to them.

    ``downloads`` holds the URL of every archive by file name. With ``valid_every`` n, every n-th training pair that
    cleaning left goes into ``tok/valid.LANGUAGE.gz`` instead.
    """

    name: str
    text: TextRules
    downloads: dict[str, str]
    splits: tuple[Split, ...]
    valid_every: int | None = None


def main(corpus: Corpus, description: str, argv: Sequence[str] | None) -> int:
    """The command line of a script; returns the exit status."""
    script = f"prepare_{corpus.name}.py"

    def action() -> object:
        parser = make_parser(script, description, f"python scripts/{script} --output corpora/{corpus.name}")
        parser.add_argument(
            "--from", dest="given", type=Path, metavar="FOLDER",
            help="take the downloaded archives, or the files in them, from FOLDER and never use the network",
        )  # fmt: skip
        parser.add_argument(
            "--output", type=Path, default=Path("corpora") / corpus.name, metavar="FOLDER",
            help="where tok/, and the downloads, go (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument("--workers", type=_positive, default=_cores(), help="processes (default: all cores)")
        args = parser.parse_args(argv)
        return prepare(corpus, args.output, args.given, args.workers)

    return run_guarded(script, action)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, is '{text}'")
    return int(text)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(corpus: Corpus, output: Path, given: Path | None, workers: int) -> Path:
    """Write every split that is not there yet; returns the folder ``output/tok``, beside which ``raw`` may lie.

    Raises:
        ConfigError: if sacremoses is needed and not installed.
        DataError: if a file cannot be had, is damaged, or two files have different numbers of lines.
    """
    if corpus.text.tokenize or corpus.text.normalize:
        import_sacremoses()
    sources = Sources(corpus.downloads, output, given)
    with Workers(workers) as pool:
        for split in corpus.splits:
            outputs = _outputs(corpus, split, output)
            if all(path.exists() for path in outputs):
                logger.info("%s: is there already, kept", split.file_name)
            else:
                _write_split(corpus, split, sources, outputs, pool)
    return output / "tok"


def split_paths(corpus: Corpus, output: Path) -> list[Path]:
    """Every file that :func:`prepare` writes for ``hat-prepare``."""
    return [path for split in corpus.splits for path in _outputs(corpus, split, output)]


def _outputs(corpus: Corpus, split: Split, output: Path) -> list[Path]:
    """The files of a split: source, target, and the same for validation where that is cut from training."""
    languages = corpus.text.source_language, corpus.text.target_language
    if split.untouched:
        return [output / "raw" / split.file_name.format(language=languages[1])]
    names = [split.file_name.format(language=language) for language in languages]
    if split.clean is not None and corpus.valid_every is not None:
        names += [f"valid.{language}.gz" for language in languages]
    return [output / "tok" / name for name in names]


def _write_split(corpus: Corpus, split: Split, sources: Sources, outputs: list[Path], pool: Workers) -> None:
    text = corpus.text
    if split.untouched:
        text = TextRules(text.source_language, text.target_language, tokenize=False, normalize=False)
    work = functools.partial(process, text=text, clean=split.clean)
    dropped: Counter[str] = Counter()
    kept = 0
    try:
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_gzip_text(path)) for path in outputs]
            for chunk in pool.map(work, _chunks(split, sources)):
                dropped += chunk.dropped
                for pair in chunk.pairs:
                    kept += 1
                    held_out = len(files) == 4 and kept % (corpus.valid_every or 1) == 0
                    into = files[2:] if held_out else files[:2]
                    for file, line in zip(into, pair[-len(into) :], strict=True):
                        file.write(line + "\n")
            if kept == 0:
                raise DataError(
                    f"{split.file_name}: must hold sentence pairs, cleaning left none of {dropped.total()}."
                )
    except OSError as error:
        raise ConfigError(f"{outputs[0].parent}: cannot be written: {error.strerror or error}.") from None
    reasons = "".join(f", {count} dropped ({reason})" for reason, count in sorted(dropped.items()))
    logger.info("%s: %d pairs%s", split.file_name, kept, reasons)


def _chunks(split: Split, sources: Sources) -> Iterator[Chunk]:
    for part in split.parts:
        if part.layout == "table":
            path = sources.file(part.archive)
            pairs = table_lines(path, int(part.source), int(part.target))
            yield from chunked(pairs, str(path), _CHUNK_PAIRS)
        else:
            names = str(part.source), str(part.target)
            found = sources.members(part.archive, names)
            read = _READERS[part.layout]
            if split.untouched and part.layout == "segments":
                read = functools.partial(segment_lines, plain_apostrophes=False)
            pairs = parallel_lines(found[names[0]], found[names[1]], read)
            yield from chunked(pairs, f"{found[names[0]]} and {found[names[1]]}", _CHUNK_PAIRS)


@contextlib.contextmanager
def _gzip_text(path: Path) -> Iterator[IO[str]]:
    """A gzipped text file that appears when the block ends; equal text gives equal bytes."""
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as zipped,
        io.TextIOWrapper(zipped, encoding="utf-8", newline="\n") as text,
    ):
        yield text
