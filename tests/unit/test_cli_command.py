"""What all commands share: exit status, one line for the user's mistakes, overrides, flags, --dry-run."""

import errno
import os
import signal
import subprocess
import sys
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import hat.cli
from hat import __version__
from hat.cli.command import run_command, run_guarded
from hat.config import Section, load_config
from hat.errors import ConfigError, DataError, HatError, SearchError


class Part(Section):
    width: int = 4
    """Width."""


class Example(Section):
    seed: int = 1
    """Seed."""
    part: Part = Part()
    """Part."""
    output: Path = Path("runs/ü")
    """Where."""


def command(*argv: str | Path, recipe: Any = lambda config: config.seed, **options: Any) -> int:
    load = lambda: (Example, recipe)  # noqa: E731
    return run_command("hat-example", "Show an example.", "hat-example a.yaml", load, [str(a) for a in argv], **options)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text("seed: 3\n", encoding="utf-8")
    return path


def test_the_result_goes_to_stdout(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(config) == 0
    assert capsys.readouterr() == ("3\n", "")


def test_no_result_prints_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(config, recipe=lambda config: None) == 0
    assert capsys.readouterr() == ("", "")


def test_overrides_may_stand_anywhere_after_the_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def add_flags(parser: ArgumentParser) -> None:
        parser.add_argument("--width")
        parser.add_argument("--twice", action="store_true")

    def recipe(config: Example, twice: bool) -> str:
        return f"{config.seed} {config.part.width} {twice}"

    options = {
        "recipe": recipe,
        "add_flags": add_flags,
        "flag_overrides": lambda args: [] if args.width is None else [f"part.width={args.width}"],
        "recipe_flags": ["twice"],
    }
    assert command(config, "part.width=5", "--twice", "seed=8", **options) == 0
    assert command("--width", "6", config, "part.width=5", **options) == 0  # a flag wins over an override
    assert command(config, **options) == 0
    assert capsys.readouterr().out == "8 5 True\n3 6 False\n3 4 False\n"


def test_dry_run_prints_settings_that_load_to_the_same(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(config, "part.width=7", "--dry-run", recipe=lambda config: pytest.fail("must not run")) == 0
    printed, log = capsys.readouterr()
    (tmp_path / "b.yaml").write_text(printed, encoding="utf-8")
    assert load_config(Example, tmp_path / "b.yaml") == load_config(Example, config, ["part.width=7"])
    assert log == ""


@pytest.mark.parametrize("error", [ConfigError, DataError, SearchError, HatError])
def test_the_users_mistakes_are_one_line_and_status_2(
    config: Path, capsys: pytest.CaptureFixture[str], error: type[HatError]
) -> None:
    def recipe(config: Example) -> None:
        raise error("x.txt: must hold\n  words, is empty.")

    assert command(config, recipe=recipe) == 2
    assert capsys.readouterr() == ("", "hat-example: x.txt: must hold words, is empty.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: CONFIG.yaml"),
        (("none.yaml",), "none.yaml: no such file"),
        (("CONFIG", "--dry"), "unrecognized arguments: --dry; see hat-example --help."),
        (("CONFIG", "seed"), "'seed': an override must look like section.key=value."),
        (("CONFIG", "sed=1"), "sed: no such setting. Did you mean 'seed'?"),
        (("CONFIG", "part.width=wide"), "part.width: must be a whole number, is 'wide'"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert command(*(str(config) if a == "CONFIG" else a for a in arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hat-example: ")
    assert message in err
    assert err.count("\n") == 1


def test_an_interruption_is_status_130(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def recipe(config: Example) -> None:
        raise KeyboardInterrupt

    assert command(config, recipe=recipe) == 130
    assert capsys.readouterr() == ("", "hat-example: interrupted.\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_too_little_memory_is_one_line(config: Path, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def recipe(config: Example) -> None:
        raise error

    assert command(config, recipe=recipe) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("hat-example: out of memory; lower max_tokens")


@pytest.mark.parametrize(
    ("number", "filename", "message"),
    [
        (errno.ENOSPC, None, "the disk, or your share of it, is full"),
        (errno.EDQUOT, "out/metrics.jsonl", "the disk, or your share of it, is full"),
        (errno.EACCES, "out/metrics.jsonl", "out/metrics.jsonl: must be yours to read and write: Permission denied"),
        (errno.EROFS, "out/metrics.jsonl", "out/metrics.jsonl: must be yours to read and write: Read-only"),
    ],
)
def test_a_disk_that_is_full_or_closed_is_the_users_to_open(
    config: Path, capsys: pytest.CaptureFixture[str], number: int, filename: str | None, message: str
) -> None:
    def recipe(config: Example) -> None:
        raise OSError(number, os.strerror(number), filename)

    assert command(config, recipe=recipe) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"hat-example: {message}")
    assert err.count("\n") == 1


def test_only_what_is_missing_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 2
    expected = "hat-example: the following arguments are required: CONFIG.yaml; see hat-example --help.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        RuntimeError("a bug"),
        AssertionError("a bug"),
        OSError(errno.EIO, "broken"),
        OSError(errno.EACCES, "no file"),
    ],
)
def test_our_bugs_are_not_hidden(config: Path, error: Exception) -> None:
    def recipe(config: Example) -> None:
        raise error

    with pytest.raises(type(error)):
        command(config, recipe=recipe)


def run_python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def test_results_are_utf_8_in_every_language_setting() -> None:
    code = "from hat.cli.command import run_guarded\nraise SystemExit(run_guarded('hat-x', lambda: 'Gänsefüße'))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert (result.returncode, result.stdout) == (0, "Gänsefüße\n".encode())


def test_a_bug_is_status_1_with_a_traceback() -> None:
    result = run_python(
        "from hat.cli.command import run_guarded\nraise SystemExit(run_guarded('hat-x', lambda: 1 / 0))"
    )
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from hat.cli.command import run_guarded\nraise SystemExit(run_guarded('hat-x', lambda: 'x\\n' * 10**6))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_logs_go_to_stderr(config: Path) -> None:
    result = run_python(
        "import logging\nfrom hat.cli.command import run_guarded\n"
        "def action():\n    logging.getLogger('hat').info('update 1')\n    return 'path'\n"
        "raise SystemExit(run_guarded('hat-x', action))"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "path\n", "update 1\n")


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"hat {__version__}\n"
    with pytest.raises(SystemExit) as stop:
        command("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Show an example." in text
    assert text.rstrip().endswith("example: hat-example a.yaml")


def test_run_guarded_prints_what_the_action_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded("hat-x", lambda: Path("runs") / "x") == 0
    assert capsys.readouterr().out == "runs/x\n"


def test_ctrl_c_while_torch_is_imported(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> Any:
        raise KeyboardInterrupt

    assert run_command("hat-example", "Show.", "hat-example a.yaml", load, [str(config)]) == 130
    assert capsys.readouterr() == ("", "hat-example: interrupted.\n")


def test_help_of_every_command_waits_for_nothing() -> None:
    """torch takes seconds to import, on a small device many."""
    folder = Path(hat.cli.__file__).parent
    names = [path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "command")]
    assert len(names) >= 10
    program = f"""
import importlib, sys
for name in {names}:
    try:
        importlib.import_module(f"hat.cli.{{name}}").main(["--help"])
    except SystemExit as end:
        assert end.code == 0
assert "torch" not in sys.modules
"""
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.count("example: hat-") >= len(names)


def test_a_second_request_to_end_does_not_disturb_what_the_first_began(capsys: pytest.CaptureFixture[str]) -> None:
    before, put_in_order = signal.getsignal(signal.SIGTERM), []

    def action() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            put_in_order.append(True)

    assert run_guarded("hat-x", action) == 130
    assert put_in_order == [True] and capsys.readouterr().err == "hat-x: interrupted.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_commands_run_outside_the_main_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_guarded, "hat-x", lambda: None).result() == 0
