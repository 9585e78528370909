"""Translate text, line by line, in bounded memory."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from pydantic import Field, model_validator

from hat.config import Section, Threads
from hat.data.shortlist import Shortlist
from hat.data.text import decode_line, lines_of, raw_lines
from hat.decoding import BeamOptions
from hat.decoding.translator import Translator
from hat.errors import ConfigError
from hat.nn.device import choose_device
from hat.nn.packed import DType
from hat.recipes.model_folder import load_model
from hat.recipes.training import use_threads


class TranslateConfig(Section):
    """Settings of ``hat-translate``."""

    model: Path
    """Folder of a standalone model, or of a SuperTransformer when ``architecture`` is given."""
    architecture: Path | None = None
    """Which SubTransformer of a SuperTransformer."""
    input: Path | None = None
    """Text to translate, plain or .gz; null reads standard input."""
    nbest: int = Field(default=1, gt=0)
    """Translations printed for each line; above 1, each line is ``number<TAB>score<TAB>translation``."""
    tokenized: bool = False
    """Print tokens separated by spaces instead of detokenised text."""
    batch_tokens: int = Field(default=4096, gt=0)
    """Source tokens of a batch, padding included."""
    lines_at_once: int = Field(default=4096, gt=0, lt=2**31)
    """Lines read before the first is printed; more lines give fuller batches."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    dtype: DType = "float32"
    """Type of the matrix products while translating: ``bfloat16`` and ``int8`` are faster and round more; ``int8``
    needs a CPU, ``float16`` a GPU."""
    shortlist: Path | None = None
    """A ``shortlist.npz`` that hat-prepare made: only the target tokens that it gives a sentence's source tokens are
    scored. Faster where the vocabulary is large, and no longer quite the same; null scores all."""
    threads: Threads | None = None
    """CPU threads; null leaves torch's choice."""
    decoding: BeamOptions = BeamOptions()

    @model_validator(mode="after")
    def _check(self) -> "TranslateConfig":
        if self.nbest > self.decoding.beam:
            raise ValueError(f"nbest must be at most decoding.beam ({self.decoding.beam}), is {self.nbest}")
        return self


def translate(config: TranslateConfig, output: TextIO | None = None) -> None:
    """Translate as ``config`` says, printing to ``output`` (standard output by default) as soon as lines are done."""
    if config.input is None and sys.stdin is None:
        raise ConfigError("standard input: must be open, is closed; name a file with --input.")
    use_threads(config.threads)
    output = output or sys.stdout
    model, codec = load_model(config.model, config.architecture)
    shortlist = None if config.shortlist is None else Shortlist.load(config.shortlist)
    translator = Translator(model.to(choose_device(config.device)), codec, config.dtype, shortlist)
    interactive = config.input is None and sys.stdin.isatty()
    number = 0
    for lines in _chunks(_source_lines(config.input), 1 if interactive else config.lines_at_once):
        for translations in translator.translate_nbest(lines, config.decoding, config.batch_tokens, config.nbest):
            for translation in translations:
                text = translation.words if config.tokenized else translation.text
                print(f"{number}\t{translation.score:.4f}\t{text}" if config.nbest > 1 else text, file=output)
            number += 1
        output.flush()


def _source_lines(path: Path | None) -> Iterator[str]:
    lines = lines_of(sys.stdin.buffer) if path is None else raw_lines(path)
    for number, line in enumerate(lines, start=1):
        yield decode_line(line, path or "standard input", number)


def _chunks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(lines)
    while chunk := list(islice(iterator, size)):
        yield chunk
