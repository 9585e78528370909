"""Reading files of torch.save: both formats, and nothing in them is ever run."""

import argparse
import io
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hat.errors import DataError
from hat.importing.torch_file import TorchFile
from hat.importing.unpickle import Placeholder, StoredTensor, unpickle

LEGACY_HEAD = b"".join(
    pickle.dumps(value, protocol=2)
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": sys.byteorder == "little", "protocol_version": 1001})
)


def write_legacy(path: Path, content: bytes, keys: tuple[str, ...] = ()) -> Path:
    path.write_bytes(LEGACY_HEAD + content + pickle.dumps(list(keys), protocol=2))
    return path


def write_zip(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
    return path


WRITERS = pytest.mark.parametrize("write", [write_legacy, write_zip])
FORMATS = pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
Writer = Callable[[Path, bytes], Path]


def tensors() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(5, 7, generator=generator)
    return {
        "float": table,
        "transposed": table.t(),
        "slice": table[1:4, ::2],
        "half": table.half(),
        "double": table.double(),
        "bfloat16": table.bfloat16(),
        "long": torch.arange(6).reshape(2, 3),
        "int": torch.arange(3, dtype=torch.int32),
        "short": torch.arange(3, dtype=torch.int16),
        "char": torch.arange(-2, 3, dtype=torch.int8),
        "byte": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


@FORMATS
def test_tensors_of_every_kind(tmp_path: Path, new_format: bool) -> None:
    torch.save(tensors(), tmp_path / "x.pt", _use_new_zipfile_serialization=new_format)
    with TorchFile(tmp_path / "x.pt") as file:
        assert list(file.content) == list(tensors())
        for name, expected in tensors().items():
            found = file.read(file.content[name])
            assert found.dtype == expected.dtype and torch.equal(found, expected), name


@FORMATS
def test_plain_values_and_containers(tmp_path: Path, new_format: bool) -> None:
    values = {
        "numbers": [1, -(2**70), 2.5, True, None, 1j],
        "text": ("ä", b"\x00\xff", b"", bytearray(b"ab")),
        "sets": {"a": {1, 2}, "b": frozenset({3})},
        "ordered": OrderedDict(b=1, a=2),
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
    }
    torch.save(values, tmp_path / "x.pt", _use_new_zipfile_serialization=new_format)
    with TorchFile(tmp_path / "x.pt") as file:
        assert file.content == values
        assert list(file.content["ordered"]) == ["b", "a"]


@FORMATS
def test_state_dict_with_its_attributes(tmp_path: Path, new_format: bool) -> None:
    """A state dict carries ``_metadata`` as an attribute of its OrderedDict."""
    state = torch.nn.Linear(2, 3).state_dict()
    assert hasattr(state, "_metadata")
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=new_format)
    with TorchFile(tmp_path / "x.pt") as file:
        assert {name: file.read(stored).tolist() for name, stored in file.content.items()} == {
            name: weight.tolist() for name, weight in state.items()
        }


@FORMATS
def test_objects_become_placeholders_with_their_attributes(tmp_path: Path, new_format: bool) -> None:
    options = argparse.Namespace(lr=[0.1], nested=argparse.Namespace(name="x"), path=Path("a"))
    torch.save({"args": options}, tmp_path / "x.pt", _use_new_zipfile_serialization=new_format)
    with TorchFile(tmp_path / "x.pt") as file:
        args = file.content["args"]
    assert type(args) is Placeholder
    assert args.attributes["lr"] == [0.1]
    assert args.attributes["nested"].attributes == {"name": "x"}
    assert type(args.attributes["path"]) is Placeholder


def test_gpu_storages(tmp_path: Path) -> None:
    """Models trained on a GPU were saved with torch.cuda.FloatStorage."""
    path = tmp_path / "x.pt"
    torch.save(torch.arange(3.0), path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data.count(b"ctorch\nFloatStorage\n") == 1
    path.write_bytes(data.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n").replace(b"cpu", b"cuda:0"))
    # The device is a string of counted length: put the count right.
    path.write_bytes(path.read_bytes().replace(b"X\x03\x00\x00\x00cuda:0", b"X\x06\x00\x00\x00cuda:0"))
    with TorchFile(path) as file:
        assert file.read(file.content).tolist() == [0.0, 1.0, 2.0]


class Call:
    """Pickles as a call of ``function``, with ``state`` set on what comes back."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


class Resurrected:
    """Runs code when its state is set."""

    def __setstate__(self, state: str) -> None:
        os.system(state)

    def __getstate__(self) -> str:
        return "touch marker"


def hostile_pickles() -> dict[str, bytes]:
    touch = Call(os.system, "touch marker")
    run = "__import__('os').system('touch marker')"
    objects = {
        "os.system": touch,
        "eval": Call(eval, run),
        "exec": Call(exec, run),
        "getattr": Call(Call(getattr, os, "system").reduced[0], Call(__import__, "os"), "system"),
        "subprocess": Call(subprocess.Popen, ["touch", "marker"]),
        "nested": {"model": [{"deep": (touch,)}]},
        "as a key": {touch: 1},
        "in the state": Call(argparse.Namespace, state={"lr": touch}),
        "setstate": Resurrected(),
        "in a tensor": Call(torch._utils._rebuild_tensor_v2, touch, 0, (1,), (1,), False, touch),
        "in a parameter": Call(torch._utils._rebuild_parameter, touch, True, touch),
        "open": Call(open, "marker", "w"),
        "input of set": Call(set, [touch]),
        "torch.load": Call(torch.load, "marker"),
        "numpy": Call(__import__("numpy").save, "marker", 1),
    }
    pickles = {name: pickle.dumps(value, protocol=2) for name, value in objects.items()}
    pickles |= {f"{name}, protocol 4": pickle.dumps(value, protocol=4) for name, value in objects.items()}
    argument = b"X\x0c\x00\x00\x00touch marker"
    pickles["NEWOBJ"] = b"\x80\x02csubprocess\nPopen\n" + argument + b"\x85\x81."
    pickles["OBJ"] = b"(cos\nsystem\n" + argument + b"o."
    pickles["INST"] = b"(" + argument + b"ios\nsystem\n."
    pickles["persistent id"] = b"\x80\x02(X\x07\x00\x00\x00storagecos\nsystem\n" + argument + b"\x85RNNNtQ."
    pickles["persistent id, called"] = b"\x80\x02cos\nsystem\n" + argument + b"\x85RQ."
    pickles["storage type"] = (
        b"\x80\x02(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ."
    )
    pickles["dotted name"] = b"\x80\x04\x8c\x07os.path\x8c\x09os.system\x93" + argument + b"\x85R."
    return pickles


HOSTILE = hostile_pickles()


@WRITERS
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Writer, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "x.pt", HOSTILE[name])
    try:
        with TorchFile(path) as file:
            assert inert(file.content)
    except DataError as error:
        assert "\n" not in str(error)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["x.pt"]


def inert(value: Any) -> bool:
    """Whether a value is made of plain kinds and placeholders only."""
    if type(value) is Placeholder:
        return inert(value.attributes)
    if isinstance(value, dict):
        return all(inert(key) and inert(item) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(inert, value))
    return isinstance(value, int | str | bytes | float | None)


def test_these_pickles_are_dangerous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would prove nothing: an ordinary unpickler runs them."""
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "eval", "exec", "setstate", "nested", "OBJ", "INST"):
        pickle.Unpickler(io.BytesIO(HOSTILE[name])).load()
        (tmp_path / "marker").unlink()


def test_nothing_is_imported(tmp_path: Path) -> None:
    assert "antigravity" not in sys.modules
    write_zip(tmp_path / "x.pt", b"\x80\x02cantigravity\nfly\n)R.")
    with TorchFile(tmp_path / "x.pt") as file:
        assert type(file.content) is Placeholder
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "target",
    [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"cos\nsystem\n", b"c_codecs\nencode\n"],
)
@pytest.mark.parametrize("state", [b"}X\x01\x00\x00\x00aK\x01s", b"N}X\x08\x00\x00\x00__call__K\x01s\x86"])
def test_a_file_cannot_change_what_later_files_use(tmp_path: Path, target: bytes, state: bytes) -> None:
    with pytest.raises(DataError, match=r"must be a complete file of torch\.save"):
        TorchFile(write_zip(tmp_path / "x.pt", b"\x80\x02" + target + state + b"b."))
    torch.save({"a": torch.ones(2), "b": OrderedDict(c=1)}, tmp_path / "good.pt")
    with TorchFile(tmp_path / "good.pt") as file:
        assert file.read(file.content["a"]).tolist() == [1, 1]
    assert not hasattr(OrderedDict, "a") and not hasattr(torch._utils._rebuild_tensor_v2, "a")


def tensor_pickle(length: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", length) if value is Ellipsis else None

    stream = io.BytesIO()
    call = Call(torch._utils._rebuild_tensor_v2, ..., offset, shape, stride, False, OrderedDict())
    Pickler(stream, protocol=2).dump(call)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("length", "offset", "shape", "stride"),
    [
        (4, 0, (5,), (1,)),
        (4, 1, (4,), (1,)),
        (4, 0, (2, 2), (3, 1)),
        (4, 0, (10**15,), (0,)),
        (4, 0, (10**9, 10**9), (0, 0)),
        (4, -1, (1,), (1,)),
        (4, 0, (-2,), (-1,)),
        (4, 0, (2,), (1, 1)),
        (0, 0, (1,), (1,)),
    ],
)
def test_tensors_must_lie_in_their_storage(
    length: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="a tensor"):
        unpickle(io.BytesIO(tensor_pickle(length, offset, shape, stride)))


def test_storages_must_be_as_long_as_they_claim(tmp_path: Path) -> None:
    """A claim of 10^12 numbers must not take memory before it is found out."""
    content = tensor_pickle(10**12, 0, (10**12,), (1,))
    with TorchFile(write_zip(tmp_path / "x.pt", content)) as file:
        assert isinstance(file.content, StoredTensor)
        with pytest.raises(DataError, match="the numbers of a tensor cannot be read"):
            file.read(file.content)
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
        archive.writestr("archive/data/0", b"four")
    with TorchFile(tmp_path / "x.pt") as file, pytest.raises(DataError, match="must have 4000000000000 bytes, has 4"):
        file.read(file.content)

    write_legacy(tmp_path / "y.pt", content, keys=("0",))
    with (tmp_path / "y.pt").open("ab") as stream:
        stream.write((10**12).to_bytes(8, sys.byteorder) + b"four")
    with pytest.raises(DataError, match="must be a complete file"):
        TorchFile(tmp_path / "y.pt")


@WRITERS
@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n"])
def test_memory_cannot_be_asked_for(tmp_path: Path, write: Writer, put: bytes) -> None:
    with pytest.raises(DataError, match="more memory than it can need"):
        TorchFile(write(tmp_path / "x.pt", b"\x80\x02]" + put + b"."))


def test_compressed_records_are_refused(tmp_path: Path) -> None:
    """A megabyte of zeros packs into a kilobyte."""
    with pytest.raises(DataError, match="must not be compressed"):
        TorchFile(write_zip(tmp_path / "x.pt", b"." * 10**6, zipfile.ZIP_DEFLATED))


@FORMATS
def test_truncated_anywhere(tmp_path: Path, new_format: bool) -> None:
    torch.save(
        {"a": torch.arange(100.0), "b": ["x" * 50]}, tmp_path / "x.pt", _use_new_zipfile_serialization=new_format
    )
    data = (tmp_path / "x.pt").read_bytes()
    for length in range(0, len(data), 13):
        (tmp_path / "cut.pt").write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.pt: must be a complete file of torch\.save"):
            TorchFile(tmp_path / "cut.pt")


@FORMATS
def test_damaged_anywhere(tmp_path: Path, new_format: bool) -> None:
    """Whatever bytes are wrong, there is a clear error or an inert result."""
    torch.save(
        {"a": torch.arange(9.0), "n": argparse.Namespace(x=[1])},
        tmp_path / "x.pt",
        _use_new_zipfile_serialization=new_format,
    )
    data, rng = (tmp_path / "x.pt").read_bytes(), random.Random(0)
    errors = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "bad.pt").write_bytes(damaged)
        try:
            with TorchFile(tmp_path / "bad.pt") as file:
                content = file.content
                if isinstance(content, dict) and isinstance(content.get("a"), StoredTensor):
                    file.read(content["a"])
        except DataError as error:
            assert str(error).startswith(f"{tmp_path / 'bad.pt'}: ")
            errors += 1
    assert errors > 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello\n", "unknown"),
        (b"PK\x03\x04 not a zip", "not a zip file"),
        (b"\x80\x02K\x01.", "must be"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        TorchFile(tmp_path / "x.pt")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pt: cannot be read as a checkpoint: No such file"):
        TorchFile(tmp_path / "none.pt")
    with pytest.raises(DataError, match="Is a directory"):
        TorchFile(tmp_path)


def test_no_file_without_data_pkl(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/other", b"")
    with pytest.raises(DataError, match=r"it has no data\.pkl"):
        TorchFile(tmp_path / "x.pt")
