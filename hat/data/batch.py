"""Sentence pairs as padded tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hat.data.corpus import ParallelCorpus, Sentences
from hat.errors import DataError
from hat.special_ids import EOS_ID, PAD_ID

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Sentence pairs as tensors of type int64, padded on the right with ``PAD_ID``.

    B pairs, S and T the longest source and target, end symbols included.
    """

    source: Tensor
    """Source ids, each sentence ending with ``EOS_ID``. Shape (B, S)."""
    target_in: Tensor
    """What the decoder reads: ``EOS_ID``, then the target without its end symbol. Shape (B, T)."""
    target_out: Tensor
    """What the decoder must predict: the target, ending with ``EOS_ID``. Shape (B, T)."""
    num_target_tokens: int
    """Target tokens that are not padding."""

    @property
    def num_sentences(self) -> int:
        """B, the number of sentence pairs."""
        return self.source.size(0)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        source, target_in, target_out = (
            tensor.to(device, non_blocking=True) for tensor in (self.source, self.target_in, self.target_out)
        )
        return Batch(source, target_in, target_out, self.num_target_tokens)


def collate(corpus: ParallelCorpus, rows: Sequence[int] | Rows) -> Batch:
    """Read the pairs ``rows`` and pad them.

    Raises:
        DataError: if an id is outside the vocabulary, which means that the files are damaged.
    """
    wanted = np.asarray(rows, dtype=np.int64)
    source, _ = _padded(corpus.source_sentences, wanted, corpus.source_vocab_size, corpus.name)
    target, num_tokens = _padded(corpus.target_sentences, wanted, corpus.target_vocab_size, corpus.name)
    target_in = np.empty_like(target)
    target_in[:, 0] = EOS_ID
    target_in[:, 1:] = np.where(target[:, :-1] == EOS_ID, PAD_ID, target[:, :-1])
    return Batch(torch.from_numpy(source), torch.from_numpy(target_in), torch.from_numpy(target), num_tokens)


def _padded(sentences: Sentences, rows: Rows, vocab_size: int, name: str) -> tuple[npt.NDArray[np.int64], int]:
    """The sentences as one right-padded matrix, and how many of its entries are tokens."""
    starts = np.asarray(sentences.offsets[rows], dtype=np.int64)
    lengths = np.asarray(sentences.offsets[rows + 1], dtype=np.int64) - starts
    steps = np.arange(int(lengths.max()))
    is_token = steps < lengths[:, None]
    matrix = np.full(is_token.shape, PAD_ID, dtype=np.int64)
    matrix[is_token] = sentences.ids[(starts[:, None] + steps)[is_token]]
    if int(matrix.max()) >= vocab_size:
        raise DataError(
            f"{name}: ids must be below the vocabulary's size {vocab_size}, one is {int(matrix.max())}; "
            "the files are damaged, make the data-bin folder again."
        )
    return matrix, int(lengths.sum())
