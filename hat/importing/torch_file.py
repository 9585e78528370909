"""Files of ``torch.save``, old and new format, opened without running anything they contain."""

import mmap
import sys
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from hat.errors import DataError
from hat.importing.unpickle import Storage, StoredTensor, unpickle

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class _Format(Protocol):
    content: Any

    def read(self, storage: Storage) -> bytes:
        """The bytes of a storage."""


class TorchFile:
    """An open file of ``torch.save``: its content as plain values, and its tensors when they are asked for.

    Nothing in the file is executed: see :mod:`hat.importing.unpickle`. Numbers stay on disk until they are read, so
    the optimiser's state in a checkpoint costs nothing. Use it in a ``with`` statement.

    Args:
        path: the file.

    Attributes:
        path: the file.
        content: what was saved; tensors are :class:`StoredTensor`, objects of other classes
            :class:`~hat.importing.unpickle.Placeholder`.

    Raises:
        DataError: if the file is missing, not of this kind, damaged or truncated.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise DataError(f"{path}: cannot be read as a checkpoint: {error.strerror}.") from None
        try:
            self._format = _open_format(self._file)
        except Exception as error:  # a damaged pickle can fail in nearly any way
            self._file.close()
            raise DataError(
                f"{path}: must be a complete file of torch.save, cannot be read as one ({_reason(error)}); "
                "copy or download it again."
            ) from None
        self.content = self._format.content

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, stored: StoredTensor) -> Tensor:
        """The tensor itself, on the CPU, in memory of its own. Raises DataError when its bytes are damaged."""
        storage = stored.storage
        try:
            data = bytearray(self._format.read(storage))
            if not data:
                return torch.empty(stored.shape, dtype=storage.dtype)
            return torch.frombuffer(data, dtype=storage.dtype).as_strided(stored.shape, stored.stride, stored.offset)
        except Exception as error:
            raise DataError(
                f"{self.path}: the numbers of a tensor cannot be read ({_reason(error)}); copy or download it again."
            ) from None


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _open_format(file: BinaryIO) -> _Format:
    if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
        return _ZipFormat(file)
    return _LegacyFormat(file)


def _num_bytes(storage: Storage) -> int:
    return storage.length * storage.dtype.itemsize


def _check_byte_order(order: object) -> None:
    if order != sys.byteorder:
        raise ValueError(f"its byte order must be {sys.byteorder}-endian, is {order}")


class _ZipFormat:
    """torch 1.6 and later: a zip archive with ``data.pkl`` and one record for each storage, none compressed."""

    def __init__(self, file: BinaryIO) -> None:
        size = file.seek(0, 2)
        self._archive = zipfile.ZipFile(file)
        records = self._archive.infolist()
        # So that no record can unpack to more than the file holds, even where records overlap.
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("its records must not be compressed")
        if sum(record.file_size for record in records) > size:
            raise ValueError("its records claim more bytes than it has")
        roots = [record.filename.removesuffix("data.pkl") for record in records if _is_content(record.filename)]
        if len(roots) != 1:
            raise ValueError("it has no data.pkl")
        self._root = roots[0]
        if self._root + "byteorder" in self._archive.namelist():
            _check_byte_order(self._archive.read(self._root + "byteorder").decode("ascii"))
        with self._archive.open(self._root + "data.pkl") as stream:
            self.content = unpickle(stream).content

    def read(self, storage: Storage) -> bytes:
        record = self._archive.getinfo(f"{self._root}data/{storage.key}")
        if record.file_size != _num_bytes(storage):
            raise ValueError(f"it must have {_num_bytes(storage)} bytes, has {record.file_size}")
        return self._archive.read(record)


def _is_content(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/data.pkl")


class _LegacyFormat:
    """Before torch 1.6: five pickles (two numbers, the machine, the content, the storage keys), then the storages."""

    def __init__(self, file: BinaryIO) -> None:
        self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, protocol, machine = (unpickle(self._bytes).content for _ in range(3))
        if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
            raise ValueError("it does not begin like one")
        _check_byte_order("little" if machine["little_endian"] else "big")
        self.content, storages = unpickle(self._bytes)
        keys = unpickle(self._bytes).content
        self._starts: dict[str, int] = {}
        for key in keys:
            storage = storages[key]
            if int.from_bytes(self._bytes.read(8), sys.byteorder) != storage.length:
                raise ValueError("the sizes of its storages contradict each other")
            self._starts[key] = self._bytes.tell()
            self._bytes.seek(_num_bytes(storage), 1)  # refuses to leave the file

    def read(self, storage: Storage) -> bytes:
        start = self._starts[storage.key]
        return self._bytes[start : start + _num_bytes(storage)]
