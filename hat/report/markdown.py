"""A report as Markdown, its pictures in files beside it."""

import re
from collections.abc import Sequence
from html import escape

from hat.report.document import (
    Block,
    Code,
    Facts,
    Folded,
    Gallery,
    Note,
    Picture,
    Report,
    Section,
    Table,
    Text,
    Tiles,
)

_MARKS = re.compile(r"([\\`*_{}\[\]#|~$])")


def to_markdown(report: Report, folder: str) -> str:
    """The text; its pictures are expected as ``FOLDER/NAME.svg``."""
    parts = [f"# {_text(report.title)}", _text(report.subtitle)]
    parts += [part for section in report.sections for part in _section(section, 2, folder)]
    return "\n\n".join([*parts, "---", _text(report.footer)]) + "\n"


def _section(section: Section, level: int, folder: str) -> list[str]:
    return [f"{'#' * level} {_text(section.title)}", *_blocks(section.blocks, level, folder)]


def _blocks(blocks: Sequence[Block], level: int, folder: str) -> list[str]:
    return [part for block in blocks for part in _block(block, level, folder)]


def _block(block: Block, level: int, folder: str) -> list[str]:
    match block:
        case Text(text):
            return [_text(text)]
        case Note(text):
            return [f"> {_text(text)}"]
        case Facts(rows):
            return ["\n".join(f"- {_text(name)}: {_text(value)}" for name, value in rows)]
        case Tiles(tiles):
            return ["\n".join(f"- {_text(tile.label)}: **{_text(tile.value)}** ({_text(tile.note)})" for tile in tiles)]
        case Table():
            return [_table(block)]
        case Gallery(pictures):
            return [_picture(picture, folder) for picture in pictures]
        case Code(text):
            fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
            return [f"{fence}yaml\n{text.rstrip()}\n{fence}"]
        case Folded(title, blocks):
            inside = "\n\n".join(_blocks(blocks, level, folder))
            return [f"<details><summary>{escape(title)}</summary>\n\n{inside}\n\n</details>"]
        case Section():
            return _section(block, min(level + 1, 6), folder)


def _table(table: Table) -> str:
    rules = ["---" if column < table.text_columns else "--:" for column in range(len(table.columns))]
    lines = [table.columns, *table.rows]
    head, *rows = [f"| {' | '.join(map(_text, cells))} |" for cells in lines]
    return "\n".join([head, f"|{'|'.join(rules)}|", *rows])


def _picture(picture: Picture, folder: str) -> str:
    image = f"![{_text(picture.description)}]({folder}/{picture.name}.svg)"
    return f"{image}\n\n*{_text(picture.caption)}*" if picture.caption else image


def _text(text: str) -> str:
    """``text`` so that Markdown shows it as it is, and no HTML comes of it."""
    return _MARKS.sub(r"\\\1", escape(" ".join(text.split()), quote=False))
