"""Colours for light and dark, and how a picture of matplotlib becomes SVG that follows them."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hat.errors import ConfigError
from hat.report.document import Picture
from hat.report.wording import printable, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "paper": ("#ffffff", "#15181e"),
    "panel": ("#f6f7f9", "#1d2129"),
    "ink": ("#1c212b", "#e6e9ef"),
    "muted": ("#5c6675", "#9aa5b5"),
    "line": ("#dfe3e9", "#343b47"),
    "blue": ("#2459c4", "#7aa7ff"),
    "orange": ("#c25e00", "#ffab4c"),
    "teal": ("#00806f", "#41d0b9"),
    "pink": ("#b3246e", "#ff86bd"),
    "violet": ("#6a3fc0", "#b79bff"),
    "olive": ("#5f7410", "#b9cf58"),
    "blue-tint": ("#d5e2fa", "#233b66"),
    "orange-tint": ("#fbe1c6", "#5a3a16"),
    "slate-tint": ("#e3e7ee", "#323a48"),
}
"""Name → colour on a light and on a dark page. In the pictures of a page, every light one becomes a variable."""

SERIES = ("blue", "orange", "teal", "pink", "violet", "olive")
"""The colours of several things in one picture, in their order."""

_DRAWN_AS = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.03,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: small, and found by a search in the page
    "svg.hashsalt": "hat",  # the same picture is the same file
    "text.parse_math": False,  # a dollar in the name of a folder is no formula
}
_COLOURED = {
    "text.color": "ink",
    "axes.labelcolor": "muted",
    "axes.edgecolor": "line",
    "xtick.color": "line",
    "ytick.color": "line",
    "xtick.labelcolor": "muted",
    "ytick.labelcolor": "muted",
    "grid.color": "line",
}


def light(name: str) -> str:
    """The colour of this name, as it is drawn."""
    return COLOURS[name][0]


def series_colour(index: int) -> str:
    """The colour of the ``index``-th thing in a picture, as it is drawn."""
    return light(SERIES[index % len(SERIES)])


def check_matplotlib() -> None:
    """Raise ConfigError if matplotlib, which draws all pictures, is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ConfigError(
            "a report needs the package matplotlib, which is not installed; pip install matplotlib."
        ) from None


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw in the colours and sizes of a report inside the block."""
    import matplotlib

    settings: dict[Any, Any] = _DRAWN_AS | {name: light(colour) for name, colour in _COLOURED.items()}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The page's own fonts show what matplotlib's has not; it only leaves room for it.
        warnings.filterwarnings("ignore", message=r"(?s).*Glyph \d+ .* missing from")
        yield


def chart(
    name: str,
    title: str,
    description: str,
    draw: Callable[["Axes"], None],
    caption: str = "",
    size: tuple[float, float] = (3.9, 2.9),
) -> Picture:
    """A picture with one pair of axes.

    Args:
        name: for the name of its file.
        title: written above it.
        description: what it shows, for who cannot see it.
        draw: draws into the axes.
        caption: what one should know to read it.
        size: width and height in inches: small enough for a phone.
    """
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=size)
        axes = figure.subplots()
        axes.set_title(printable(title))
        draw(axes)
        return Picture(name, svg_of(figure), description, caption)


def label(text: str) -> str:
    """``text`` as the label of something in a picture; matplotlib leaves out what begins with an underscore."""
    text = short(printable(text))
    return f"\u200b{text}" if text.startswith("_") else text


def svg_of(figure: "Figure") -> str:
    """The ``<svg>`` element of a figure, without anything that points outside, in the colours of a light page."""
    content = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(content, format="svg", metadata=nothing)
    svg = content.getvalue()
    return _POINTS.sub(_with_one_style, svg[svg.index("<svg") :].strip())


_POINTS = re.compile(r"<g( clip-path=\"[^\"]*\")>((?:\s*<use [^>]*/>)+)\s*</g>")
_POINT_STYLE = re.compile(r" (style=\"[^\"]*\")/>")


def _with_one_style(points: re.Match[str]) -> str:
    """A group of points without the style that matplotlib repeats at each of them, if they have only one."""
    styles = set(_POINT_STYLE.findall(points[2]))
    if len(styles) != 1:
        return points[0]
    return f"<g{points[1]} {styles.pop()}>{_POINT_STYLE.sub('/>', points[2])}</g>"


def inline(svg: str, prefix: str) -> str:
    """``svg`` for a place in a page: colours become the page's, ids are told apart by ``prefix``."""
    names = {colour: name for name, (colour, _) in COLOURS.items()}

    def variable(match: re.Match[str]) -> str:
        return f"{match[1]}: var(--{names[match[2]]})" if match[2] in names else match[0]

    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", variable, svg)
    svg = re.sub(r"\sid=\"", f' id="{prefix}-', svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{prefix}-", svg)
    svg = re.sub(r"\sxmlns(:xlink)?=\"[^\"]*\"", "", svg)  # a page needs no namespaces
    # The page's stylesheet chooses the font; what matplotlib lists for every word is most of a picture's size.
    svg = re.sub(r"; font-family: [^;\"]*", "", svg)
    return re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)


def standalone(svg: str) -> str:
    """``svg`` as a file of its own, on a light ground."""
    end = svg.index(">") + 1
    ground = f'<rect width="100%" height="100%" fill="{light("paper")}"/>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:end]}{ground}{svg[end:]}\n'
