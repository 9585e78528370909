"""Drawings of architectures: a block for every layer, a line for every layer that is attended, the sizes written in."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from run_folders import SPACE, architectures

from hat.errors import ConfigError
from hat.report.drawing import draw_architecture
from hat.space import Architecture

PUBLISHED = sorted((Path(__file__).parents[2] / "configs/published").glob("*.json"))
SVG = "{http://www.w3.org/2000/svg}"


def drawn(architecture: Architecture, path: Path, *beside: Architecture) -> ElementTree.Element:
    draw_architecture(architecture, path, beside=beside)
    return ElementTree.fromstring(path.read_text(encoding="utf-8"))


def blocks(root: ElementTree.Element) -> dict[str, tuple[float, float]]:
    """Width and height of every layer's block, by its name."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        name = group.get("id", "")
        if re.fullmatch(r"(encoder|decoder)-layer-\d+", name):
            path = next(group.iter(f"{SVG}path")).get("d") or ""
            numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
            xs, ys = numbers[::2], numbers[1::2]
            found[name] = max(xs) - min(xs), max(ys) - min(ys)
    return found


@pytest.mark.parametrize("path", PUBLISHED[::15], ids=lambda path: path.stem)
def test_one_block_a_layer_and_one_line_an_attended_layer(path: Path, tmp_path: Path) -> None:
    architecture = Architecture.from_json(path)
    root = drawn(architecture, tmp_path / "a.svg")
    names = {f"encoder-layer-{number}" for number in range(1, len(architecture.encoder.layers) + 1)}
    names |= {f"decoder-layer-{number}" for number in range(1, len(architecture.decoder.layers) + 1)}
    assert set(blocks(root)) == names
    lines = {group.get("id", "") for group in root.iter(f"{SVG}g") if "-attends-" in group.get("id", "")}
    depth = len(architecture.encoder.layers)
    assert lines == {
        f"decoder-layer-{number}-attends-{depth - back}"
        for number, layer in enumerate(architecture.decoder.layers, 1)
        for back in range(layer.attended_encoder_layers)
    }
    texts = [element.text for element in root.iter(f"{SVG}text")]
    layers = [*architecture.encoder.layers, *architecture.decoder.layers]
    assert sorted(text for text in texts if text and text.startswith("FFN")) == sorted(
        f"FFN {layer.ffn_dim}" for layer in layers
    )
    heads = [layer.self_attn_heads for layer in layers] + [
        layer.cross_attn_heads for layer in architecture.decoder.layers
    ]
    assert sorted(text for text in texts if text and text.endswith("heads")) == sorted(f"{n} heads" for n in heads)
    assert str(architecture) in texts


def test_blocks_are_as_wide_as_embeddings_and_higher_for_wider_ffns(tmp_path: Path) -> None:
    architecture = architectures(1)[0]
    values = architecture.to_dict()
    values["encoder"] = {"embed_dim": 128, "layers": [{"ffn_dim": n, "self_attn_heads": 2} for n in (128, 192, 256)]}
    values["decoder"]["embed_dim"] = 64
    sizes = blocks(drawn(Architecture.from_dict(values), tmp_path / "a.svg"))
    assert sizes["encoder-layer-1"][0] == pytest.approx(2 * sizes["decoder-layer-1"][0], rel=1e-3)
    heights = [sizes[f"encoder-layer-{number}"][1] for number in (1, 2, 3)]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], rel=1e-2)
    assert heights[0] < heights[1]


def test_drawings_beside_each_other_have_one_scale(tmp_path: Path) -> None:
    small, large = SPACE.smallest(), SPACE.largest()
    together = [drawn(small, tmp_path / "a.svg", large), drawn(large, tmp_path / "b.svg", small)]
    assert together[0].get("viewBox") == together[1].get("viewBox")
    widths = [blocks(root)["encoder-layer-1"][0] for root in together]
    assert widths[1] == pytest.approx(widths[0] * large.encoder.embed_dim / small.encoder.embed_dim, rel=1e-3)


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".SVG", b"<?xml")])
def test_formats_by_the_ending_and_always_the_same_file(ending: str, start: bytes, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{ending}" for name in "ab"]
    for path in paths:
        draw_architecture(SPACE.smallest(), path, title="$ <b> _")
    assert paths[0].read_bytes().startswith(start)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.txt: must end in \.svg, \.png, \.pdf"):
        draw_architecture(SPACE.smallest(), tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []
