"""Files that steps leave: whole or not at all, and errors made for people."""

import json
import os
import stat
from pathlib import Path

import pytest

from hat import __version__
from hat.artifacts import (
    RunFolder,
    atomic_path,
    machine_name,
    make_folder,
    read_json,
    read_text,
    write_json,
    write_text,
)
from hat.config import Section, load_config
from hat.errors import ConfigError, DataError


def only_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text.txt"
    write_text(path, "über\n")
    assert path.read_bytes() == "über\n".encode()
    write_text(path, "again")
    assert path.read_text(encoding="utf-8") == "again"
    assert only_files(path.parent) == ["text.txt"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failed_write_keeps_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert only_files(tmp_path) == ["model.bin"]


def test_until_the_end_a_reader_sees_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path  # a rename is atomic within one file system only
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_text("first", encoding="utf-8")
        second.write_text("second", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "first"  # the outer block ends last


def test_files_get_the_ordinary_permissions(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_text(tmp_path / "x", "")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be the name of a file to write, is a folder"):
        write_text(tmp_path, "")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="must be the name of a file to write, is a device"):
        write_text(tmp_path / "pipe", "")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"file: must be a folder that can be written: "):
        write_text(tmp_path / "file" / "x", "")
    with pytest.raises(ConfigError, match=r"file: must be a folder that can be written: "):
        make_folder(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be written: File name too long"):
        write_text(tmp_path / ("x" * 254), "")


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": "ü\u2028"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json", "an x") == value
    assert list(read_json(tmp_path / "x.json", "an x")) == ["b", "a"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "x.json", {})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "x.json", {"a": value})
    assert read_json(tmp_path / "x.json", "an x") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.json: must be an x, is empty"),
        (b" \n", "x.json: must be an x, is empty"),
        (b'{"a": 1,', r"x.json: must be an x, is not valid JSON \(line 1: "),
        (b'{"a": 1}\n{"a": 2}', r"is not valid JSON \(line 2: Extra data"),
        (b"[1]", "must be an x, a JSON object, is a list"),
        (b"null", "must be an x, a JSON object, is a NoneType"),
        (b'{"a": "\xff"}', "must be an x in UTF-8, is not UTF-8 text"),
        (b'{"a": ' + b"9" * 5000 + b"}", "must be an x, is JSON beyond all limits"),
        (b'{"a": ' + b"[" * 200_000, "must be an x, is "),
    ],
)  # fmt: skip
def test_damaged_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_json(tmp_path / "x.json", "an x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="none: no such file; a list of words is expected here"):
        read_text(tmp_path / "none", "a list of words")
    with pytest.raises(DataError, match="must be a list of words, is a folder"):
        read_text(tmp_path, "a list of words")
    with pytest.raises(DataError, match="no such file, since a parent of it is no folder"):
        read_text(tmp_path / "file" / "x", "a list of words")


class Example(Section):
    seed: int = 5
    """Seed."""
    output: Path = Path("x")
    """Where."""


def test_a_run_folder_says_what_ran_and_what_it_cost(tmp_path: Path) -> None:
    config = Example(output=tmp_path / "run")
    run = RunFolder(config.output, config, "hat-example")
    assert only_files(run.path) == []
    run.announce()
    info = read_json(run.path / "run.json", "a run")
    assert (info["command"], info["version"], info["seed"]) == ("hat-example", __version__, 5)
    assert {"commit", "host", "machine", "python", "started"} <= info.keys()
    assert "seconds" not in info
    run.finish(updates=3)
    info = read_json(run.path / "run.json", "a run")
    assert info["updates"] == 3
    assert 0 <= info["seconds"] < 60
    assert load_config(Example, run.path / "config.yaml") == config


def test_events_are_appended_and_always_json(tmp_path: Path) -> None:
    config = Example()
    RunFolder(tmp_path, config, "hat-example").log(update=1, loss=float("nan"), valid={"losses": [float("inf"), 2.0]})
    RunFolder(tmp_path, config, "hat-example").log(update=2, text="ü")
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert first["loss"] is None
    assert first["valid"] == {"losses": [None, 2.0]}
    assert (second["update"], second["text"]) == (2, "ü")
    assert first["time"].endswith("Z")


def test_the_machine_has_a_name() -> None:
    assert machine_name().endswith("cores)")


def test_a_board_is_known_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several boards have processors of one name."""
    files = {
        "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.2\0",
        "/proc/cpuinfo": "processor\t: 0\nHardware\t: BCM2835\n",
    }

    def read(path: Path, encoding: str | None = None) -> str:
        if str(path) not in files:
            raise FileNotFoundError
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    assert machine_name().startswith("Raspberry Pi 4 Model B Rev 1.2 (")
    del files["/proc/device-tree/model"]
    assert machine_name().startswith("BCM2835 (")


def test_a_run_that_continues_drops_the_events_it_makes_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Example(), "hat-example")
    for update in (1, 2, 3):
        run.log(update=update, text="line\u2028break")
    run.log(note="no update")
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"update": 2, "los')  # killed while writing
    run.forget_after(2)
    run.log(update=3)
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [event.get("update") for event in events] == [1, 2, None, 3]
    assert events[1]["text"] == "line\u2028break"


def test_a_process_that_does_not_write_leaves_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Example(), "hat-example", writes=False)
    run.log(update=1)
    run.forget_after(0)
    run.finish(updates=1)
    assert only_files(tmp_path) == []
