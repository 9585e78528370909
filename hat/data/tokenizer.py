"""Tokenisers: text → pieces and back. Each is saved in a small folder, so that a model can carry its own.

A folder holds ``tokenizer.json`` (the kind and its settings) and, by kind, ``bpe.codes`` or ``sentencepiece.model``.
"""

import functools
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import sentencepiece
from pydantic import ValidationError
from subword_nmt.apply_bpe import BPE

from hat.artifacts import atomic_path, make_folder, read_json, read_text, write_json, write_text
from hat.config import Section, describe_validation_error
from hat.errors import ConfigError, DataError

BPE_MARK = "@@"
"""Ends every piece that the next one continues, as subword-nmt writes it."""

_MOST_CACHED_WORDS = 1_000_000


class TokenizerSettings(Section):
    """The content of ``tokenizer.json``."""

    format: Literal["hat.tokenizer/1"] = "hat.tokenizer/1"
    """Version of the layout."""
    kind: Literal["whitespace", "bpe", "sentencepiece"]
    """``whitespace``: the text is already split; ``bpe``: subword-nmt; ``sentencepiece``."""
    lowercase: bool = False
    """Turn the text to lower case."""
    pretokenize: Literal["none", "moses"] = "none"
    """``moses`` splits raw text into words first and puts them together again after; not for sentencepiece."""
    detokenize: Literal["none", "moses"] = "none"
    """``moses`` puts the words of text that was split by Moses' rules before together again, and writes its escapes
    (``&apos;``, ``@-@``) as what they stand for."""
    language: str | None = None
    """Language code, needed by ``moses``."""
    bpe_marks: bool = False
    """For ``whitespace``: the text was split by BPE before; pieces that end in ``@@`` are joined to the next."""


class Tokenizer(Protocol):
    """What every tokeniser can do."""

    @property
    def settings(self) -> TokenizerSettings:
        """Kind and options."""

    def split(self, line: str) -> list[str]:
        """The pieces of a sentence."""

    def join(self, pieces: Iterable[str]) -> str:
        """The sentence as people write it."""

    def join_words(self, pieces: Iterable[str]) -> str:
        """The sentence as words with spaces between: what tokenised BLEU compares."""

    def save(self, folder: str | Path) -> None:
        """Write the folder that :func:`load_tokenizer` reads."""


class WordSplitter:
    """Text ↔ words: at spaces, or with Moses' rules.

    Raises:
        ConfigError: if ``moses`` is asked for without a language, or sacremoses is not installed. Text that comes
            split needs it only to be put together again, so a device can go without.
    """

    def __init__(self, settings: TokenizerSettings) -> None:
        self._settings = settings
        self._tokenize: Callable[[str], list[str]] = str.split
        if "moses" in (settings.pretokenize, settings.detokenize) and not settings.language:
            raise ConfigError("pretokenize or detokenize: moses needs a language; set one.")
        if settings.pretokenize == "moses":
            moses = _import_sacremoses()
            self._tokenize = functools.partial(moses.MosesTokenizer(settings.language).tokenize, escape=False)

    def split(self, line: str) -> list[str]:
        """The words of a line, in lower case if so set."""
        words = self._tokenize(line)
        return [word.lower() for word in words] if self._settings.lowercase else words

    def join(self, words: list[str]) -> str:
        """The words as running text."""
        return self._detokenize(words)

    @functools.cached_property
    def _detokenize(self) -> Callable[[list[str]], str]:
        escaped = self._settings.detokenize == "moses"
        if not escaped and self._settings.pretokenize == "none":
            return " ".join
        moses = _import_sacremoses().MosesDetokenizer(self._settings.language)
        return functools.partial(moses.detokenize, unescape=escaped)


class WhitespaceTokenizer:
    """Pieces are what stands between spaces."""

    def __init__(self, settings: TokenizerSettings) -> None:
        self.settings = settings
        self._words = WordSplitter(settings)

    def split(self, line: str) -> list[str]:
        """The words of a line."""
        return self._words.split(line)

    def join(self, pieces: Iterable[str]) -> str:
        """The sentence as people write it."""
        return self._words.join(self._glue(pieces))

    def join_words(self, pieces: Iterable[str]) -> str:
        """The words with spaces between."""
        return " ".join(self._glue(pieces))

    def _glue(self, pieces: Iterable[str]) -> list[str]:
        return glue_bpe(pieces) if self.settings.bpe_marks else list(pieces)

    def save(self, folder: str | Path) -> None:
        """Write the folder that :func:`load_tokenizer` reads."""
        write_json(make_folder(folder) / "tokenizer.json", self.settings.model_dump())

    @classmethod
    def load(cls, folder: Path, settings: TokenizerSettings) -> "WhitespaceTokenizer":
        """Read what :meth:`save` wrote."""
        return cls(settings)


class BpeTokenizer:
    """Byte-pair encoding of words with subword-nmt.

    Args:
        codes: the text of a codes file: one merge (two symbols) per line, the first one first.
        settings: options of the words.
        where: names the codes in errors.

    Raises:
        DataError: if ``codes`` is not the text of a codes file.
    """

    def __init__(self, codes: str, settings: TokenizerSettings, where: str = "BPE codes") -> None:
        _check_codes(codes, where)
        self.settings = settings
        self._codes = codes
        self._words = WordSplitter(settings)
        self._bpe = BPE(io.StringIO(codes), separator=BPE_MARK)
        self._known: dict[str, list[str]] = {}

    def split(self, line: str) -> list[str]:
        """The subwords of a line; all but a word's last end in ``@@``."""
        pieces: list[str] = []
        for word in self._words.split(line):
            known = self._known.get(word)
            pieces += known if known is not None else self._split_new(word)
        return pieces

    def _split_new(self, word: str) -> list[str]:
        self._bpe.cache.clear()  # it would keep every word for ever
        if len(self._known) >= _MOST_CACHED_WORDS:
            self._known.clear()
        self._known[word] = list(self._bpe.segment_tokens([word]))
        return self._known[word]

    def join(self, pieces: Iterable[str]) -> str:
        """The sentence as people write it."""
        return self._words.join(glue_bpe(pieces))

    def join_words(self, pieces: Iterable[str]) -> str:
        """The words with spaces between."""
        return " ".join(glue_bpe(pieces))

    def save(self, folder: str | Path) -> None:
        """Write the folder that :func:`load_tokenizer` reads."""
        write_text(make_folder(folder) / "bpe.codes", self._codes)
        write_json(Path(folder) / "tokenizer.json", self.settings.model_dump())

    @classmethod
    def load(cls, folder: Path, settings: TokenizerSettings) -> "BpeTokenizer":
        """Read what :meth:`save` wrote."""
        path = folder / "bpe.codes"
        return cls(read_text(path, "BPE codes"), settings, where=str(path))


class SentencePieceTokenizer:
    """A sentencepiece model.

    Args:
        model: the bytes of a ``.model`` file.
        settings: only ``lowercase`` may be set.
        where: names the model in errors.

    Raises:
        DataError: if ``model`` is not a sentencepiece model.
    """

    def __init__(self, model: bytes, settings: TokenizerSettings, where: str = "sentencepiece model") -> None:
        self.settings = settings
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError:
            raise DataError(f"{where}: must be a sentencepiece model, is not or is damaged.") from None

    def split(self, line: str) -> list[str]:
        """The pieces of a line."""
        return list(self._processor.encode(line.lower() if self.settings.lowercase else line, out_type=str))

    def join(self, pieces: Iterable[str]) -> str:
        """The sentence as people write it."""
        return str(self._processor.decode_pieces(list(pieces)))

    def join_words(self, pieces: Iterable[str]) -> str:
        """The same as :meth:`join`: these pieces know no words."""
        return self.join(pieces)

    def save(self, folder: str | Path) -> None:
        """Write the folder that :func:`load_tokenizer` reads."""
        with atomic_path(make_folder(folder) / "sentencepiece.model") as temporary:
            temporary.write_bytes(self._model)
        write_json(Path(folder) / "tokenizer.json", self.settings.model_dump())

    @classmethod
    def load(cls, folder: Path, settings: TokenizerSettings) -> "SentencePieceTokenizer":
        """Read what :meth:`save` wrote."""
        path = folder / "sentencepiece.model"
        return cls(read_model_bytes(path), settings, where=str(path))


_KINDS: dict[str, Callable[[Path, TokenizerSettings], Tokenizer]] = {
    "whitespace": WhitespaceTokenizer.load,
    "bpe": BpeTokenizer.load,
    "sentencepiece": SentencePieceTokenizer.load,
}


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read a tokeniser's folder.

    Raises:
        DataError: if a file is missing or damaged.
        ConfigError: if it needs sacremoses, which is not installed.
    """
    path = Path(folder) / "tokenizer.json"
    try:
        settings = TokenizerSettings.model_validate(read_json(path, "the settings of a tokeniser"))
    except ValidationError as error:
        raise DataError(f"{path}: {describe_validation_error(TokenizerSettings, error)}.") from None
    return _KINDS[settings.kind](Path(folder), settings)


def glue_bpe(pieces: Iterable[str]) -> list[str]:
    """The words that BPE pieces make; a mark at the very end, where no piece follows, is dropped."""
    words: list[str] = []
    beginning = ""
    for piece in pieces:
        if piece.endswith(BPE_MARK):
            beginning += piece[: -len(BPE_MARK)]
        else:
            words.append(beginning + piece)
            beginning = ""
    return [*words, beginning] if beginning else words


def read_model_bytes(path: str | Path) -> bytes:
    """The bytes of a model file. Raises DataError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a sentencepiece model: {error.strerror}.") from None


def _check_codes(codes: str, where: str) -> None:
    """Subword-nmt leaves the program when it meets a bad line, so every line is looked at first."""
    lines: Sequence[str] = codes.rstrip("\n").split("\n")
    merges = lines[1:] if lines[0].startswith("#version:") else lines
    if lines[0].startswith("#version:") and lines[0].split()[-1] not in ("0.1", "0.2"):
        raise DataError(f"{where}, line 1: the version of BPE codes must be 0.1 or 0.2, is '{lines[0][:40]}'.")
    for number, line in enumerate(merges, start=len(lines) - len(merges) + 1):
        if len(line.strip("\r\n ").split(" ")) != 2:
            raise DataError(f"{where}, line {number}: must be two symbols, is '{line[:60]}'; is this a BPE codes file?")


def _import_sacremoses() -> Any:
    try:
        import sacremoses
    except ImportError:
        raise ConfigError(
            "Moses' rules need the package sacremoses, which is not installed; pip install sacremoses."
        ) from None
    return sacremoses
