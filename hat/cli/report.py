"""hat-report: run folders as one page."""

import sys
from collections.abc import Sequence
from pathlib import Path

from hat.cli.command import make_parser, run_guarded

DESCRIPTION = """\
Show what run folders hold, as one page with tables and pictures: report.html, which needs nothing else, and report.md
with its pictures beside it. Prints the path of the page.

A folder may be one that a hat command wrote, or hold such folders: all of them are shown. Runs that are not finished
are shown as far as they are."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run hat-report; returns the exit status."""

    def action() -> Path:
        parser = make_parser("hat-report", DESCRIPTION, "hat-report runs/demo --output runs/demo/report")
        parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or a folder of them")
        parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the report")
        args = parser.parse_intermixed_args(argv)  # runs may stand on both sides of --output
        from hat.recipes.report import report  # now: --help does not wait for numpy

        return report(args.runs, args.output)

    return run_guarded("hat-report", action)


if __name__ == "__main__":
    sys.exit(main())
