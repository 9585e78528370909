"""Drawings of architectures: what the paper's Figure 12 shows, at one glance: deep or shallow, thin or wide.

Every layer is a block, as wide as its stack's embedding and the higher, the wider its feed-forward network; numbers of
heads are written in, and marked below. Data go upwards, the encoder on the left, the decoder on the right.
Lines lead from the encoder layers to the decoder layers that attend them.

Source: HAT (arXiv:2005.14187), appendix A.2, for the idea; the design is this project's own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hat.artifacts import atomic_path
from hat.errors import ConfigError
from hat.report.theme import check_matplotlib, drawing, light
from hat.report.wording import printable, short
from hat.space import Architecture, DecoderLayerSpec, EncoderLayerSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FORMATS: dict[str, dict[str, None]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What a file may be, and what says when and by what version it was made: the same drawing is the same file."""

# In points.
_WIDEST, _BETWEEN, _MARGIN = 106.0, 50.0, 8.0
_STRIP, _LEAST_FFN, _MOST_FFN, _GAP = 15.0, 14.0, 34.0, 9.0
_BELOW, _TITLE = 62.0, 22.0

_MOST_MARKS = 40
"""More heads than this are only written in: marks would run together."""

_ATTENDED = ("muted", "orange", "pink", "violet", "teal")
"""Colours of the lines from the last encoder layer, the one before it, and so on."""

Layer: TypeAlias = EncoderLayerSpec | DecoderLayerSpec


def draw_architecture(
    architecture: Architecture, path: str | Path, title: str | None = None, beside: Sequence[Architecture] = ()
) -> None:
    """Draw an architecture into a file.

    Args:
        architecture: what to draw.
        path: the file, by its ending SVG, PNG or PDF; written atomically.
        title: written above it; None takes the architecture's short form, an empty text leaves it out.
        beside: architectures of other drawings that this one is to be compared with: all get the same scale and height.

    Raises:
        ConfigError: if the ending is another, the file cannot be written, or matplotlib is not installed.
    """
    path = Path(path)
    metadata = _FORMATS.get(path.suffix.lower())
    if metadata is None:
        raise ConfigError(f"{path}: must end in {', '.join(_FORMATS)}, the formats of a drawing; choose one of them.")
    check_matplotlib()
    with drawing(), atomic_path(path) as temporary:
        figure = architecture_figure(architecture, str(architecture) if title is None else title, beside)
        kind = path.suffix[1:].lower()
        figure.savefig(temporary, format=kind, dpi=200, metadata=metadata, facecolor=light("paper"))


def architecture_figure(architecture: Architecture, title: str = "", beside: Sequence[Architecture] = ()) -> "Figure":
    """The drawing as a figure of matplotlib; arguments as of :func:`draw_architecture`.

    In the SVG, the group of every layer has an id, ``encoder-layer-1`` or ``decoder-layer-1``, and so has every line:
    ``decoder-layer-1-attends-6``, the number being the encoder layer's.
    """
    from matplotlib.figure import Figure

    scale = _Scale([architecture, *beside])
    encoder, decoder = architecture.encoder.layers, architecture.decoder.layers
    width = 2 * _MARGIN + 2 * _WIDEST + _BETWEEN
    top = _BELOW + scale.height + (_TITLE if title else 0) + _MARGIN
    figure = Figure(figsize=(width / 72, top / 72))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, top))
    axes.set_axis_off()
    painter = _Painter(axes, scale)
    left, right = _MARGIN + _WIDEST / 2, width - _MARGIN - _WIDEST / 2
    outputs = painter.stack("encoder", encoder, left, architecture.encoder.embed_dim)
    inputs = painter.stack("decoder", decoder, right, architecture.decoder.embed_dim)
    edges = (
        left + scale.width(architecture.encoder.embed_dim) / 2,
        right - scale.width(architecture.decoder.embed_dim) / 2,
    )
    for number, (layer, end) in enumerate(zip(decoder, inputs, strict=True), 1):
        for back in range(layer.attended_encoder_layers):
            name = f"decoder-layer-{number}-attends-{len(encoder) - back}"
            painter.attention((edges[0], outputs[-1 - back]), (edges[1], end), back, name)
    painter.legend(max(layer.attended_encoder_layers for layer in decoder))
    if title:
        painter.text(_MARGIN, top - _MARGIN - 4, short(printable(title), 46), size=9.5, weight="bold", ha="left")
    return figure


class _Scale:
    """What widths in the network are in the drawing."""

    def __init__(self, architectures: Sequence[Architecture]) -> None:
        stacks = [stack for one in architectures for stack in (one.encoder, one.decoder)]
        self.embed_dim = max(stack.embed_dim for stack in stacks)
        self.ffn_dim = max(layer.ffn_dim for stack in stacks for layer in stack.layers)
        heights = (sum(self.layer_height(layer) + _GAP for layer in stack.layers) - _GAP for stack in stacks)
        self.height = max(heights)

    def width(self, embed_dim: int) -> float:
        return _WIDEST * (embed_dim / self.embed_dim)

    def layer_height(self, layer: Layer) -> float:
        """The attentions' strips, and a part that always holds a line of text: small networks are to be read, too."""
        ffn_height = _LEAST_FFN + (_MOST_FFN - _LEAST_FFN) * (layer.ffn_dim / self.ffn_dim)
        return _STRIP * (2 if isinstance(layer, DecoderLayerSpec) else 1) + ffn_height


class _Painter:
    """Draws the parts."""

    def __init__(self, axes: "Axes", scale: _Scale) -> None:
        self.axes = axes
        self.scale = scale

    def stack(self, name: str, layers: Sequence[Layer], centre: float, embed_dim: int) -> list[float]:
        """Draw a stack; returns where lines begin at encoder layers, or end at decoder layers."""
        places = []
        width, bottom = self.scale.width(embed_dim), _BELOW
        for number, layer in enumerate(layers, 1):
            height = self.scale.layer_height(layer)
            self.attention_strip(centre, bottom, width, layer.self_attn_heads, "self", "blue")
            ffn_bottom = bottom + _STRIP
            places.append(bottom + height - 4)
            if isinstance(layer, DecoderLayerSpec):
                self.attention_strip(centre, ffn_bottom, width, layer.cross_attn_heads, "cross", "orange")
                places[-1] = ffn_bottom + _STRIP / 2
                ffn_bottom += _STRIP
            self.box(centre, ffn_bottom, width, bottom + height - ffn_bottom, "slate-tint")
            self.box(centre, bottom, width, height, None, "muted", gid=f"{name}-layer-{number}")
            self.text(centre, (ffn_bottom + bottom + height) / 2, f"FFN {layer.ffn_dim}")
            if number < len(layers):
                self.line(centre, bottom + height, bottom + height + _GAP)
            bottom += height + _GAP
        self.line(centre, _BELOW - _GAP, _BELOW)
        self.text(centre, _BELOW - _GAP - 6, f"{name} {embed_dim} × {len(layers)}", weight="bold", size=8.5)
        return places

    def attention_strip(self, centre: float, bottom: float, width: float, heads: int, name: str, colour: str) -> None:
        """The part of a layer that is an attention: its heads in words, and marked along the lower edge."""
        self.box(centre, bottom, width, _STRIP, f"{colour}-tint")
        if heads <= _MOST_MARKS:
            mark = width / heads
            for head in range(heads):
                middle = centre - width / 2 + (head + 0.5) * mark
                self.box(middle, bottom + 0.7, mark - min(2.0, 0.3 * mark), 2.0, colour)
        self.text(centre, bottom + _STRIP / 2 + 1, f"{heads} head{'s' if heads > 1 else ''}")

    def attention(self, start: tuple[float, float], end: tuple[float, float], back: int, gid: str) -> None:
        """A line from an encoder layer to a decoder layer that attends it."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path as Curve

        (x0, y0), (x1, y1) = start, end
        bend = (x1 - x0) * 0.55
        curve = Curve([start, (x0 + bend, y0), (x1 - bend, y1), (x1 - 0.5, y1)], [1, 4, 4, 4])
        colour = light(_ATTENDED[min(back, len(_ATTENDED) - 1)])
        arrow = FancyArrowPatch(
            path=curve, arrowstyle="-|>,head_length=3.2,head_width=1.7", color=colour, linewidth=1.0, alpha=0.85
        )
        arrow.set_gid(gid)
        self.axes.add_patch(arrow)

    def legend(self, attended: int) -> None:
        """What the colours mean."""
        x = _MARGIN
        for colour, edge, name in (
            ("blue-tint", "blue", "self-attention"),
            ("orange-tint", "orange", "cross-attention"),
            ("slate-tint", "muted", "feed-forward"),
        ):
            self.box(x + 4, 24, 8, 8, colour, edge)
            self.text(x + 12, 28, name, ha="left", size=7.5, color="muted")
            x += 82
        x = _MARGIN
        few = attended <= 3  # there is room for words
        names = ["last", *(f"{back} before" if few else f"−{back}" for back in range(1, attended))][: len(_ATTENDED)]
        if attended > len(names):
            names[-1] += " …"
        self.text(x, 10, "attends encoder layer:", ha="left", size=7.5, color="muted")
        x += 88
        for back, name in enumerate(names):
            colour = light(_ATTENDED[back])
            self.axes.plot([x, x + 12], [10, 10], color=colour, linewidth=1.4, solid_capstyle="butt")
            self.text(x + 15, 10, name, ha="left", size=7.5, color="muted")
            x += 52 if few and back > 0 else 36

    def box(
        self,
        centre: float,
        bottom: float,
        width: float,
        height: float,
        colour: str | None,
        edge: str | None = None,
        gid: str = "",
    ) -> None:
        """A rectangle: filled, outlined, or both."""
        from matplotlib.patches import Rectangle

        outline: dict[str, Any] = {"linewidth": 0} if edge is None else {"edgecolor": light(edge), "linewidth": 0.9}
        fill = "none" if colour is None else light(colour)
        box = Rectangle((centre - width / 2, bottom), width, height, facecolor=fill, **outline)
        if gid:
            box.set_gid(gid)
        self.axes.add_patch(box)

    def line(self, x: float, bottom: float, top: float) -> None:
        self.axes.plot([x, x], [bottom, top], color=light("muted"), linewidth=1.2, solid_capstyle="butt")

    def text(self, x: float, y: float, text: str, size: float = 8.0, color: str = "ink", **style: Any) -> None:
        style = {"ha": "center", "va": "center_baseline", **style}
        self.axes.text(x, y, text, fontsize=size, color=light(color), **style)
