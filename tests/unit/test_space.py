"""Search spaces and architectures: what files may say, and what is said to those who wrote something else."""

import copy
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hat.artifacts import read_json
from hat.config import validate
from hat.errors import ConfigError, DataError
from hat.space import Architecture, SearchSpace
from hat.space.encoding import architecture_of, gene_of

SPACES = Path(__file__).parents[2] / "configs" / "space"
BASE: dict[str, Any] = {
    "qkv_dim": 12,
    "encoder": {"embed_dim": [8, 10], "num_layers": [2, 3], "ffn_dim": [4, 6], "self_attn_heads": [2, 3]},
    "decoder": {
        "embed_dim": [6], "num_layers": [1, 2], "ffn_dim": [4], "self_attn_heads": [2], "cross_attn_heads": [1, 4],
        "attended_encoder_layers": [1, 3],
    },
}  # fmt: skip


def changed(key: str, value: Any) -> dict[str, Any]:
    """BASE with one dotted key set."""
    values = copy.deepcopy(BASE)
    section = values
    *parents, last = key.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return values


def space(key: str = "qkv_dim", value: Any = 12) -> SearchSpace:
    return validate(SearchSpace, changed(key, value), where="space.yaml")


@pytest.mark.parametrize(
    "value", [[], 0, [0], [-4], ["4"], "4", [4.0], [True], True, None, {}, [[]], [4, 4], [[4], [4, 4]]]
)
@pytest.mark.parametrize("key", ["encoder.ffn_dim", "decoder.ffn_dim"])
def test_layer_choices_are_different_whole_numbers(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^space.yaml: {key}: must hold whole numbers above 0, each once, .*, is "):
        space(key, value)


@pytest.mark.parametrize("value", [[], 0, [0], [-4], ["4"], [4.0], [True], None, [[4]], [4, 4]])
@pytest.mark.parametrize("key", ["encoder.embed_dim", "decoder.num_layers"])
def test_stack_choices_are_different_whole_numbers(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^space.yaml: {key}: must hold whole numbers above 0, each once"):
        space(key, value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("qkv_dim", 0, "qkv_dim: must be greater than 0, is 0"),
        ("qkv_dim", "12", "qkv_dim: must be a whole number, is '12'"),
        ("qkv_dim", [12], r"qkv_dim: must be a whole number, is \[12\]"),
        ("encoder.self_attn_heads", [2, 5], r"encoder.self_attn_heads must divide qkv_dim \(12\), is 5"),
        ("decoder.cross_attn_heads", [[1], [7]], r"decoder.cross_attn_heads must divide qkv_dim \(12\), is 7"),
        ("encoder.ffn_dim", [[4], [4]], "encoder.ffn_dim must have one list for each of the 3 layers, has 2"),
        ("decoder.attended_encoder_layers", [3], r"must offer a choice of at most 2, .* layer 0 offers \[3\]"),
        ("decoder.attended_encoder_layers", [[1], [3]], r"must offer a choice of at most 2, .* layer 1 offers \[3\]"),
        ("encoder.embed_dims", [8], "encoder.embed_dims: no such setting. Did you mean 'embed_dim'?"),
        ("encoder.attended_encoder_layers", [1], "encoder.attended_encoder_layers: no such setting. Known: embed_dim,"),
        ("maximum.encoder.embed_dim", 9, r"maximum.encoder.embed_dim must be at least the largest choice \(10\), is 9"),
        ("maximum.decoder.num_layers", 1, r"maximum.decoder.num_layers must be at least .* \(2\), is 1"),
        ("maximum.encoder.ffn_dim", 5, r"maximum.encoder.ffn_dim must be at least the largest choice \(6\), is 5"),
        ("maximum.encoder.ffn_dim", 6.5, "maximum.encoder.ffn_dim: must be a whole number, is 6.5"),
        ("maximum", None, "maximum: must be a section of 'key: value' lines, is null"),
        ("decoder", 3, "decoder: must be a section of 'key: value' lines, is 3"),
    ],
)  # fmt: skip
def test_broken_rules_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^space.yaml: .*{message}"):
        space(key, value)


def test_every_broken_rule_is_named_at_once() -> None:
    values = changed("encoder.ffn_dim", [0])
    del values["decoder"]["embed_dim"]
    with pytest.raises(ConfigError, match=r"encoder.ffn_dim: .*; decoder.embed_dim: is required and has no value$"):
        validate(SearchSpace, values, where="space.yaml")


def test_a_single_number_is_a_single_choice() -> None:
    assert space("decoder.embed_dim", 6) == space("decoder.embed_dim", [6]) == space()
    assert space("decoder.ffn_dim", [4, [5, 6]]) == space("decoder.ffn_dim", [[4], [5, 6]])


def test_a_list_per_layer_binds_each_layer_to_its_own() -> None:
    one = space("encoder.ffn_dim", [[4], [6], [5, 7]])
    sampled = [one.sample(random.Random(seed)).encoder.layers for seed in range(50)]
    assert {layers[0].ffn_dim for layers in sampled} == {4}
    assert {layers[1].ffn_dim for layers in sampled} == {6}
    assert {layers[2].ffn_dim for layers in sampled if len(layers) > 2} == {5, 7}
    swapped = one.smallest().to_dict()
    swapped["encoder"]["layers"].reverse()
    assert one.why_not(Architecture.from_dict(swapped)) == "encoder.layers.0.ffn_dim must be one of [4], is 6"


def test_size_in_closed_form() -> None:
    # Encoder layers: 2 widths x 2 heads = 4. Decoder layers: 2 heads x attended (1 choice at depth 2, 2 at depth 3).
    assert space().size() == 2 * (4**2 * (2 + 2**2) + 4**3 * (4 + 4**2))


def test_attended_layers_beyond_the_encoder_are_no_members() -> None:
    for seed in range(200):
        architecture = space().sample(random.Random(seed))
        attended = [layer.attended_encoder_layers for layer in architecture.decoder.layers]
        assert max(attended) <= len(architecture.encoder.layers)
    gene = (8, 6, 2, 1, *(4, 2) * 3, *(4, 2, 1, 3), *(4, 2, 1, 3))
    assert architecture_of(space(), gene).decoder.layers[0].attended_encoder_layers == 1


def test_other_networks_are_no_members() -> None:
    smallest = space().smallest()
    assert smallest in space()
    assert "smallest" not in space()
    assert space("qkv_dim", 24).why_not(smallest) == "qkv_dim must be 24, is 12"
    assert space("encoder.num_layers", [3]).why_not(smallest) == "encoder must have [3] layers, has 2"
    assert space("encoder.embed_dim", [9]).why_not(smallest) == "encoder.embed_dim must be one of [9], is 8"


def test_the_super_transformer_may_be_larger_than_every_choice() -> None:
    maximum = {"encoder": {"embed_dim": 32, "num_layers": 5, "ffn_dim": 9}, "decoder": {"num_layers": 3}}
    large = space("maximum", maximum)
    sizes = large.super_architecture()
    assert sizes.encoder.embed_dim == 32
    assert [layer.ffn_dim for layer in sizes.encoder.layers] == [9] * 5
    assert sizes.decoder.embed_dim == 6
    assert [layer.ffn_dim for layer in sizes.decoder.layers] == [4] * 3
    assert large.largest() == space().largest() == space().super_architecture()
    assert large.size() == space().size()


@pytest.mark.parametrize(
    ("gene", "message"),
    [
        ((8, 6, 2, 1), "must have 18 values, has 4"),
        ((8, 6, 2, 1, *(4, 2) * 3, *(4, 2, 1, 1), *(4, 2, 1, 2)), r"gene value 17 must be one of \[1, 3\], is 2"),
        ((9, 6, 2, 1, *(4, 2) * 3, *(4, 2, 1, 1) * 2), r"gene value 0 must be one of \[8, 10\], is 9"),
    ],
)
def test_genes_that_do_not_fit_are_refused(gene: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        architecture_of(space(), gene)


def test_only_members_have_a_gene() -> None:
    with pytest.raises(ValueError, match=r"not in this space: encoder.embed_dim must be one of \[9\], is 8"):
        gene_of(space("encoder.embed_dim", [9]), space().smallest())


def broken(change: Any) -> dict[str, Any]:
    values = json.loads(json.dumps(space().largest().to_dict()))
    change(values)
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("format"), '"format" must be "hat.architecture/1", is null'),
        (lambda a: a.update(format="hat.architecture/2"), 'must be "hat.architecture/1", is \'hat.architecture/2\''),
        (lambda a: a.pop("decoder"), "decoder: is required and has no value"),
        (lambda a: a.update(layers=3), "layers: no such setting. Known: decoder, encoder, qkv_dim"),
        (lambda a: a["encoder"].update(layers=[]), r"encoder.layers: must hold 1 or more items, is \[\]"),
        (lambda a: a["encoder"].update(layers={}), r"encoder.layers: must be a list, is {}"),
        (lambda a: a["encoder"].update(embed_dim="8"), "encoder.embed_dim: must be a whole number, is '8'"),
        (lambda a: a["encoder"]["layers"].append(4), "encoder.layers.3: must be a section"),
        (lambda a: a["encoder"]["layers"][1].update(ffn_dim=4.0), "encoder.layers.1.ffn_dim: must be a whole number"),
        (lambda a: a["encoder"]["layers"][1].update(ffn_dim=True), "ffn_dim: must be a whole number, is true"),
        (lambda a: a["encoder"]["layers"][1].update(ffn_dim=0), "encoder.layers.1.ffn_dim: must be greater than 0"),
        (lambda a: a["encoder"]["layers"][1].update(ffn=4), "layers.1.ffn: no such setting. Did you mean 'ffn_dim'"),
        (lambda a: a["decoder"]["layers"][0].update(cross_attn_heads=5), r"must divide qkv_dim \(12\), is 5"),
        (lambda a: a["decoder"]["layers"][1].update(attended_encoder_layers=4),
         r"decoder.layers.1.attended_encoder_layers must be at most the number of encoder layers \(3\), is 4"),
    ],
)  # fmt: skip
def test_a_wrong_architecture_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^a.json: .*{message}"):
        Architecture.from_dict(broken(change), where="a.json")


@pytest.mark.parametrize("value", [None, [], "enc 8x2", 3])
def test_an_architecture_is_an_object(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^a.json: must be an architecture \(a JSON object\), is "):
        Architecture.from_dict(value, where="a.json")


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_truncated_architecture_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "architecture.json"
    space().largest().to_json(path)
    path.write_text(path.read_text(encoding="utf-8")[:cut], encoding="utf-8")
    with pytest.raises(DataError, match=r"architecture.json: must be an architecture \(JSON\), is "):
        Architecture.from_json(path)


def test_an_architecture_file_keeps_all_and_found_is_for_people(tmp_path: Path) -> None:
    path, architecture = tmp_path / "architecture.json", space().largest()
    architecture.to_json(path, found={"latency_limit_ms": 200.0})
    assert Architecture.from_json(path) == architecture
    assert read_json(path, "x")["found"] == {"latency_limit_ms": 200.0}
    assert list(read_json(path, "x")) == ["format", "qkv_dim", "encoder", "decoder", "found"]
    Architecture.from_json(path).to_json(path)
    assert "found" not in read_json(path, "x")


def test_an_architecture_is_a_value() -> None:
    architecture = space().largest()
    with pytest.raises(ValueError, match="frozen"):
        architecture.encoder.embed_dim = 3
    assert len({architecture, space().largest(), space().smallest()}) == 2
    assert str(architecture) == "enc 10x3 dec 6x2"


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_spaces_have_the_size_they_name(path: Path) -> None:
    named = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# SubTransformers: ")]
    assert named == [f"# SubTransformers: {SearchSpace.from_yaml(path).size():,}."]


def test_the_papers_spaces() -> None:
    layers, decoder_layers = (3 * 2) ** 6, sum((3 * 2 * 2 * 3) ** depth for depth in range(1, 7))
    for name in ("wmt", "iwslt14_deen"):  # "around 10^15 possible SubTransformers" (HAT, section 3.3)
        assert SearchSpace.from_yaml(SPACES / f"{name}.yaml").size() == 4 * layers * decoder_layers
        narrow, wide = (SearchSpace.from_yaml(SPACES / f"{name}{suffix}.yaml") for suffix in ("", "_latency"))
        assert narrow.largest() in wide
        assert narrow.smallest() in wide
        assert all(narrow.sample(random.Random(seed)) in wide for seed in range(50))
        assert wide.size() > narrow.size()


def test_multi30k_holds_the_tiny_transformer() -> None:
    encoder_layer = {"ffn_dim": 256, "self_attn_heads": 4}
    tiny = {
        "format": "hat.architecture/1",
        "qkv_dim": 128,
        "encoder": {"embed_dim": 128, "layers": [encoder_layer] * 4},
        "decoder": {
            "embed_dim": 128,
            "layers": [{**encoder_layer, "cross_attn_heads": 4, "attended_encoder_layers": 1}] * 4,
        },
    }
    assert SearchSpace.from_yaml(SPACES / "multi30k.yaml").why_not(Architecture.from_dict(tiny)) is None


@pytest.mark.parametrize("module", ["hat", "hat.space", "hat.space.encoding", "hat.space.counting", "hat.cli.count"])
def test_spaces_need_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
