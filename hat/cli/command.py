"""What every command shares: arguments, the config, and how errors become one line and an exit status.

Exit status: 0 done, 2 the user's mistake (one line on stderr), 130 interrupted, 1 a bug of ours (traceback).
Results go to stdout; progress and logs go to stderr.
"""

import argparse
import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hat import __version__
from hat.config import load_config, override_of, shorten, to_yaml
from hat.errors import ConfigError, HatError


class _OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line like all others, not a usage text."""

    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}; see {self.prog} --help.")


def make_parser(name: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser with ``--version`` and an example at the end of ``--help``."""
    parser = _OneLineParser(
        prog=name,
        description=description,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hat {__version__}")
    return parser


def run_guarded(name: str, action: Callable[[], object]) -> int:
    """Run ``action`` and print what it returns on stdout; turn the user's errors into one line and status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as all text is here, whatever the language of the terminal
    log, handler = logging.getLogger("hat"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with _terminable():
            return _status(name, action)
    finally:
        log.removeHandler(handler)


def _status(name: str, action: Callable[[], object]) -> int:
    try:
        result = action()
        if result is not None and os.environ.get("RANK", "0") == "0":  # once, not by every process of torchrun
            print(result, flush=True)
    except HatError as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, MemoryError, RuntimeError) as error:
        problem = _machine_problem(error)
        if problem is None:
            raise
        print(f"{name}: {problem}", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, by which batch systems and ``kill`` ask a process to end, do what Ctrl-C does.

    Only once: such systems like to ask several times, and what is being put in order then must not be interrupted.
    """

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only that one can have handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _machine_problem(error: Exception) -> str | None:
    """What the machine lacks, when that is what ``error`` says; None for anything else: a fault of hat's."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk, or your share of it, is full; make room and start the command again."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS) and error.filename is not None:
        return f"{error.filename}: must be yours to read and write: {error.strerror}."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{shorten(error.filename)}: the name of a file is too long for this system; choose a shorter one."
    # torch's error by its name, since not every command needs torch; its CPU allocator has none of its own.
    full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if full or "can't allocate memory" in str(error):
        return (
            "out of memory; lower max_tokens (training, search), batch_tokens or the beam (translation), or what "
            "settings says of the call (measuring)."
        )
    return None


def run_command(
    name: str,
    description: str,
    example: str,
    load: Callable[[], tuple[type[BaseModel], Callable[..., object]]],
    argv: Sequence[str] | None,
    add_flags: Callable[[argparse.ArgumentParser], None] | None = None,
    flag_overrides: Callable[[argparse.Namespace], list[str]] | None = None,
    recipe_flags: Sequence[str] = (),
    folder_key: str | None = None,
) -> int:
    """The body of a command that takes ``CONFIG.yaml [section.key=value ...] [flags]``.

    Args:
        name: the command, for example ``hat-search``.
        description: what it does, for ``--help``.
        example: one complete command line, for ``--help``.
        load: imports and returns the pydantic model of the config, and the recipe, which is called with the config and
            whose result (a path or JSON text) is printed. Importing torch takes seconds, on a small device many: so
            ``--help`` does not wait for it, and Ctrl-C meanwhile is a Ctrl-C like any other.
        argv: arguments without the program's name; None takes ``sys.argv``.
        add_flags: adds flags of this command to the parser.
        flag_overrides: turns those flags into overrides, applied after the ones written out.
        recipe_flags: names of flags that are handed to ``recipe`` as keyword arguments.
        folder_key: lets a folder stand in for the config: this setting is then the folder, the others have defaults.
    """
    positional = "CONFIG.yaml" if folder_key is None else f"CONFIG.yaml|{folder_key.upper()}"

    def action() -> object:
        parser = make_parser(name, description, example)
        what = "the settings; see configs/" + ("" if folder_key is None else f"; or just the folder of a {folder_key}")
        parser.add_argument("config", type=Path, metavar=positional, help=what)
        parser.add_argument(
            "overrides",
            nargs="*",
            default=[],  # without it, argparse's errors call them required
            metavar="section.key=value",
            help="settings that replace the file's",
        )
        parser.add_argument("--dry-run", action="store_true", help="check and print the resolved settings, then stop")
        if add_flags is not None:
            add_flags(parser)
        # parse_intermixed_args: overrides may stand after flags.
        args = parser.parse_intermixed_args(argv)
        schema, recipe = load()
        extra = flag_overrides(args) if flag_overrides is not None else []
        overrides = [*args.overrides, *extra]
        if folder_key is not None and not args.config.exists():
            raise ConfigError(
                f"{args.config}: no such file or folder; give the path of a YAML file, or the folder of a {folder_key}."
            )
        if folder_key is not None and args.config.is_dir():
            config = load_config(schema, None, [override_of(folder_key, str(args.config)), *overrides])
        else:
            config = load_config(schema, args.config, overrides)
        if args.dry_run:
            return to_yaml(config).rstrip("\n")
        return recipe(config, **{flag: getattr(args, flag) for flag in recipe_flags})

    return run_guarded(name, action)
