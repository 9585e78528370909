"""Text in, text out: a standalone model with its tokeniser."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from hat.config import describe_validation_error
from hat.data.codec import TextCodec
from hat.data.shortlist import Shortlist
from hat.decoding.beam import BeamOptions, Hypothesis, beam_search
from hat.errors import ConfigError, DataError
from hat.nn import Transformer
from hat.nn.packed import DType, pack
from hat.special_ids import PAD_ID


@dataclass(frozen=True)
class Translation:
    """One translation of a sentence."""

    text: str
    """As people write it."""
    words: str
    """Tokens separated by spaces, not detokenised: what tokenised BLEU compares."""
    score: float
    """Summed log-probability (nats) / length^penalty."""


class Translator:
    """Translates lines of text with a standalone Transformer.

    Args:
        model: the model.
        codec: its tokenisers and vocabularies.
        dtype: ``float32``, ``bfloat16``, ``float16`` (GPU) or ``int8`` (CPU): of the products, see :func:`pack`.
        shortlist: target tokens to choose from; None for all of them. What is chosen from is what the sentences of a
            batch may be translated with together, so a translation may depend on which sentences are beside it.

    Raises:
        DataError: if the vocabularies are not the model's, or the shortlist was made for others.
        ConfigError: if the model's device cannot compute with ``dtype``.
    """

    def __init__(
        self, model: Transformer, codec: TextCodec, dtype: DType = "float32", shortlist: Shortlist | None = None
    ) -> None:
        sizes = (len(codec.source_vocabulary), len(codec.target_vocabulary))
        if sizes != (model.source_vocab_size, model.target_vocab_size):
            raise DataError(
                f"the tokeniser must have the model's vocabulary ({model.source_vocab_size} source and "
                f"{model.target_vocab_size} target tokens), has {sizes[0]} and {sizes[1]}."
            )
        if shortlist is not None:
            shortlist.check_made_for(codec.vocabulary_digest())
        self.shortlist = shortlist
        self.model = pack(model, dtype, shortlists=shortlist is not None)
        self.device = next(model.parameters()).device
        self.codec = codec

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        dtype: DType = "float32",
        shortlist: str | Path | None = None,
    ) -> "Translator":
        """Read a model folder with its ``tokenizer/``. Raises DataError or ConfigError naming the file.

        ``shortlist`` is a file that hat-prepare wrote.
        """
        folder = Path(folder)
        model, codec = Transformer.from_pretrained(folder).to(device), TextCodec.load(folder / "tokenizer")
        return cls(model, codec, dtype, None if shortlist is None else Shortlist.load(shortlist))

    def translate(self, lines: Iterable[str], batch_tokens: int = 4096, **options: Any) -> list[str]:
        """The best translation of every line, in order.

        Args:
            lines: source sentences; an empty line translates to an empty line.
            batch_tokens: source tokens of a batch, padding included.
            options: fields of :class:`BeamOptions`, such as ``beam=5`` or ``length_penalty=0.6``.

        Raises:
            ConfigError: if an option is unknown or breaks a rule, or ``lines`` is a text and no list of texts.
        """
        if isinstance(lines, str):
            raise ConfigError("translate: lines must be a list of sentences, is a single text; write [text].")
        try:
            checked = BeamOptions(**options)
        except ValidationError as error:
            raise ConfigError(f"translate: {describe_validation_error(BeamOptions, error)}") from None
        return [best.text for (best,) in self.translate_nbest(lines, checked, batch_tokens, most=1)]

    def translate_nbest(
        self, lines: Iterable[str], options: BeamOptions, batch_tokens: int = 4096, most: int | None = None
    ) -> list[list[Translation]]:
        """Up to ``most`` (None: ``options.beam``) translations of every line, best first, in the order of the lines."""
        encoded = [self.codec.encode_source(line) for line in lines]
        results: list[list[Translation]] = [[Translation("", "", 0.0)] for _ in encoded]
        for rows in _batches([len(ids) for ids in encoded], batch_tokens):
            for row, found in zip(rows, self._search([encoded[row] for row in rows], options), strict=True):
                results[row] = [self._translation(hypothesis) for hypothesis in found[:most]]
        return results

    def _search(self, sentences: Sequence[Sequence[int]], options: BeamOptions) -> list[list[Hypothesis]]:
        """The hypotheses of one batch."""
        width = max(len(sentence) for sentence in sentences)
        source = torch.tensor([[*sentence, *[PAD_ID] * (width - len(sentence))] for sentence in sentences])
        source = source.to(self.device)
        if self.shortlist is None:
            return beam_search(self.model, source, options)
        candidates = self.shortlist.candidates(itertools.chain.from_iterable(sentences))
        found = beam_search(self.model.among(torch.from_numpy(candidates).to(self.device)), source, options)
        ids = candidates.tolist()
        return [[replace(one, tokens=tuple(ids[place] for place in one.tokens)) for one in best] for best in found]

    def _translation(self, hypothesis: Hypothesis) -> Translation:
        return Translation(
            text=self.codec.decode_target(hypothesis.tokens),
            words=self.codec.decode_target_words(hypothesis.tokens),
            score=hypothesis.score,
        )


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows of similar length, longest first; rows that hold nothing but an end symbol are left out."""
    order = sorted((row for row, length in enumerate(lengths) if length > 1), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        size = max(batch_tokens // lengths[order[start]], 1)
        yield order[start : start + size]
        start += size
