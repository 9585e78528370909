"""The 44 published SubTransformers: our closed forms against the numbers published with them.

Source of the numbers: HAT (arXiv:2005.14187), Table 8, and the models released with the paper; each file under
configs/published/ holds its own.
"""

import json
from pathlib import Path

import pytest

from hat.space import Architecture, SearchSpace
from hat.space.counting import count_multiply_adds, count_parameters

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted((CONFIGS / "published").glob("*.json"))
TASKS = {
    "WMT'14 En-De": ("wmt14_ende", 17, 30, "wmt.yaml", "wmt_latency.yaml"),
    "WMT'14 En-Fr": ("wmt14_enfr", 16, 30, "wmt.yaml", "wmt_latency.yaml"),
    "WMT'19 En-De": ("wmt19_ende", 6, 30, "wmt.yaml", "wmt_latency.yaml"),
    "IWSLT'14 De-En": ("iwslt14_deen", 5, 23, "iwslt14_deen.yaml", "iwslt14_deen_latency.yaml"),
}


def published(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))["found"]["published"]


def test_all_44_are_there() -> None:
    counts = {task: sum(published(path)["task"] == task for path in FILES) for task in TASKS}
    assert counts == {task: values[1] for task, values in TASKS.items()}
    assert len(FILES) == 44


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_counts_agree_with_the_published_ones(path: Path) -> None:
    facts, architecture = published(path), Architecture.from_json(path)
    length = TASKS[facts["task"]][2]
    millions = count_parameters(architecture).without_embeddings / 1e6
    assert round(millions, 2) == facts["params_millions"]
    gflops = 2 * count_multiply_adds(architecture, length, length).without_output / 1e9
    assert gflops == pytest.approx(facts["gflops"], abs=0.01)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_is_a_member_of_its_spaces(path: Path) -> None:
    facts, architecture = published(path), Architecture.from_json(path)
    prefix, _, _, *spaces = TASKS[facts["task"]]
    assert path.stem.startswith(prefix)
    assert path.stem.endswith(f"_{facts['latency']}")
    for name in spaces:
        assert SearchSpace.from_yaml(CONFIGS / "space" / name).why_not(architecture) is None


def test_files_agree_with_the_reference(shared: Path) -> None:
    reference = json.loads((shared / "reference" / "published_architectures.json").read_text(encoding="utf-8"))
    expected = {(entry["task"], entry["hardware"], entry["published"]["latency"]): entry for entry in reference}
    assert len(expected) == 44
    for path in FILES:
        facts = published(path)
        entry = expected.pop((facts.pop("task"), facts.pop("hardware"), facts["latency"]))
        assert facts == entry["published"]
        assert Architecture.from_json(path) == _architecture(entry["architecture"])
    assert not expected


def _architecture(values: dict) -> Architecture:
    encoder = zip(values["encoder_ffn_dim"], values["encoder_self_attention_heads"], strict=True)
    decoder = zip(
        values["decoder_ffn_dim"],
        values["decoder_self_attention_heads"],
        values["decoder_cross_attention_heads"],
        values["decoder_num_encoder_layers_attended"],
        strict=True,
    )
    knobs = ("ffn_dim", "self_attn_heads", "cross_attn_heads", "attended_encoder_layers")
    layers = {
        "encoder": [dict(zip(knobs[:2], layer, strict=True)) for layer in encoder],
        "decoder": [dict(zip(knobs, layer, strict=True)) for layer in decoder],
    }
    assert [len(layers[stack]) for stack in layers] == [values["encoder_layers"], values["decoder_layers"]]
    return Architecture.from_dict(
        {
            "format": "hat.architecture/1",
            "qkv_dim": 512,
            **{stack: {"embed_dim": values[f"{stack}_embed_dim"], "layers": layers[stack]} for stack in layers},
        }
    )
