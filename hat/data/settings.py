"""The config sections that say where text comes from and how it becomes tokens."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from hat.config import Section
from hat.data.tokenizer import TokenizerSettings

Paths = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One path, or a list of paths."""


class TextPair(Section):
    """Parallel text: line n of the target translates line n of the source."""

    source: Paths = Field(min_length=1)
    """A text file, plain or gzipped, or a list of them."""
    target: Paths = Field(min_length=1)
    """As many files for the target, in the same order."""

    @model_validator(mode="after")
    def _as_many_files(self) -> "TextPair":
        if len(self.source) != len(self.target):
            raise ValueError(
                f"source and target must list equally many files, list {len(self.source)} and {len(self.target)}"
            )
        return self


class EvaluationPair(TextPair):
    """Parallel text that translations are scored with."""

    reference: Paths | None = Field(default=None, min_length=1)
    """The target text before anything was done to it, for sacreBLEU; null takes ``target``."""


class TokenizerConfig(Section):
    """How lines become pieces: learnt from the training text, or with files that are given."""

    kind: Literal["whitespace", "bpe", "sentencepiece"]
    """``whitespace`` (the text is already split), ``bpe`` (subword-nmt) or ``sentencepiece``."""
    joint: bool = True
    """Learn one model on both sides together (bpe, sentencepiece); false learns one per side."""
    merges: int | None = Field(default=None, ge=1)
    """BPE merges to learn (bpe)."""
    codes: Paths | None = Field(default=None, min_length=1, max_length=2)
    """A codes file to use instead of learning (bpe), or two: source and target."""
    vocab_size: int | None = Field(default=None, ge=8)
    """Pieces to learn (sentencepiece)."""
    model_type: Literal["unigram", "bpe"] = "unigram"
    """How they are learnt (sentencepiece)."""
    sample_lines: int = Field(default=5_000_000, ge=1)
    """Most lines to learn from, drawn at random from longer texts (sentencepiece)."""
    model: Paths | None = Field(default=None, min_length=1, max_length=2)
    """A model file to use instead of learning (sentencepiece), or two: source and target."""
    lowercase: bool = False
    """Turn the text to lower case."""
    pretokenize: Literal["none", "moses"] = "none"
    """``moses`` splits raw text into words first (whitespace, bpe); needs sacremoses."""
    detokenize: Literal["none", "moses"] = "none"
    """``moses``: the text was split by Moses' rules before, and translations are put together again; needs
    sacremoses (whitespace, bpe)."""
    bpe_marks: bool = False
    """The text was split by BPE before; pieces ending in ``@@`` belong to the next one (whitespace)."""

    @model_validator(mode="after")
    def _fits_kind(self) -> "TokenizerConfig":
        fitting = {
            "whitespace": {"pretokenize", "detokenize", "bpe_marks"},
            "bpe": {"joint", "merges", "codes", "pretokenize", "detokenize"},
            "sentencepiece": {"joint", "vocab_size", "model_type", "sample_lines", "model"},
        }[self.kind] | {"kind", "lowercase"}
        for name, field in type(self).model_fields.items():
            if name not in fitting and getattr(self, name) != field.default:
                raise ValueError(f"{name} is no setting of kind: {self.kind}; remove it")
        if self.pretokenize != "none" and self.detokenize != "none":
            raise ValueError("detokenize is for text that comes split; pretokenize undoes itself, remove one of them")
        for learn, given in {"bpe": ("merges", "codes"), "sentencepiece": ("vocab_size", "model")}.items():
            if self.kind == learn and (getattr(self, given[0]) is None) == (getattr(self, given[1]) is None):
                raise ValueError(f"kind: {self.kind} needs either {given[0]} (to learn) or {given[1]} (files)")
        return self

    def for_language(self, language: str) -> TokenizerSettings:
        """The settings of one side's tokeniser."""
        return TokenizerSettings(
            kind=self.kind,
            lowercase=self.lowercase,
            pretokenize=self.pretokenize,
            detokenize=self.detokenize,
            language=language if "moses" in (self.pretokenize, self.detokenize) else None,
            bpe_marks=self.bpe_marks,
        )


class VocabularyConfig(Section):
    """Which pieces get an id of their own."""

    joint: bool = True
    """One vocabulary for both sides, so that embeddings can be shared."""
    min_count: int = Field(default=1, ge=1)
    """Pieces seen less often in the training text are unknown."""
    max_size: int | None = Field(default=None, ge=5)
    """Most symbols, the four special ones included; null sets no limit."""
    source: str | None = None
    """A ``dict.txt`` to use instead of building one."""
    target: str | None = None
    """The same for the target; with ``joint`` both must hold the same symbols."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "VocabularyConfig":
        if (self.source is None) != (self.target is None):
            raise ValueError("source and target must be given together (the same file twice for a joint vocabulary)")
        return self
