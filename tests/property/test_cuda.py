"""A GPU gives what the CPU gives: logits, beams, training, and training that is continued."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from random_models import random_batch, random_model
from safetensors.torch import load_file
from tiny_task import ARCHITECTURE, make_data, sub_settings, super_settings, write_yaml

from hat import Transformer
from hat.cli.train_sub import main as train_sub
from hat.cli.train_super import main as train_super
from hat.decoding import BeamOptions, beam_search
from hat.nn.packed import DType, pack

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("task"))


@pytest.mark.parametrize("seed", range(20))
def test_logits_and_beams_are_those_of_the_cpu(seed: int) -> None:
    model, rng = random_model(seed)
    architecture = model.space.sample(rng)
    net = model.extract(architecture)
    source, target_in = random_batch(rng, model, 5)
    on_gpu = model.cuda().extract(architecture)
    with torch.inference_mode():
        logits = on_gpu(source.cuda(), target_in.cuda()).cpu()
        found = beam_search(on_gpu, source.cuda(), BeamOptions(beam=4, max_length_ratio=0, max_length_offset=8))
        net = net.cpu()
        expected = net(source, target_in)
        wanted = beam_search(net, source, BeamOptions(beam=4, max_length_ratio=0, max_length_offset=8))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert [[h.tokens for h in sentence] for sentence in found] == [[h.tokens for h in sentence] for sentence in wanted]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("seed", range(5))
def test_packed_searches_run_in_every_type(seed: int, dtype: DType) -> None:
    """In float32 they find what the CPU finds; in fewer bits, translations of every sentence."""
    model, rng = random_model(seed)
    net = model.extract(model.space.sample(rng))
    source = random_batch(rng, model, 5)[0]
    options = BeamOptions(beam=4, max_length_ratio=0, max_length_offset=8)
    found = beam_search(pack(net, dtype, torch.device("cuda")), source.cuda(), options)
    assert all(found) and len(found) == 5
    if dtype == "float32":
        wanted = beam_search(net, source, options)
        tokens = [[[h.tokens for h in sentence] for sentence in side] for side in (found, wanted)]
        assert tokens[0] == tokens[1]


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_it_learns_in_every_precision(data: Path, tmp_path: Path, precision: str) -> None:
    changes = {"device": "cuda", "precision": precision, "max_updates": 150, "validate_every": 150, "final": "last"}
    losses = {}
    for name, updates in (("before", 1), ("after", 150)):
        settings = super_settings(data, tmp_path / name, **{**changes, "max_updates": updates})
        assert train_super([write_yaml(tmp_path / f"{name}.yaml", settings)]) == 0
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses[name] = next(json.loads(line) for line in lines if '"final"' in line)["largest"]["loss"]
    assert losses["after"] < losses["before"] - 0.3


def test_a_continued_training_is_the_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    architecture = tmp_path / "architecture.json"
    architecture.write_text(json.dumps(ARCHITECTURE))
    changes = {"device": "cuda", "final": "last", "max_updates": 12, "checkpoint_every": 6, "validate_every": 6}
    whole = sub_settings(data, tmp_path / "whole", architecture, **changes)
    half = sub_settings(data, tmp_path / "half", architecture, **{**changes, "max_updates": 6})
    assert train_sub([write_yaml(tmp_path / "whole.yaml", whole)]) == 0
    assert train_sub([write_yaml(tmp_path / "half.yaml", half)]) == 0
    assert train_sub([write_yaml(tmp_path / "half.yaml", half), "training.max_updates=12"]) == 0
    expected = weights(tmp_path / "whole")
    for name, value in weights(tmp_path / "half").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert Transformer.from_pretrained(tmp_path / "half").training is False
