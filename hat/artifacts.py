"""The files a step leaves: written atomically, read with errors made for people.

Every run folder holds ``config.yaml`` (the resolved config), ``metrics.jsonl`` (one JSON object per event) and
``run.json`` (version, commit, seed, host, times).
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hat import __version__
from hat.config import to_yaml
from hat.errors import ConfigError, DataError

MODEL_FORMAT = "hat.transformer/1"
"""What ``format`` says in the ``config.json`` of a standalone model..."""
SUPER_FORMAT = "hat.super_transformer/1"
"""... and of a SuperTransformer."""

_SESSION = ("version", "commit", "host", "machine", "python", "started")  # what may change when a run is continued


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error.

    A reader, or a run killed half-way, sees either the old file or the complete new one.

    Raises:
        ConfigError: if ``path`` is a folder or a device, or its folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # renaming over /dev/null would destroy it
        kind = "folder" if path.is_dir() else "device"
        raise ConfigError(f"{path}: must be the name of a file to write, is a {kind}.")
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # Made here and now, so that a folder without permission is found out before the work, not after it.
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}.") from None
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())  # the content before the name: a power cut must not leave an empty file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: str | Path) -> Path:
    """Create ``path`` and its parents. Raises ConfigError when a file stands there or it is not allowed."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: must be a folder that can be written: {error.strerror}.") from None
    return path


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write indented JSON atomically. NaN and infinity are refused: they are no JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: str | Path, what: str) -> str:
    """The UTF-8 text of ``path``; ``what`` names its kind in the DataError when that fails."""
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {what} is expected here.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: must be {what}, is a folder.") from None
    except NotADirectoryError:
        raise DataError(f"{path}: no such file, since a parent of it is no folder; {what} is expected here.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: must be {what} in UTF-8, is not UTF-8 text.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read as {what}: {error.strerror}.") from None


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """The JSON object in ``path``; ``what`` names its kind in the DataError when there is none."""
    text = read_text(path, what)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        found = "is empty" if not text.strip() else f"is not valid JSON (line {error.lineno}: {error.msg})"
        raise DataError(f"{path}: must be {what}, {found}.") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or nesting without end
        raise DataError(f"{path}: must be {what}, is JSON beyond all limits.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: must be {what}, a JSON object, is a {type(value).__name__}.")
    return value


def file_digest(path: Path) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def read_record(folder: Path) -> dict[str, Any]:
    """What ``run.json`` says of the run in ``folder``; empty where there is none. Raises DataError if it is damaged."""
    path = folder / "run.json"
    return read_json(path, "the record of a run") if path.exists() else {}


def check_owner(folder: Path, command: str) -> None:
    """Raise ConfigError if ``folder`` holds a run of another command: each would overwrite the other's records."""
    record = read_record(folder)
    if record and record.get("command") != command:
        raise ConfigError(f"{folder}: must not hold what {record.get('command')} made; choose another output folder.")


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for it out of ``folder`` inside the block, where the system can lock folders.

    Raises:
        ConfigError: if another process is in it.
    """
    if os.name != "posix":
        yield
        return
    import fcntl  # only there

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: another process is writing there; wait for it, or choose another.") from None
        except OSError:
            pass  # a file system that knows no locks
        yield
    finally:
        os.close(handle)


class RunFolder:
    """The folder of one run: resolved config, ``run.json`` and ``metrics.jsonl``.

    Args:
        path: the folder; made if needed.
        config: the resolved config, written to ``config.yaml``.
        command: the name of the command, for ``run.json``.
        writes: False on the processes of a distributed run that leave writing to the main one.

    Raises:
        ConfigError: if the folder cannot be written, or holds what another command made.
    """

    def __init__(self, path: str | Path, config: BaseModel, command: str, writes: bool = True) -> None:
        self.path = make_folder(path)
        self._writes = writes
        self._config = config
        self._started = time.time()
        self._info: dict[str, Any] = {
            "command": command,
            "version": __version__,
            "commit": _commit(),
            "seed": getattr(config, "seed", None),
            "host": platform.node(),
            "machine": machine_name(),
            "python": platform.python_version(),
            "started": timestamp(self._started),
        }
        if writes:
            check_owner(self.path, command)

    def announce(self) -> None:
        """Write ``config.yaml`` and ``run.json`` now: for long runs, which may be stopped and continued.

        Other runs write them with their results, so that what a failed one leaves are the files of the one before.
        """
        if self._writes:
            write_text(self.path / "config.yaml", to_yaml(self._config))
            write_json(self.path / "run.json", self._info)

    def go_on(self) -> None:
        """Keep what ``run.json`` says of the sessions of the run that this one continues: each has its own commit."""
        before = read_record(self.path)
        if before:
            session = {name: before.get(name) for name in _SESSION}
            self._info["earlier_sessions"] = [*before.get("earlier_sessions", []), session]

    def log(self, **values: Any) -> None:
        """Append one event to ``metrics.jsonl``, with the time of day; what is not finite becomes null."""
        if not self._writes:
            return
        event = _finite({"time": timestamp(time.time()), **values})
        line = json.dumps(event, ensure_ascii=False, allow_nan=False)
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def forget_after(self, update: int) -> None:
        """Drop the events of later updates and the final one: a run that continues from ``update`` makes them again."""
        path = self.path / "metrics.jsonl"
        if not self._writes or not path.exists():
            return
        kept = []
        for line in read_text(path, "metrics (one JSON object a line)").split("\n"):  # a text may hold other breaks
            try:
                event = json.loads(line)
                keep = event.get("update", 0) <= update and event.get("event") != "final"
            except (ValueError, AttributeError, TypeError, RecursionError):
                continue  # the last line of a run that was killed while it wrote
            if keep:
                kept.append(line + "\n")
        write_text(path, "".join(kept))

    def forget(self) -> None:
        """Drop all events, those of an earlier run in the same folder."""
        if self._writes:
            (self.path / "metrics.jsonl").unlink(missing_ok=True)

    def finish(self, **cost: Any) -> None:
        """Write ``config.yaml``, and ``run.json`` with the seconds taken and what else the run cost."""
        self._info["seconds"] = round(time.time() - self._started, 3)
        self._info |= cost
        self.announce()


def _finite(value: Any) -> Any:
    """``value`` with None for NaN and infinity, which JSON does not know: a diverging loss must still be logged."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def machine_name() -> str:
    """The processor's model and how many cores this process may use, for example ``AMD EPYC (2 cores)``."""
    model = _board() or _processor() or platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model} ({cores} cores)"


def _board() -> str | None:
    """The name of a board such as a Raspberry Pi: its ``/proc/cpuinfo`` names none, or the same for several."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Path("/proc/device-tree/model").read_text(encoding="utf-8").strip("\0\n")
    return None


def _processor() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return None


def timestamp(seconds: float) -> str:
    """UTC of seconds since 1970, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _commit() -> str | None:
    """The commit of the checkout hat runs from, or None for an installed package."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None
