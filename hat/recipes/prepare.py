"""Parallel text → a data-bin folder: tokenisers, vocabularies and memory-mapped token ids."""

import contextlib
import functools
import glob
import logging
import re
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import Field, model_validator
from tqdm import tqdm

from hat.artifacts import RunFolder, make_folder, write_json, write_text
from hat.config import Section, Seed, load_config
from hat.data.binarize import BinaryChunk, PairFilter, Workers, binarize
from hat.data.codec import TextCodec
from hat.data.corpus import CorpusMeta, ParallelCorpus, SentenceWriter, SplitMeta
from hat.data.learning import make_tokenizers, make_vocabularies
from hat.data.lexicon import ShortlistConfig, learn_shortlist
from hat.data.settings import EvaluationPair, TextPair, TokenizerConfig, VocabularyConfig
from hat.data.shortlist import SHORTLIST_FILE, Shortlist
from hat.data.text import Chunk, fingerprint, parallel_chunks, read_lines, single_line
from hat.errors import ConfigError, DataError, HatError

logger = logging.getLogger(__name__)

_CHUNK_PAIRS = 5_000
_SECONDS_BETWEEN_LINES = 30.0
_REPLACED = ".old"


class PrepareConfig(Section):
    """Settings of ``hat-prepare``. Paths are relative to the current folder."""

    output: Path
    """The data-bin folder to make."""
    source_language: str
    """Code of the source language, such as ``en``."""
    target_language: str
    """Code of the target language."""
    train: TextPair
    """The training text."""
    valid: TextPair
    """The validation text."""
    test: dict[str, EvaluationPair] = Field(default_factory=dict)
    """Test texts by name."""
    tokenizer: TokenizerConfig
    """How lines become pieces."""
    vocabulary: VocabularyConfig = VocabularyConfig()
    """Which pieces get an id."""
    shortlist: ShortlistConfig | None = None
    """Also write ``shortlist.npz``: the target tokens that a sentence is likely to be translated with, for faster
    decoding with large vocabularies (``hat-translate --shortlist``); null writes none."""
    min_tokens: int = Field(default=1, ge=1)
    """Training pairs with a shorter side are dropped."""
    max_tokens: int | None = Field(default=250, ge=1)
    """Training pairs with a longer side are dropped (end symbol not counted); null keeps all."""
    max_length_ratio: float | None = Field(default=None, ge=1)
    """Training pairs whose longer side is more than this many times the shorter are dropped; null keeps all."""
    workers: int = Field(default=1, ge=1)
    """Processes; the result does not depend on it."""
    seed: Seed = 1
    """Draws the lines that sentencepiece learns from, where there are more than ``tokenizer.sample_lines``, and the
    pairs that a shortlist is learnt from."""
    overwrite: bool = False
    """Replace a data-bin folder that was made with other settings or from other files."""

    @model_validator(mode="after")
    def _check(self) -> "PrepareConfig":
        for name in self.test:
            if not re.fullmatch(r"[\w-]+", name) or name in ("train", "valid"):
                raise ValueError(f"test: a name must be letters, digits, _ or -, and not train or valid; is '{name}'")
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError(f"max_tokens must be at least min_tokens = {self.min_tokens}, is {self.max_tokens}")
        return self

    def pair_filter(self) -> PairFilter:
        """Which training pairs are kept."""
        return PairFilter(
            min_tokens=self.min_tokens, max_tokens=self.max_tokens, max_length_ratio=self.max_length_ratio
        )


def prepare(config: PrepareConfig) -> Path:
    """Make the data-bin folder ``config.output``, or keep the one that the same settings and files gave before.

    It is written beside its place and moved there when complete, so that an interrupted run leaves nothing half-made.

    Raises:
        ConfigError: if the folder exists and was made otherwise, and ``overwrite`` is not set.
        DataError: if a text is missing, empty, not UTF-8, damaged, or the two sides do not have equally many lines.
    """
    if not config.output.name:
        raise ConfigError(f"output: must be a folder of its own, is {config.output}.")
    inputs = _fingerprints(config)
    # The folder is made where a link leads, on that disk, and the link stays.
    place = config.output.resolve() if config.output.is_symlink() else config.output
    _restore(place)
    if _is_up_to_date(config, inputs):
        logger.info("%s was made with these settings from these files before: kept", config.output)
        _renew_shortlist(config)
        return config.output
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
    make_folder(partial)
    try:
        run = RunFolder(partial, config, command="hat-prepare")
        with Workers(config.workers) as workers:
            meta = _build(config, partial, workers, inputs)
        write_json(partial / "meta.json", meta.model_dump())
        if config.shortlist is not None:
            _write_shortlist(config.shortlist, partial, config.seed)
        _report(meta, run)
        run.finish()
        _move(partial, place)
    except OSError as error:
        raise DataError(f"{config.output}: cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return config.output


def _build(config: PrepareConfig, folder: Path, workers: Workers, inputs: dict[str, dict[str, int]]) -> CorpusMeta:
    """All files of the data-bin but ``meta.json``, whose content is returned."""
    read_train = functools.partial(_train_chunks, config)
    languages = config.source_language, config.target_language
    tokenizers = make_tokenizers(config.tokenizer, languages, read_train, workers, config.seed)
    for side, tokenizer in zip(("source", "target"), tokenizers, strict=True):
        tokenizer.save(folder / "tokenizer" / side)
    vocabularies = make_vocabularies(
        config.vocabulary, str(folder / "tokenizer"), config.pair_filter(), read_train, workers
    )
    codec = TextCodec(tokenizers[0], vocabularies[0], tokenizers[1], vocabularies[1])
    codec.save(folder / "tokenizer")
    splits = {}
    for split, pair in {"train": config.train, "valid": config.valid, **config.test}.items():
        splits[split] = _write_split(config, folder, split, pair, codec, workers)
        if isinstance(pair, EvaluationPair) and pair.reference is not None:
            _write_reference(folder / f"{split}.reference.txt", pair.reference, splits[split].rows)
    return CorpusMeta(
        source_language=config.source_language,
        target_language=config.target_language,
        source_vocab_size=len(codec.source_vocabulary),
        target_vocab_size=len(codec.target_vocabulary),
        joint_vocabulary=codec.joint_vocabulary,
        splits=splits,
        tokenizer=config.tokenizer.model_dump(mode="json"),
        inputs=inputs,
    )


def _write_split(
    config: PrepareConfig, folder: Path, split: str, pair: TextPair, codec: TextCodec, workers: Workers
) -> SplitMeta:
    """The files of one split. Only training pairs are filtered; other splits keep their text for BLEU as well."""
    pair_filter = config.pair_filter() if split == "train" else None
    work = functools.partial(binarize, folder=str(folder / "tokenizer"), pair_filter=pair_filter)
    chunks = _with_progress(parallel_chunks(pair.source, pair.target, _CHUNK_PAIRS), f"writing {split}")
    unknown = [0, 0]
    dropped: Counter[str] = Counter()
    with ExitStack() as stack:
        source = stack.enter_context(SentenceWriter(folder, f"{split}.source", len(codec.source_vocabulary)))
        target = stack.enter_context(SentenceWriter(folder, f"{split}.target", len(codec.target_vocabulary)))
        for chunk in workers.map(work, chunks):
            source.append(chunk.source.ids, chunk.source.lengths)
            target.append(chunk.target.ids, chunk.target.lengths)
            unknown = [unknown[0] + chunk.source.unknown, unknown[1] + chunk.target.unknown]
            dropped.update(chunk.dropped)
            if pair_filter is None:
                _append_text(folder, split, chunk)
    if source.num_rows == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        raise DataError(
            f"{', '.join(pair.source)}: no pair is left for {split} ({reasons}); change min_tokens, max_tokens or "
            "max_length_ratio."
        )
    return SplitMeta(
        rows=source.num_rows,
        source_tokens=source.num_tokens,
        target_tokens=target.num_tokens,
        source_unknown=unknown[0],
        target_unknown=unknown[1],
        dropped=dict(sorted(dropped.items())),
    )


def _append_text(folder: Path, split: str, chunk: BinaryChunk) -> None:
    """Add a chunk's text to the files that BLEU is computed with."""
    texts = {"source": chunk.source_text, "target": chunk.target_text}
    for name, lines in texts.items():
        with (folder / f"{split}.{name}.txt").open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)


def _write_reference(path: Path, references: Sequence[str], rows: int) -> None:
    """Keep the untouched target text. Raises DataError when it has another number of lines than the test text."""
    lines = [single_line(line) for reference in references for line in read_lines(reference)]
    if len(lines) != rows:
        raise DataError(
            f"{', '.join(references)}: must have a line for each of the {rows} of source and target, has {len(lines)}."
        )
    write_text(path, "".join(f"{line}\n" for line in lines))


def _write_shortlist(config: ShortlistConfig, folder: Path, seed: int) -> None:
    corpus, codec = ParallelCorpus.load(folder, "train"), TextCodec.load(folder / "tokenizer")
    logger.info("learning the shortlist from %d pairs", min(config.pairs, len(corpus)))
    learned = learn_shortlist(corpus, config, codec.joint_vocabulary, codec.vocabulary_digest(), seed)
    learned.save(folder / SHORTLIST_FILE)


def _renew_shortlist(config: PrepareConfig) -> None:
    """Bring the shortlist of a folder up to date whose other files are."""
    if config.shortlist is None:
        return
    if load_config(PrepareConfig, config.output / "config.yaml").shortlist == config.shortlist:
        with contextlib.suppress(DataError):
            Shortlist.load(config.output / SHORTLIST_FILE)
            return
    _write_shortlist(config.shortlist, config.output, config.seed)
    RunFolder(config.output, config, command="hat-prepare").finish()


def _train_chunks(config: PrepareConfig, label: str) -> Iterator[Chunk]:
    return _with_progress(parallel_chunks(config.train.source, config.train.target, _CHUNK_PAIRS), label)


def _with_progress(chunks: Iterable[Chunk], label: str) -> Iterator[Chunk]:
    """The chunks, with a progress bar on a terminal and a line now and then elsewhere."""
    done, last_line = 0, time.monotonic()
    with tqdm(desc=label, unit=" pairs", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as bar:
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            bar.update(len(chunk))
            if bar.disable and time.monotonic() - last_line > _SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                logger.info("%s: %d pairs", label, done)
    logger.info("%s: %d pairs, done", label, done)


def _fingerprints(config: PrepareConfig) -> dict[str, dict[str, int]]:
    """Size and checksum of every input file, so that a repeated command sees whether they are still the same."""
    pairs = [config.train, config.valid, *config.test.values()]
    paths = [path for pair in pairs for path in (*pair.source, *pair.target)]
    paths += [path for pair in config.test.values() for path in pair.reference or ()]
    paths += [*(config.tokenizer.codes or ()), *(config.tokenizer.model or ())]
    paths += [path for path in (config.vocabulary.source, config.vocabulary.target) if path is not None]
    return {path: fingerprint(path) for path in paths}


def _is_up_to_date(config: PrepareConfig, inputs: dict[str, dict[str, int]]) -> bool:
    """Whether ``config.output`` is what this run would make. Raises ConfigError when it may not be replaced."""
    output = config.output
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if not (output / "meta.json").is_file():
        raise ConfigError(f"{output}: exists and is no data-bin folder; choose another output.")
    difference = _difference(config, inputs)
    if difference is None:
        return True
    if not config.overwrite:
        raise ConfigError(f"{output}: exists already and {difference}; set overwrite: true or choose another output.")
    return False


def _difference(config: PrepareConfig, inputs: dict[str, dict[str, int]]) -> str | None:
    """How the data-bin at ``config.output`` differs from what this run would make, or None."""
    try:
        made_with = load_config(PrepareConfig, config.output / "config.yaml")
        meta = CorpusMeta.load(config.output)
        for split in meta.splits:
            ParallelCorpus.load(config.output, split)
        TextCodec.load(config.output / "tokenizer")
    except HatError as error:
        return f"is damaged ({error})"
    for name in sorted(set(PrepareConfig.model_fields) - {"output", "workers", "overwrite", "shortlist"}):
        if getattr(made_with, name) != getattr(config, name):
            return f"was made with other settings ({name})"
    changed = [path for path in inputs if meta.inputs.get(path) != inputs[path]]
    return f"{changed[0]} has changed since" if changed else None


def _move(partial: Path, output: Path) -> None:
    """Put the complete folder in its place; an old one is removed only after that."""
    old = None
    if output.exists():
        old = partial.with_suffix(_REPLACED)
        output.rename(old)
    partial.rename(output)
    if old is not None:
        shutil.rmtree(old)


def _restore(output: Path) -> None:
    """Put back a folder that a run was killed while replacing, and say what else killed runs left."""
    left = sorted(output.parent.glob(f".{glob.escape(output.name)}.????????.*"))  # as named by prepare
    replaced = [path for path in left if path.suffix == _REPLACED]
    if replaced and not output.exists():
        replaced[0].rename(output)
        left.remove(replaced[0])
    for path in left:
        logger.warning("%s: left by a run that was killed, if none is at work on it now; it may be removed", path)


def _report(meta: CorpusMeta, run: RunFolder) -> None:
    """Log a table of the splits."""
    shared = " (joint)" if meta.joint_vocabulary else ""
    logger.info("vocabulary: %d source, %d target symbols%s", meta.source_vocab_size, meta.target_vocab_size, shared)
    titles = ("split", "pairs", "dropped", "source tokens", "unknown", "target tokens", "unknown")
    logger.info("%-16s %10s %9s %14s %8s %14s %8s", *titles)
    for split, info in meta.splits.items():
        rates = info.source_unknown / info.source_tokens, info.target_unknown / info.target_tokens
        logger.info(
            "%-16s %10d %9d %14d %8s %14d %8s", split, info.rows, sum(info.dropped.values()),
            info.source_tokens, f"{rates[0]:.2%}", info.target_tokens, f"{rates[1]:.2%}",
        )  # fmt: skip
        run.log(event="split", split=split, **info.model_dump())
