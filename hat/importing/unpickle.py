"""Unpickling that runs nothing: tensors, plain containers and inert placeholders are all that can come out.

A pickle is a small program, and what it may call is what ``find_class`` hands it. Here that never imports anything: a
short table of constructors stands for the kinds that are admitted, and every other name, harmless or hostile, gives
:class:`Placeholder`. What is handed out cannot be changed from inside the file either (a pickle may set attributes of
the functions and classes it names), so that one file has no effect on the next.
"""

import io
import pickle  # safe: only Unpickler, with find_class and persistent_load replaced
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch


class ByteStream(Protocol):
    """A file, or bytes in memory, that can be read and repositioned."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes."""

    def readline(self) -> bytes:
        """One line."""

    def seek(self, position: int, /) -> object:
        """Go to ``position``."""

    def tell(self) -> int:
        """The current position."""


class Storage(NamedTuple):
    """A piece of memory that tensors lie in; its bytes stay in the file."""

    key: str
    dtype: torch.dtype
    length: int
    """Number of elements."""


class StoredTensor(NamedTuple):
    """A tensor whose numbers are still in the file. All sizes count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Placeholder:
    """Stands for an object of any kind that is not admitted: keeps its plain attributes, does nothing else."""

    __slots__ = ("attributes",)

    attributes: dict[str, Any]

    def __new__(cls, *arguments: object, **options: object) -> "Placeholder":
        """Take whatever the object was made from, and forget it."""
        self = super().__new__(cls)
        self.attributes = {}
        return self

    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.attributes = state

    # Unknown containers are filled through these.
    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Forget the item."""

    def add(self, item: object) -> None:
        """Forget the item."""


class _Dictionary(dict[Any, Any]):
    """Takes the place of OrderedDict, whose attributes (``_metadata`` in a state dict) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _Maker:
    """A function that a pickle may call and cannot change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError("it tries to change a function")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: object) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    for sizes in (shape, stride):
        if not isinstance(sizes, tuple) or not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError("a tensor's sizes must be whole numbers")
    if type(offset) is not int or offset < 0 or len(shape) != len(stride):
        raise ValueError("a tensor's sizes contradict each other")
    count, last = 1, offset
    for size, step in zip(shape, stride, strict=True):
        count *= size
        last += (size - 1) * step
    # The count is checked too: with a stride of zero, one number could pretend to be any amount of memory.
    if count and (last >= storage.length or count > storage.length):
        raise ValueError("a tensor is larger than its storage")
    return StoredTensor(storage, offset, shape, stride)


def _first(value: Any, *_: object) -> Any:
    return value


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes are not written as torch.save writes them")
    return text.encode("latin-1")


_DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}

# Names as in the file: "__builtin__" is what protocol 2 calls builtins.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dictionary,
    ("torch._utils", "_rebuild_tensor_v2"): _Maker(_tensor),
    ("torch._utils", "_rebuild_tensor"): _Maker(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Maker(_first),
    ("torch", "Size"): tuple,
    ("_codecs", "encode"): _Maker(_bytes),
    **{("torch", str(dtype).removeprefix("torch.")): dtype for dtype in _DTYPES.values()},
    # Models trained on a GPU were saved with GPU storages.
    **{(module, f"{name}Storage"): dtype for module in ("torch", "torch.cuda") for name, dtype in _DTYPES.items()},
    **{
        (module, name): kind
        for module in ("builtins", "__builtin__")
        for name, kind in {
            "set": set,
            "frozenset": frozenset,
            "complex": complex,
            "bytes": _Maker(_bytes),
            "bytearray": _Maker(_bytes),
        }.items()
    },
}


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return _ADMITTED.get((module, name), Placeholder)

    def persistent_load(self, reference: object) -> Storage:
        """The storage that a reference means: ("storage", type, key, device, length[, view])."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise ValueError("it refers to something that is no storage")
        _, dtype, key, _, length = reference[:5]
        if not isinstance(dtype, torch.dtype):
            raise ValueError("it holds a kind of number that is not supported")
        if not isinstance(key, str) or type(length) is not int or length < 0 or reference[5:] not in ((), (None,)):
            raise ValueError("a storage's description must be a key and a length")
        storage = Storage(key, dtype, length)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("two storages have the same key")
        return storage


class Unpickled(NamedTuple):
    """What a pickle describes."""

    content: Any
    storages: dict[str, Storage]
    """All storages that it mentions, by key."""


def unpickle(stream: ByteStream) -> Unpickled:
    """The object that a pickle in ``stream`` describes, leaving ``stream`` behind its end.

    Tensors come as :class:`StoredTensor`; all but plain values and containers as :class:`Placeholder`.

    Raises:
        Exception: of nearly any kind, when the pickle is damaged or hostile. Nothing has been run then either.
    """
    start = stream.tell()
    _scan(stream, start)
    end = stream.tell()
    stream.seek(start)
    unpickler = _PlainUnpickler(io.BytesIO(stream.read(end - start)))
    return Unpickled(unpickler.load(), unpickler.storages)


def _scan(stream: ByteStream, start: int) -> None:
    """Walk to the end of a pickle without unpickling it; refuse what would cost memory or leave the tables above."""
    for opcode, argument, position in pickletools.genops(stream):  # type: ignore[arg-type]
        if opcode.name.startswith("EXT"):
            raise ValueError("it uses Python's extension registry")
        # The unpickler makes room for every number up to this one.
        index = argument if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") else None
        if index is not None and index > (position or 0) - start:
            raise ValueError("it asks for more memory than it can need")
