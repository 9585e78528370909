"""Memory-mapped parallel text: token ids on disk, in numpy's own format.

A data-bin folder holds ``meta.json``, ``tokenizer/`` and, per split and side, ``SPLIT.SIDE.ids.npy`` (all sentences
end to end, each closed by ``EOS_ID``) and ``SPLIT.SIDE.offsets.npy`` (where each one starts, and the end). Nothing is
read before it is needed, so a corpus may be far larger than memory.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from hat.artifacts import read_json
from hat.config import Section, describe_validation_error
from hat.errors import DataError, did_you_mean

IntArray = npt.NDArray[np.integer[Any]]

_CHECK_ROWS = 1 << 20  # rows looked at together, so that checks need little memory
_OFFSET_TYPE = np.dtype("<i8")


class SplitMeta(Section):
    """What one split of a data-bin folder holds."""

    rows: int = Field(ge=1)
    """Sentence pairs."""
    source_tokens: int = Field(ge=1)
    """Source tokens, end symbols included."""
    target_tokens: int = Field(ge=1)
    """Target tokens, end symbols included."""
    source_unknown: int = Field(default=0, ge=0)
    """Source tokens that the vocabulary lacks."""
    target_unknown: int = Field(default=0, ge=0)
    """Target tokens that the vocabulary lacks."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Pairs left out, by reason."""


class CorpusMeta(Section):
    """The content of a data-bin folder's ``meta.json``."""

    format: Literal["hat.data-bin/1"] = "hat.data-bin/1"
    """Version of the layout."""
    source_language: str
    """Code of the source language, such as ``en``."""
    target_language: str
    """Code of the target language."""
    source_vocab_size: int = Field(ge=5)
    """Source symbols, special ones included."""
    target_vocab_size: int = Field(ge=5)
    """Target symbols, special ones included."""
    joint_vocabulary: bool
    """Whether both sides have the same symbols under the same ids, so that embeddings can be shared."""
    splits: dict[str, SplitMeta]
    """``train``, ``valid`` and the test sets by name."""
    tokenizer: dict[str, Any] = Field(default_factory=dict)
    """The tokeniser's settings."""
    inputs: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Size and checksum of every file the data was made of."""

    @classmethod
    def load(cls, data_bin: str | Path) -> "CorpusMeta":
        """Read ``meta.json`` of a data-bin folder. Raises DataError when it is missing or damaged."""
        path = Path(data_bin) / "meta.json"
        values = read_json(path, "the meta.json of a data-bin folder (made by hat-prepare)")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise DataError(f"{path}: {describe_validation_error(cls, error)}; make the folder again.") from None


def id_type(vocab_size: int) -> np.dtype[Any]:
    """The type ids are stored in: two bytes when the vocabulary fits, else four."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<i4")


class NpyWriter:
    """Writes a one-dimensional ``.npy`` file piece by piece; byte for byte what ``np.save`` writes in one go.

    Use it as a context manager: the length is put into the header at the end.
    """

    def __init__(self, path: str | Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._size = 0
        self._file: BinaryIO = Path(path).open("wb")  # noqa: SIM115 (closed by __exit__)
        self._header_bytes = self._write_header()

    def append(self, values: npt.ArrayLike) -> None:
        """Add values to the end. Raises ValueError for one that the type cannot hold."""
        array = np.asarray(values)
        converted = array.astype(self._dtype)
        if not np.array_equal(array, converted):
            raise ValueError(f"values up to {array.max()} do not fit {self._dtype}")
        self._file.write(converted.tobytes())
        self._size += converted.size

    def _write_header(self) -> int:
        description = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._size,)}
        np.lib.format.write_array_header_1_0(self._file, description)
        return self._file.tell()

    def __enter__(self) -> "NpyWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                # numpy pads headers so that a larger shape fits in place.
                if self._write_header() != self._header_bytes:
                    raise RuntimeError("the .npy header changed its size; nothing can be written in place")
        finally:
            self._file.close()


class SentenceWriter:
    """Writes one side of one split: ids and offsets.

    Args:
        folder: the data-bin folder.
        name: split and side, for example ``train.source``.
        vocab_size: decides the type of the ids.
    """

    def __init__(self, folder: str | Path, name: str, vocab_size: int) -> None:
        self._stack = contextlib.ExitStack()
        self._ids = self._stack.enter_context(NpyWriter(Path(folder) / f"{name}.ids.npy", id_type(vocab_size)))
        self._offsets = self._stack.enter_context(NpyWriter(Path(folder) / f"{name}.offsets.npy", _OFFSET_TYPE))
        self._offsets.append([0])
        self.num_tokens = 0
        self.num_rows = 0

    def append(self, ids: npt.ArrayLike, lengths: npt.ArrayLike) -> None:
        """Add sentences: their ids end to end, each closed by ``EOS_ID``, and their lengths."""
        ends = self.num_tokens + np.cumsum(np.asarray(lengths, dtype=np.int64))
        if not ends.size:
            return
        self._ids.append(ids)
        self._offsets.append(ends)
        self.num_tokens = int(ends[-1])
        self.num_rows += ends.size

    def __enter__(self) -> "SentenceWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class Sentences:
    """One side of a split: sentence ``i`` is ``ids[offsets[i] : offsets[i + 1]]``.

    Args:
        ids: all token ids, each sentence closed by ``EOS_ID``.
        offsets: starts and the last end; one more than there are sentences.
    """

    def __init__(self, ids: IntArray, offsets: IntArray) -> None:
        self.ids = ids
        self.offsets = offsets

    @classmethod
    def load(cls, folder: Path, name: str, rows: int, num_tokens: int, vocab_size: int) -> "Sentences":
        """Map the two files of ``name`` (``train.source``) and check them against what ``meta.json`` says.

        Raises:
            DataError: if a file is missing, truncated, or of another size.
        """
        ids = _map_array(folder / f"{name}.ids.npy", num_tokens, id_type(vocab_size))
        offsets_path = folder / f"{name}.offsets.npy"
        offsets = _map_array(offsets_path, rows + 1, _OFFSET_TYPE)
        sentences = cls(ids, offsets)
        in_order = all(int(lengths.min()) >= 1 for _, lengths in sentences.length_chunks())
        if int(offsets[0]) != 0 or int(offsets[-1]) != num_tokens or not in_order:
            raise DataError(
                f"{offsets_path}: must rise from 0 to {num_tokens}, does not; it is damaged, make the folder again."
            )
        return sentences

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> IntArray:
        return self.ids[int(self.offsets[row]) : int(self.offsets[row + 1])]

    def lengths(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Tokens of the sentences ``start`` up to ``stop``, end symbols included. Shape (stop - start,)."""
        bounds = np.asarray(self.offsets[start : stop + 1], dtype=np.int64)
        return bounds[1:] - bounds[:-1]

    def length_chunks(self) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """First row and lengths of one run of rows after the other: all lengths in bounded memory."""
        for start in range(0, len(self), _CHECK_ROWS):
            yield start, self.lengths(start, min(start + _CHECK_ROWS, len(self)))


class ParallelCorpus:
    """Sentence pairs as token ids.

    Args:
        source: the source sentences.
        target: the target sentences, as many.
        source_vocab_size: source ids are below this.
        target_vocab_size: target ids are below this.
        name: what error messages call it.
    """

    def __init__(
        self,
        source: Sentences,
        target: Sentences,
        source_vocab_size: int,
        target_vocab_size: int,
        name: str = "corpus",
    ) -> None:
        if len(source) != len(target):
            raise DataError(f"{name}: both sides must have as many sentences, have {len(source)} and {len(target)}.")
        self._source = source
        self._target = target
        self.source_vocab_size = source_vocab_size
        self.target_vocab_size = target_vocab_size
        self.name = name

    @classmethod
    def load(cls, data_bin: str | Path, split: str) -> "ParallelCorpus":
        """Map one split of a data-bin folder.

        Raises:
            DataError: if the folder lacks the split, or a file is missing, truncated or at odds with ``meta.json``.
        """
        folder = Path(data_bin)
        meta = CorpusMeta.load(folder)
        if split not in meta.splits:
            raise DataError(f"{folder}: has no split '{split}'. {did_you_mean(split, meta.splits)}")
        info = meta.splits[split]
        sizes = meta.source_vocab_size, meta.target_vocab_size
        source = Sentences.load(folder, f"{split}.source", info.rows, info.source_tokens, sizes[0])
        target = Sentences.load(folder, f"{split}.target", info.rows, info.target_tokens, sizes[1])
        return cls(source, target, *sizes, name=f"{folder}, split {split}")

    def __len__(self) -> int:
        return len(self._source)

    @property
    def source_sentences(self) -> Sentences:
        """The source side."""
        return self._source

    @property
    def target_sentences(self) -> Sentences:
        """The target side."""
        return self._target

    def source(self, row: int) -> IntArray:
        """Source ids of one pair, ending with ``EOS_ID``. Shape (S,)."""
        return self._source[row]

    def target(self, row: int) -> IntArray:
        """Target ids of one pair, ending with ``EOS_ID``. Shape (T,)."""
        return self._target[row]

    def source_lengths(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Source tokens of the pairs ``start`` up to ``stop``, end symbols included. Shape (stop - start,)."""
        return self._source.lengths(start, stop)

    def target_lengths(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Target tokens of the pairs ``start`` up to ``stop``, end symbols included. Shape (stop - start,)."""
        return self._target.lengths(start, stop)


def _map_array(path: Path, size: int, dtype: np.dtype[Any]) -> IntArray:
    """A memory-mapped one-dimensional array of a known size and type. Raises DataError when it is anything else."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, though meta.json lists it; make the data-bin folder again.") from None
    except (ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: damaged or truncated ({reason}); make the data-bin folder again.") from None
    if not isinstance(array, np.ndarray) or array.shape != (size,) or array.dtype != dtype:
        found = f"{array.shape} of type {array.dtype}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(
            f"{path}: must hold {size} values of type {dtype}, holds {found}; "
            f"it does not belong to meta.json, make the data-bin folder again."
        )
    return array
