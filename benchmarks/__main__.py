"""Time hat beside its peers: ``python -m benchmarks [--quick] [--only PATTERN] [--repeats N] [--output FOLDER]``.

Writes ``benchmarks.json``, ``benchmarks.md`` and ``benchmarks.png``; docs/performance.md explains them.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import Configuration, Group, groups
from benchmarks.driver import ROOT, run_group
from benchmarks.picture import draw
from benchmarks.table import markdown
from hat.artifacts import machine_name, make_folder, write_json, write_text


def main() -> None:
    """Time all groups, and write what is known after each of them."""
    args = _arguments()
    chosen = choose(groups(), args.only, args.quick, os.cpu_count() or 1)
    if args.list:
        print("\n".join(one.name for _, configurations in chosen for one in configurations))
        return
    if not chosen:
        sys.exit("benchmarks: --only matches nothing; --list shows all there is.")
    repeats = args.repeats or (3 if args.quick else 9)
    output = make_folder(args.output)
    pythons = dict(pair.split("=", 1) for pair in args.python)
    about = {
        "machine": machine_name(), "torch": version("torch"), "commit": _commit(), "repeats": repeats,
        "date": time.strftime("%Y-%m-%d"), "arguments": sys.argv[1:],
    }  # fmt: skip
    record: dict[str, Any] = {"format": "hat.benchmarks/1", "about": about, "groups": []}
    for group, configurations in chosen:
        started = time.monotonic()
        results = run_group(group, configurations, repeats, pythons, args.profile)
        record["groups"].append({"title": group.title, "sweep": group.sweep, "results": results})
        write_json(output / "benchmarks.json", record)
        write_text(output / "benchmarks.md", markdown(record))
        print(f"{group.title}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    draw(record, output / "benchmarks.png")
    print((output / "benchmarks.md").read_text(encoding="utf-8"))


def choose(
    all_groups: Sequence[Group], pattern: str | None, quick: bool, cores: int
) -> list[tuple[Group, list[Configuration]]]:
    """The groups to time with those of their configurations that match and that the machine has the cores for."""
    chosen = []
    for group in all_groups:
        if quick and not group.quick and pattern is None:
            continue
        kept = [
            one
            for one in group.configurations
            if one.threads <= cores and (pattern is None or re.search(pattern, one.name))
        ]
        if kept:
            chosen.append((group, kept))
    return chosen


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few cases, three rounds")
    parser.add_argument("--only", metavar="PATTERN", help="configurations whose name this regular expression matches")
    parser.add_argument("--repeats", type=int, help="rounds through all that is compared")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH", help="a peer's own interpreter")
    parser.add_argument("--profile", action="store_true", help="also say where hat's time goes, in benchmarks.json")
    parser.add_argument("--list", action="store_true", help="name the configurations and stop")
    return parser.parse_args()


if __name__ == "__main__":
    main()
