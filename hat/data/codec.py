"""Text ↔ token ids for both sides of a model: what a model folder needs besides its weights."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hat.data.tokenizer import Tokenizer, load_tokenizer
from hat.data.vocabulary import Vocabulary
from hat.special_ids import BOS_ID, EOS_ID, PAD_ID


@dataclass(frozen=True)
class TextCodec:
    """Tokeniser and vocabulary of the source and of the target.

    Saved as ``source/`` and ``target/``, each with a tokeniser's files and ``dict.txt``. It is the ``tokenizer/`` of
    every data-bin folder and of every model folder.
    """

    source_tokenizer: Tokenizer
    source_vocabulary: Vocabulary
    target_tokenizer: Tokenizer
    target_vocabulary: Vocabulary

    @property
    def joint_vocabulary(self) -> bool:
        """Whether both sides have the same symbols under the same ids."""
        return self.source_vocabulary == self.target_vocabulary

    def vocabulary_digest(self) -> str:
        """Tells these two vocabularies from others: SHA-256 of their symbols in the order of their ids."""
        digest = hashlib.sha256()
        for vocabulary in (self.source_vocabulary, self.target_vocabulary):
            symbols = vocabulary.decode(range(len(vocabulary)))
            digest.update("".join(f"{symbol}\n" for symbol in (*symbols, "")).encode())
        return digest.hexdigest()

    def encode_source(self, line: str) -> list[int]:
        """The ids of a source sentence, ending with ``EOS_ID``."""
        return [*self.source_vocabulary.encode(self.source_tokenizer.split(line)), EOS_ID]

    def encode_target(self, line: str) -> list[int]:
        """The ids of a target sentence, ending with ``EOS_ID``."""
        return [*self.target_vocabulary.encode(self.target_tokenizer.split(line)), EOS_ID]

    def decode_target(self, ids: Iterable[int]) -> str:
        """The sentence as people write it. What follows the first ``EOS_ID`` is ignored, padding too."""
        return self.target_tokenizer.join(self._target_pieces(ids))

    def decode_target_words(self, ids: Iterable[int]) -> str:
        """The sentence as words with spaces between, not detokenised: what tokenised BLEU compares."""
        return self.target_tokenizer.join_words(self._target_pieces(ids))

    def target_words(self, line: str) -> str:
        """A reference in the form :meth:`decode_target_words` gives hypotheses."""
        return self.target_tokenizer.join_words(self.target_tokenizer.split(line))

    def target_text(self, line: str) -> str:
        """A reference in the form :meth:`decode_target` gives hypotheses: text that came split is put together."""
        if self.target_tokenizer.settings.detokenize == "none":
            return line
        return self.target_tokenizer.join(self.target_tokenizer.split(line))

    def _target_pieces(self, ids: Iterable[int]) -> list[str]:
        kept = []
        for index in ids:
            if index == EOS_ID:
                break
            if index not in (BOS_ID, PAD_ID):
                kept.append(index)
        return self.target_vocabulary.decode(kept)

    def save(self, folder: str | Path) -> None:
        """Write the folder that :meth:`load` reads."""
        sides = {
            "source": (self.source_tokenizer, self.source_vocabulary),
            "target": (self.target_tokenizer, self.target_vocabulary),
        }
        for side, (tokenizer, vocabulary) in sides.items():
            tokenizer.save(Path(folder) / side)
            vocabulary.save(Path(folder) / side / "dict.txt")

    @classmethod
    def load(cls, folder: str | Path) -> "TextCodec":
        """Read what :meth:`save` wrote. Raises DataError when a file is missing or damaged."""
        source, target = Path(folder) / "source", Path(folder) / "target"
        return cls(
            load_tokenizer(source),
            Vocabulary.load(source / "dict.txt"),
            load_tokenizer(target),
            Vocabulary.load(target / "dict.txt"),
        )
