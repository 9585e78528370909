"""Data that hat-prepare made: how many sentences of which length."""

from collections.abc import Sequence

from hat.config import flatten
from hat.report.document import Block, Section, Table
from hat.report.records import number
from hat.report.runs import Run, of_kind, record
from hat.report.wording import printable, whole


def data_section(runs: Sequence[Run]) -> Section | None:
    """All data folders of the report; None when there are none."""
    parts = tuple(_one(run) for run in of_kind(runs, "data"))
    return Section("Data", parts) if parts else None


def _one(run: Run) -> Section:
    splits = [flatten(line) for line in run.named("split")]  # what was left out is counted by its reason
    names = [name for name in dict.fromkeys(key for line in splits for key in line) if name not in _NO_NUMBERS]
    where = f"{run.path}/metrics.jsonl"
    rows = tuple(
        (printable(line.get("split")), *(whole(number(line, name, where)) for name in names)) for line in splits
    )
    table = Table(("split", *(printable(name).replace("_", " ").replace(".", ": ") for name in names)), rows)
    blocks: list[Block] = [table] if rows else []
    return Section(run.name, (*blocks, *record(run)))


_NO_NUMBERS = ("time", "event", "split")
