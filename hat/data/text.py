"""Reading plain or gzipped text line by line, with errors that name the file and the line."""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from hat.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Chunk:
    """Some consecutive lines of two parallel files, not decoded yet, so that workers share that load."""

    source_path: str
    target_path: str
    first_line: int
    """Number of the first line in its file, from 1."""
    source: list[bytes]
    target: list[bytes]

    def __len__(self) -> int:
        return len(self.source)

    def pairs(self) -> Iterator[tuple[int, str, str]]:
        """Line number, source and target text. Raises DataError for a line that is not UTF-8."""
        numbered = enumerate(zip(self.source, self.target, strict=True), self.first_line)
        for number, (source, target) in numbered:
            yield (
                number,
                decode_line(source, self.source_path, number),
                decode_line(target, self.target_path, number),
            )


def raw_lines(path: str | Path) -> Iterator[bytes]:
    """The lines of a plain or gzipped file (told by its content) as bytes, without line ends.

    Raises:
        DataError: if the file is missing, cannot be read, or is a damaged or truncated gzip file.
    """
    try:
        with Path(path).open("rb") as file:
            compressed = file.peek(2)[:2] == _GZIP_MAGIC
            text = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file
            yield from lines_of(text)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the path of a text file, plain or gzipped.") from None
    except EOFError:
        raise DataError(f"{path}: must be a complete gzip file, is truncated; copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: must be a gzip file, is damaged ({error}); copy or download it again.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a text file: {error.strerror or error}.") from None


def lines_of(file: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of an open binary file without line ends, and without the byte order mark some editors begin with."""
    for number, line in enumerate(file):
        stripped = line.rstrip(b"\r\n")
        yield stripped.removeprefix(_BYTE_ORDER_MARK) if number == 0 else stripped


def decode_line(line: bytes, path: str | Path, number: int) -> str:
    """One line as text; ``path`` and ``number`` (from 1) go into the DataError when it is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: must be UTF-8 text, byte {error.start + 1} of the line is not "
            f"(0x{line[error.start]:02x}); convert the file, for example with iconv."
        ) from None


def read_lines(path: str | Path) -> list[str]:
    """All lines of a plain or gzipped UTF-8 file. Only a line feed ends a line. Raises DataError as `raw_lines`."""
    return [decode_line(line, path, number) for number, line in enumerate(raw_lines(path), start=1)]


def single_line(text: str) -> str:
    """The text without characters that some program takes for the end of a line."""
    return " ".join(text.splitlines())


def parallel_chunks(source_paths: Sequence[str], target_paths: Sequence[str], size: int) -> Iterator[Chunk]:
    """The lines of pairs of files in chunks of ``size``, file pair after file pair.

    Raises:
        DataError: if two files have different numbers of lines or none at all, or one cannot be read.
    """
    for source_path, target_path in zip(source_paths, target_paths, strict=True):
        sources, targets = raw_lines(source_path), raw_lines(target_path)
        number = 0
        while True:
            chunk = Chunk(
                source_path, target_path, number + 1, list(islice(sources, size)), list(islice(targets, size))
            )
            if len(chunk.source) != len(chunk.target):
                lines = [
                    number + len(chunk.source) + sum(1 for _ in sources),
                    number + len(chunk.target) + sum(1 for _ in targets),
                ]
                raise DataError(
                    f"{source_path} and {target_path}: must have equally many lines, have {lines[0]} and {lines[1]}; "
                    "line n of one must be the translation of line n of the other."
                )
            if not chunk.source:
                if number == 0:
                    raise DataError(f"{source_path} and {target_path}: must hold sentence pairs, are empty.")
                break
            number += len(chunk)
            yield chunk


def fingerprint(path: str | Path) -> dict[str, int]:
    """Size and CRC-32 of a file. Raises DataError when it cannot be read."""
    size = crc = 0
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                size, crc = size + len(block), zlib.crc32(block, crc)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path in the config.") from None
    return {"bytes": size, "crc32": crc}
