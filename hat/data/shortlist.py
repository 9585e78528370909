"""Shortlists: the target tokens that a sentence may be translated with, so that decoding need not score them all."""

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hat.artifacts import atomic_path
from hat.errors import DataError
from hat.special_ids import UNK_ID

SHORTLIST_FILE = "shortlist.npz"

IdArray = npt.NDArray[np.int32]


class Shortlist:
    """The target tokens that are likely translations of each source token.

    Args:
        always: target ids that every sentence may be translated with, int32 (K,).
        likely: target ids for each source id, int32 (source vocabulary, N); where there are fewer, some repeat.
        target_vocab_size: target ids are below this.
        vocabularies: :meth:`TextCodec.vocabulary_digest` of the vocabularies whose ids these are.
    """

    def __init__(self, always: IdArray, likely: IdArray, target_vocab_size: int, vocabularies: str) -> None:
        special = np.arange(min(UNK_ID + 1, target_vocab_size), dtype=np.int32)
        self._always = np.union1d(always, special)
        self._likely = likely
        self.source_vocab_size = len(likely)
        self.target_vocab_size = target_vocab_size
        self.vocabularies = vocabularies

    def check_made_for(self, vocabularies: str) -> None:
        """Raise DataError if the ids are not those of the vocabularies with this digest."""
        if vocabularies != self.vocabularies:
            raise DataError(
                "the shortlist must be of the data that the model was trained on, has other vocabularies; make one of "
                "these data with hat-prepare."
            )

    def candidates(self, source: Iterable[int]) -> npt.NDArray[np.int64]:
        """The target ids for a text of these source ids: ascending, the special ones first and under their own ids."""
        rows = self._likely[np.unique(np.fromiter(source, dtype=np.int64))]
        return np.union1d(self._always, rows.ravel()).astype(np.int64)

    def save(self, path: str | Path) -> None:
        """Write a ``.npz`` of four arrays, atomically."""
        size, digest = np.array(self.target_vocab_size), np.array(self.vocabularies)
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(file, always=self._always, likely=self._likely, target_vocab_size=size, vocabularies=digest)

    @classmethod
    def load(cls, path: str | Path) -> "Shortlist":
        """Read what :meth:`save` wrote. Raises DataError when it is missing, damaged or something else."""
        arrays = _read_arrays(Path(path))
        always, likely, size, digest = (arrays[name] for name in _ARRAYS)
        shapes = (always.ndim, likely.ndim, size.shape, digest.shape) == (1, 2, (), ()) and len(likely) > 0
        kinds = always.dtype.str, likely.dtype.str, size.dtype.kind, digest.dtype.kind
        if not shapes or kinds != ("<i4", "<i4", "i", "U"):
            raise DataError(f"{path}: must hold lists of target ids, holds something else; make it again.")
        for ids in (always, likely):
            if ids.size and not 0 <= ids.min() <= ids.max() < size:
                raise DataError(f"{path}: ids must be from 0 to {int(size) - 1}, are not; make the file again.")
        return cls(always, likely, int(size), str(digest))


_DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy and zipfile raise for files that are none of theirs, or damaged."""
_ARRAYS = ("always", "likely", "target_vocab_size", "vocabularies")


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the file. Raises DataError when it is missing, damaged or something else."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; hat-prepare writes one where its config has a shortlist.") from None
    except OSError as error:
        raise DataError(f"{path}: must be a {SHORTLIST_FILE}, cannot be read: {error.strerror or error}.") from None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
    except _DAMAGED:
        arrays = {}
    if not arrays or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise DataError(f"{path}: must be a {SHORTLIST_FILE} of hat-prepare, is none or damaged.")
    return arrays
