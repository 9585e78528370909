"""A report as one HTML page: nothing outside it is needed, and nothing in it runs."""

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
    Tile,
    Tiles,
)
from hat.report.style import STYLE
from hat.report.theme import inline
from hat.report.wording import slug, unique

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may do with the page: show it."""

_LONG = 36


def to_html(report: Report) -> str:
    """The page."""
    writer = _Writer()
    sections = "\n".join(writer.section(section, 2) for section in report.sections)
    links = "\n".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in writer.chapters)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(report.title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(report.title)}</h1>
<p class="subtitle">{escape(report.subtitle)}</p>
<nav>
{links}
</nav>
</header>
<main>
{sections}
</main>
<footer>{escape(report.footer)}</footer>
</body>
</html>
"""


class _Writer:
    """Writes blocks, and sees to it that no anchor is there twice."""

    def __init__(self) -> None:
        self.anchors: list[str] = []
        self.chapters: list[tuple[str, str]] = []

    def section(self, section: Section, level: int) -> str:
        self.anchors = unique([*self.anchors, slug(section.title)])
        anchor = self.anchors[-1]
        if level == 2:
            self.chapters.append((anchor, section.title))
        title = f'<h{level} id="{anchor}">{escape(section.title)}</h{level}>'
        return f"<section>\n{title}\n{self.blocks(section.blocks, level)}\n</section>"

    def blocks(self, blocks: Sequence[Block], level: int) -> str:
        return "\n".join(self.block(block, level) for block in blocks)

    def block(self, block: Block, level: int) -> str:
        match block:
            case Text(text):
                return f"<p>{escape(text)}</p>"
            case Note(text):
                return f'<p class="note">{escape(text)}</p>'
            case Facts(rows):
                pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
                return f"<dl>{pairs}</dl>"
            case Tiles(tiles):
                return f'<div class="tiles">{"".join(map(_tile, tiles))}</div>'
            case Table():
                return _table(block)
            case Gallery(pictures):
                return f'<div class="gallery">{"".join(map(_picture, pictures))}</div>'
            case Code(text):
                return f"<pre>{escape(text)}</pre>"
            case Folded(title, blocks):
                return f"<details><summary>{escape(title)}</summary>\n{self.blocks(blocks, level)}\n</details>"
            case Section():
                return self.section(block, min(level + 1, 6))


def _tile(tile: Tile) -> str:
    parts = zip(("label", "value", "hint"), (tile.label, tile.value, tile.note), strict=True)
    return f"<div>{''.join(f'<span class={name}>{escape(text)}</span>' for name, text in parts)}</div>"


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{_class(cell, column < table.text_columns)}>{escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )

    rows = "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows)
    head = f"<thead><tr>{row(table.columns, 'th')}</tr></thead>"
    return f'<div class="table"><table>{head}\n<tbody>\n{rows}\n</tbody></table></div>'


def _class(cell: str, words: bool) -> str:
    """Numbers stand below each other; words stay on one line, unless there are too many."""
    if not words:
        return " class=number"
    return " class=long" if len(cell) > _LONG else ""


def _picture(picture: Picture) -> str:
    svg = inline(picture.svg, picture.name)
    match = re.search(r'width="([\d.]+)pt"', svg)
    assert match is not None, "matplotlib writes the width"
    width = float(match[1]) * 4 / 3  # points to pixels
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)  # as large as the page gives it room
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(picture.description)}"', 1)
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure style="width: {width:.0f}px">{svg}{caption}</figure>'
