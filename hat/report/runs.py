"""Run folders: finding them, telling them apart, and what every run says of itself."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from hat.artifacts import MODEL_FORMAT, SUPER_FORMAT, read_json, read_record, read_text
from hat.config import read_yaml, shorten
from hat.errors import DataError
from hat.report.document import Block, Code, Facts, Folded
from hat.report.records import number, read_lines
from hat.report.wording import decimal, duration, moment, printable, real, slug, unique
from hat.search.history import HISTORY_FILE, PARETO_FILE, PARTIAL_FILE

Kind = Literal["data", "super", "sub", "latency", "predictor", "search", "evaluation"]

_COMMANDS: dict[str, Kind] = {
    "hat-prepare": "data",
    "hat-train-super": "super",
    "hat-measure-latency": "latency",
    "hat-train-predictor": "predictor",
    "hat-search": "search",
    "hat-train-sub": "sub",
    "hat-evaluate": "evaluation",
}
_FILES: dict[str, Kind] = {
    "latency.csv": "latency",
    "predictor.json": "predictor",
    "evaluation.json": "evaluation",
    HISTORY_FILE: "search",
    PARTIAL_FILE: "search",
    PARETO_FILE: "search",
    "architecture.json": "search",
}
"""What tells a folder whose ``run.json`` is not there: copied without it, or of a search that still runs."""
_MODELS: dict[str, Kind] = {SUPER_FORMAT: "super", MODEL_FORMAT: "sub"}
_IMPORT = "hat-import"  # makes models of either kind
_ORDER = list(_COMMANDS.values())
_NO_RUNS = ("checkpoints", "tokenizer", "tensorboard")
_DEPTH = 3  # how far below a folder runs are looked for
_KNOWN = ("command", "version", "commit", "seed", "host", "machine", "python", "started", "seconds")


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder; every run is equal to itself only."""

    path: Path
    kind: Kind
    info: dict[str, Any] = field(default_factory=dict)
    """``run.json``; empty where there is none."""
    config: dict[str, Any] = field(default_factory=dict)
    """``config.yaml``; empty where there is none."""
    config_text: str = ""
    events: tuple[dict[str, Any], ...] = ()
    """``metrics.jsonl``."""
    name: str = ""
    """The path below the folder that all runs of the report have in common."""
    key: str = ""
    """The same as a part of the names of files; no two runs of a report have one."""

    @property
    def finished(self) -> bool:
        """Whether the run came to its end: ``run.json`` then holds what it took, and the last events its results."""
        if not self.info:  # a search writes it at its end; other folders may have been copied without it
            return self.kind != "search" or (self.path / "architecture.json").is_file()
        if "seconds" not in self.info:
            return False
        return not self.events or self.kind == "data" or any(event.get("event") == "final" for event in self.events)

    def named(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind, in order."""
        return [values for values in self.events if values.get("event") == event]

    def locate(self, key: str) -> Path | None:
        """The file or folder that the config names under ``key``, if it is still there.

        Commands run from the folder that paths are relative to, which is one above the run's: the nearest is tried
        first, then the working directory.
        """
        named = self.config.get(key)
        if not isinstance(named, str):
            return None
        places = [parent / named for parent in self.path.resolve().parents] + [Path(named)]
        return next((place for place in places if os.path.exists(place)), None)  # noqa: PTH110 (pathlib's raises)


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in these folders, in the order of a pipeline: each folder is one of a run, or holds some, or both.

    Raises:
        DataError: if a folder is missing or holds no run, or a file of a run is damaged.
        ConfigError: if a ``config.yaml`` is damaged.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            problem = "is a file" if folder.exists() else "there is none"
            raise DataError(f"{folder}: must be a folder that a hat command wrote, {problem}.")
        runs = list(_runs_below(folder, _DEPTH))
        if not runs:
            problem = "holds none of their files" if any(folder.iterdir()) else "is empty"
            raise DataError(f"{folder}: must be a folder that a hat command wrote, or hold such folders; {problem}.")
        found |= {run.path.resolve(): run for run in runs if run.path.resolve() not in found}
    found = dict(sorted(found.items(), key=lambda item: _ORDER.index(item[1].kind)))
    common = Path(os.path.commonpath([path.parent for path in found]))
    names = [printable(path.relative_to(common).as_posix()) for path in found]
    keys = unique(map(slug, names))
    return [replace(run, name=name, key=key) for run, name, key in zip(found.values(), names, keys, strict=True)]


def of_kind(runs: Sequence[Run], *kinds: Kind) -> list[Run]:
    """The runs of some kinds."""
    assert set(kinds) <= set(get_args(Kind))
    return [run for run in runs if run.kind in kinds]


def record(run: Run, title: str = "How it was run: record and settings") -> tuple[Block, ...]:
    """What ``run.json`` and ``config.yaml`` say, to be unfolded; nothing where neither is there."""
    where = f"{run.path}/run.json"
    cost = [(printable(key).replace("_", " "), _value(run.info[key])) for key in run.info if key not in _KNOWN]
    rows = [
        ("folder", printable(run.path)),
        ("command", printable(run.info.get("command"))),
        ("started", moment(run.info.get("started"))),
        ("took", duration(number(run.info, "seconds", where))),
        *cost,
        ("machine", f"{printable(run.info.get('machine'))}, host {printable(run.info.get('host'))}"),
        ("hat", f"{printable(run.info.get('version'))}, commit {printable(run.info.get('commit'))}"),
        ("Python", printable(run.info.get("python"))),
        ("seed", printable(run.info.get("seed"))),
    ]
    blocks: list[Block] = [Facts(tuple(rows))] if run.info else []
    if run.config_text:
        blocks.append(Code(run.config_text))
    return (Folded(title, tuple(blocks)),) if blocks else ()


def _value(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return decimal(value, 0 if real(value).is_integer() else 1)
    return printable(shorten(value))


def _runs_below(folder: Path, depth: int) -> Iterator[Run]:
    run = _read(folder)
    if run is not None:
        yield run
    if depth > 0:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith(".") and child.name not in _NO_RUNS:
                yield from _runs_below(child, depth - 1)


def _read(folder: Path) -> Run | None:
    """The run in this folder itself; None when it is none."""
    path, info = folder / "run.json", read_record(folder)
    by_files = not path.exists() or info.get("command") == _IMPORT
    kind = _kind_of_files(folder) if by_files else _kind_of_record(path, info)
    if kind is None:
        return None
    config, metrics = folder / "config.yaml", folder / "metrics.jsonl"
    settings, text = (read_yaml(config), read_text(config, "the settings of a run")) if config.exists() else ({}, "")
    events = read_lines(metrics, "metrics (one JSON object a line)") if metrics.exists() else []
    return Run(folder, kind, info, settings, text, tuple(events))


def _kind_of_record(path: Path, info: dict[str, Any]) -> Kind:
    command = info.get("command")
    if not isinstance(command, str) or command not in _COMMANDS:
        raise DataError(
            f"{path}: must be the record of one of {', '.join(_COMMANDS)}; its command is {shorten(command)}."
        )
    return _COMMANDS[command]


def _kind_of_files(folder: Path) -> Kind | None:
    for name, kind in _FILES.items():
        if (folder / name).is_file():
            return kind
    path = folder / "config.json"
    if not path.is_file():
        return None
    found = read_json(path, "a model's config.json").get("format")
    return _MODELS.get(found) if isinstance(found, str) else None
