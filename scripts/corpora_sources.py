"""Where the text of a corpus comes from: files that are downloaded, or already lie in a folder, and their archives.

Nothing of an archive is trusted: only regular files with expected names are copied out, to names of our own, and an
archive with a member that points outside is refused.
"""

import contextlib
import gzip
import logging
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Collection, Generator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, cast

from hat.artifacts import make_folder
from hat.errors import DataError

logger = logging.getLogger(__name__)

_ADVICE = "try again (it goes on where it stopped), or get the file otherwise and name its folder with --from."
_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 60
_SECONDS_BETWEEN_LINES = 30.0
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)


class Sources:
    """Finds the text files of a corpus, by downloading and unpacking what is missing.

    Args:
        downloads: the URL of each archive or file, by file name.
        work: folder for downloads and what is unpacked from them.
        given: folder with downloaded archives or unpacked text; with it, the network is never used.
    """

    def __init__(self, downloads: dict[str, str], work: Path, given: Path | None) -> None:
        self._downloads, self._work, self._given = downloads, work, given
        self._unpacked = work / "unpacked"
        if given is not None and not given.is_dir():
            raise DataError(f"{given}: must be the folder that holds the downloaded files, is none.")

    def members(self, archive: str, names: Collection[str]) -> dict[str, Path]:
        """The text files ``names`` of ``archive``, plain or gzipped.

        A name may start with folders (``tok/train.en``) where the archive has several files called so.

        Raises:
            DataError: if a file is missing, or the archive is damaged, unsafe or cannot be had.
        """
        missing = [name for name in names if self._existing(name) is None]
        if missing:
            unpack(self._archive(archive, missing), missing, self._unpacked)
        found = {name: self._existing(name) for name in names}
        return {name: path for name, path in found.items() if path is not None}

    def file(self, name: str) -> Path:
        """A download that is a text file itself. Raises DataError when it cannot be had."""
        return self._existing(name) or self._archive(name, [name])

    def _existing(self, name: str) -> Path | None:
        """``name``, or ``name.gz``, where it was unpacked or given."""
        base = PurePosixPath(name).name
        for candidate in (base, f"{base}.gz"):
            path = self._unpacked / candidate
            if path.is_file():
                return path
            for path in sorted(self._given.rglob(candidate)) if self._given is not None else []:
                if path.is_file() and _ends_with(path.as_posix().removesuffix(".gz"), name.removesuffix(".gz")):
                    return path
        return None

    def _archive(self, name: str, wanted: Collection[str]) -> Path:
        if self._given is not None:
            path = self._given / name
            if not path.is_file():
                raise DataError(
                    f"{self._given}: must hold {name}{_unpacked_hint(name, wanted)}; "
                    f"download {self._downloads[name]} into it."
                )
            return path
        path = self._work / "downloads" / name
        if not path.exists():
            download(self._downloads[name], path)
        return path


def _unpacked_hint(archive: str, wanted: Collection[str]) -> str:
    return "" if list(wanted) == [archive] else f" or, unpacked from it, {', '.join(sorted(wanted))}"


def download(url: str, path: Path) -> None:
    """Fetch ``url`` into ``path``. What an interrupted download left in ``path.part`` is continued.

    Raises:
        DataError: if the server cannot be reached, refuses, or sends less than it announced.
    """
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "hat", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
            continued = answer.status == 206
            announced = answer.headers.get("Content-Length")
            total = None if announced is None else int(announced) + (have if continued else 0)
            with part.open("ab" if continued else "wb") as file:
                _copy_with_progress(answer, file, total, path.name)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is no beginning of what the server has now
            part.unlink()
        raise DataError(
            f"{url}: cannot be downloaded: the server says {error.code} {error.reason}; {_ADVICE}"
        ) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{url}: cannot be downloaded: {reason}; {_ADVICE}") from None
    size = part.stat().st_size
    if total is not None and size != total:
        raise DataError(f"{url}: must have {total} bytes, {size} came; {_ADVICE}")
    part.replace(path)


def _copy_with_progress(source: IO[bytes], file: IO[bytes], total: int | None, name: str) -> None:
    reported = time.monotonic()
    while block := source.read(_BLOCK_BYTES):
        file.write(block)
        if time.monotonic() - reported > _SECONDS_BETWEEN_LINES:
            reported = time.monotonic()
            size = f"{file.tell() / 1e6:.0f}"
            logger.info("%s: %s MB", name, size if total is None else f"{size} of {total / 1e6:.0f}")


def unpack(archive: Path, names: Collection[str], folder: Path) -> None:
    """Copy the files ``names`` (or ``names`` + ``.gz``) out of a tar or zip archive into ``folder``, without folders.

    Raises:
        DataError: if the archive is damaged or truncated, lacks a file, or has a member that points outside of it.
    """
    logger.info("unpacking %s", archive)
    try:
        with tempfile.TemporaryDirectory(prefix=".unpacking.", dir=make_folder(folder)) as temporary:
            found = _copy_members(archive, names, Path(temporary))
            if missing := sorted(set(names) - found.keys()):
                raise DataError(f"{archive}: must hold {', '.join(missing)}, does not; is it the right archive?")
            for path in found.values():  # only now is it known that the archive was complete
                path.replace(folder / path.name)
    except _DAMAGED as error:
        raise DataError(
            f"{archive}: must be a complete tar or zip archive, is damaged or truncated ({error}); remove it and run "
            "this again."
        ) from None


def _copy_members(archive: Path, names: Collection[str], folder: Path) -> dict[str, Path]:
    """Read the whole archive; returns where each name that was met lies in ``folder``."""
    found: dict[str, Path] = {}
    with contextlib.closing(_members(archive)) as members:
        for member, content in members:
            _check_safe(archive, member)
            name = next((name for name in names if _ends_with(member.removesuffix(".gz"), name)), None)
            if name is None or content is None:
                continue
            if name in found:
                raise DataError(f"{archive}: must hold one file {name}, holds a second one at {member}.")
            found[name] = folder / (PurePosixPath(name).name + ".gz" * member.endswith(".gz"))
            with found[name].open("wb") as target:
                shutil.copyfileobj(content, target, _BLOCK_BYTES)
    return found


def _members(archive: Path) -> Generator[tuple[str, IO[bytes] | None], None, None]:
    """Name and content of each member, in order; no content for what is no regular file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if entry.is_dir():
                    yield entry.filename, None
                    continue
                with zipped.open(entry) as content:
                    yield entry.filename, content
        return
    # tarfile leaves the end of a gzip file, with its checksum, unread: a truncated archive would look whole.
    with _decompressed(archive) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        for item in tar:
            yield item.name, tar.extractfile(item) if item.isreg() else None
        while file.read(_BLOCK_BYTES):
            pass


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if gzipped else path.open("rb")


def _check_safe(archive: Path, member: str) -> None:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise DataError(f"{archive}: must not hold paths that lead outside, holds '{member}'; do not use this archive.")


def _ends_with(path: str, name: str) -> bool:
    return f"/{path}".endswith(f"/{name}")
