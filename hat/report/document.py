"""What a report consists of, whatever it is written as: HTML and Markdown are made from the same blocks.

All text in a block is plain: who writes it into a page escapes it.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph that must not be overlooked: something is unfinished, missing or uncertain."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and their values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tile:
    """One number to be seen first."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Tiles:
    """The numbers to be seen first."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Table:
    """A table; the first ``text_columns`` columns hold words, the others numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1


@dataclass(frozen=True)
class Picture:
    """A picture as SVG, in the colours of :mod:`hat.report.theme`."""

    name: str
    """For the name of a file."""
    svg: str
    description: str
    """For who cannot see it."""
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many as there is room for."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Code:
    """Text to be shown as it is."""

    text: str


@dataclass(frozen=True)
class Folded:
    """What is shown only to who asks for it."""

    title: str
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Section:
    """A part with a title."""

    title: str
    blocks: "tuple[Block, ...]"


Block: TypeAlias = Text | Note | Facts | Tiles | Table | Gallery | Code | Folded | Section


@dataclass(frozen=True)
class Report:
    """The whole page."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    footer: str


def pictures_of(blocks: tuple[Block, ...]) -> list[Picture]:
    """All pictures in these blocks, in order."""
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Gallery):
            found += block.pictures
        elif isinstance(block, Section | Folded):
            found += pictures_of(block.blocks)
    return found
