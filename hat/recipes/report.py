"""Show what run folders hold: one page with tables and pictures."""

from collections.abc import Sequence
from pathlib import Path

from hat.artifacts import make_folder, write_text
from hat.report.build import build_report
from hat.report.document import pictures_of
from hat.report.html import to_html
from hat.report.markdown import to_markdown
from hat.report.runs import find_runs
from hat.report.theme import check_matplotlib, standalone
from hat.report.wording import printable

HTML_FILE, MARKDOWN_FILE, PICTURES_FOLDER = "report.html", "report.md", "report_pictures"


def report(folders: Sequence[Path], output: Path) -> Path:
    """Write ``report.html``, which needs nothing else, and ``report.md`` with its pictures in a folder beside it.

    The same runs give the same files.

    Args:
        folders: run folders, or folders that hold some.
        output: folder for the report; made if needed.

    Returns:
        The path of ``report.html``.

    Raises:
        DataError, ConfigError: naming the file, if one is missing or damaged; nothing is written then.
        ConfigError: if ``output`` cannot be written, or matplotlib is not installed.
    """
    check_matplotlib()
    made = build_report(find_runs(folders), printable(f"Report of {', '.join(map(str, folders))}"))
    page = to_html(made)
    pictures = {f"{picture.name}.svg": picture.svg for picture in pictures_of(made.sections)}
    folder = make_folder(output) / PICTURES_FOLDER
    for name, svg in pictures.items():
        write_text(folder / name, standalone(svg))
    for old in set(folder.glob("*.svg")) - {folder / name for name in pictures}:  # of a report of other runs
        old.unlink()
    write_text(output / MARKDOWN_FILE, to_markdown(made, PICTURES_FOLDER))
    write_text(output / HTML_FILE, page)
    return output / HTML_FILE
