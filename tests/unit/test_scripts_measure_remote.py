"""Measuring over ssh, against a real server on this machine with keys of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

import pytest
import yaml

from hat.latency.dataset import LatencyDataset
from hat.latency.settings import DeviceRecord

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_remote.sh"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
STACK = {"embed_dim": [8, 12], "num_layers": [1, 2], "ffn_dim": [8, 16, 24, 32], "self_attn_heads": [1, 2]}
SPACE = {"qkv_dim": 8, "encoder": STACK, "decoder": {**STACK, "cross_attn_heads": [1], "attended_encoder_layers": [1]}}
SETTINGS = {"source_length": 3, "target_length": 3, "source_vocab_size": 9, "target_vocab_size": 9, "beam": 2}
SETTINGS |= {"device": "cpu", "threads": 1, "warmup_runs": 0, "runs": 2, "anchor_tolerance": None}

pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None or os.name != "posix", reason="needs ssh and sshd (openssh-server)"
)


@dataclass
class Remote:
    """A machine to measure on: this one, by way of ssh."""

    options: str
    folder: Path
    config: Path
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.config.parent / "here"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ, "SSH_OPTIONS": self.options, "HAT_REMOTE_FOLDER": str(self.folder),
            "HAT_PYTHON": sys.executable, "HAT_REMOTE_PYTHON": sys.executable, **self.changes,
        }  # fmt: skip
        command = ["bash", str(SCRIPT), f"{getuser()}@127.0.0.1", str(self.config), *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def rows(self, folder: Path | None = None) -> int:
        path = (folder or self.output) / "latency.csv"
        return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.exists() else 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The options of ssh that lead to a server with throw-away keys."""
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nPidFile {folder / 'pid'}\n"
        f"AuthorizedKeysFile {folder / 'user.pub'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it there when root starts it
    assert SSHD is not None
    with subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE, text=True
    ) as sshd:
        options = f"-p {port} -i {folder / 'user'} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
        options += f" -o UserKnownHostsFile={folder / 'known'} -o LogLevel=ERROR -F none -o BatchMode=yes"
        try:
            if not wait_for(lambda: answers(options), 10):
                sshd.terminate()
                pytest.fail(f"sshd does not let this user in: {((sshd.stderr and sshd.stderr.read()) or '')[-300:]}")
            yield options
        finally:
            sshd.terminate()


def answers(options: str) -> bool:
    command = ["ssh", *options.split(), f"{getuser()}@127.0.0.1", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def remote(server: str, tmp_path: Path) -> Remote:
    """With a name of the folder there that would do harm if a shell read it."""
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    values = {"output": str(tmp_path / "here"), "space": "space.yaml", "samples": 3, "settings": SETTINGS}
    (tmp_path / "measure.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return Remote(server, tmp_path / "it's $(touch harm); `touch harm` there", tmp_path / "measure.yaml")


def test_latencies_come_back_and_more_are_added(remote: Remote) -> None:
    status, out, err = remote.run("seed=3")
    assert (status, out) == (0, f"{remote.output}/latency.csv\n"), err
    assert "3/3 | " in err
    first = (remote.output / "latency.csv").read_text(encoding="utf-8")
    assert len(LatencyDataset.load(remote.output / "latency.csv")) == 3
    assert DeviceRecord.beside(remote.output / "latency.csv") is not None
    assert not list(remote.config.parent.rglob("harm")) and not Path("harm").exists()
    shutil.rmtree(remote.folder)  # lost there: it goes on from what is here
    status, _, err = remote.run("seed=3", "samples=5")
    assert status == 0 and "3 of 5 architectures are there already" in err, err
    assert (remote.output / "latency.csv").read_text(encoding="utf-8").startswith(first) and remote.rows() == 5


def test_interrupted_it_brings_back_what_there_is(remote: Remote) -> None:
    there = remote.folder / "latency"
    process = remote.start("samples=3000")
    assert wait_for(lambda: remote.rows(there) >= 2 or process.poll() is not None, 60)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    rows = remote.rows()
    assert 2 <= rows == remote.rows(there) < 3000
    assert not (remote.folder / "measuring.pid").exists(), "nothing goes on measuring there"
    record = json.loads((remote.output / "device.json").read_text(encoding="utf-8"))
    assert record["sessions"][0]["end"] is not None


def test_nothing_there_is_disturbed_or_removed(remote: Remote) -> None:
    remote.folder.mkdir(parents=True)
    (remote.folder / "hat").mkdir()
    (remote.folder / "hat" / "mine.txt").write_text("mine")
    command = [sys.executable, "-c", "import time; time.sleep(100)  # hat.cli.measure_latency"]
    with subprocess.Popen(command) as process:
        (remote.folder / "measuring.pid").write_text(f"{process.pid}\n")
        status, out, err = remote.run()
        process.kill()
    assert (status, out) == (2, "") and err.count("\n") == 1 and "is still measuring in" in err
    assert not (remote.folder / ".hat").exists()
    (remote.folder / "measuring.pid").write_text(f"{os.getppid()}\n")  # left over; the number is another process's now
    status, _, err = remote.run()
    assert status == 0, err
    assert (remote.folder / "hat" / "mine.txt").read_text() == "mine"


def test_mistakes_are_one_line(remote: Remote, tmp_path: Path) -> None:
    remote.changes = {"HAT_REMOTE_PYTHON": "no such python"}
    status, out, err = remote.run()
    assert (status, out, err) == (2, "", "measure_remote.sh: there is no no such python on that machine.\n")
    remote.changes = {}
    remote.options = "-p 1 -o BatchMode=yes -F none"
    status, _, err = remote.run()
    assert status == 2 and "measure_remote.sh: " in err and "could not be copied there" in err
    (tmp_path / "here" / "latency.csv").write_text("of another machine")
    (tmp_path / "here" / "measured_on.txt").write_text("elsewhere")
    status, _, err = remote.run()
    assert status == 2 and "holds latencies that were not measured on" in err and len(err.splitlines()) == 1
    assert (tmp_path / "here" / "latency.csv").read_text() == "of another machine"


def test_without_arguments() -> None:
    script = ["bash", str(SCRIPT), "host"]
    result = subprocess.run(script, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.startswith("measure_remote.sh: give a machine and settings")
