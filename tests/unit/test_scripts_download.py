"""Downloads of the corpus scripts, from a server on this machine: whole, broken off, continued, refused."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from hat.errors import DataError


@pytest.fixture(scope="module", autouse=True)
def scripts() -> None:
    folder = str(Path(__file__).parents[2] / "scripts")
    if folder not in sys.path:
        sys.path.insert(0, folder)


class Server(BaseHTTPRequestHandler):
    """Serves ``/file`` with ranges, ``/short`` with less than announced, and nothing else."""

    body: ClassVar[bytes] = bytes(range(256)) * 40
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.ranges.append(wanted)
        if self.path not in ("/file", "/short"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(self.body):
            self.send_error(416)
            return
        data = self.body[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.path == "/short" else data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.ranges.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_download(server: str, tmp_path: Path) -> None:
    from corpora_sources import download

    download(f"{server}/file", tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == Server.body
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_download_that_breaks_off_is_an_error_and_goes_on_later(server: str, tmp_path: Path) -> None:
    from corpora_sources import download

    path = tmp_path / "file"
    with pytest.raises(DataError, match=r"10240 bytes, 5120 came|IncompleteRead"):
        download(f"{server}/short", path)
    assert not path.exists()
    assert (tmp_path / "file.part").stat().st_size == 5120
    download(f"{server}/file", path)
    assert path.read_bytes() == Server.body
    assert Server.ranges == [None, "bytes=5120-"]


def test_part_that_is_too_long_is_dropped(server: str, tmp_path: Path) -> None:
    from corpora_sources import download

    (tmp_path / "file.part").write_bytes(b"x" * 20000)
    with pytest.raises(DataError, match="416"):
        download(f"{server}/file", tmp_path / "file")
    download(f"{server}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == Server.body


def test_download_errors_are_one_line(server: str, tmp_path: Path) -> None:
    from corpora_sources import download

    with pytest.raises(DataError, match=r"^http://\S+/gone: cannot be downloaded: the server says 404") as caught:
        download(f"{server}/gone", tmp_path / "gone")
    assert "\n" not in str(caught.value) and "--from" in str(caught.value)
    with pytest.raises(DataError, match="cannot be downloaded"):
        download("http://127.0.0.1:1/file", tmp_path / "file")
