"""A model learns to translate: data, training, checkpoints, beam search and BLEU together."""

import json
from pathlib import Path

import pytest
from tiny_task import make_data, sub_settings, write_yaml

from hat.cli.evaluate import main as evaluate
from hat.cli.train_sub import main as train_sub

LAYER = {"ffn_dim": 64, "self_attn_heads": 4}
ARCHITECTURE = {
    "format": "hat.architecture/1",
    "qkv_dim": 32,
    "encoder": {"embed_dim": 32, "layers": [LAYER]},
    "decoder": {"embed_dim": 24, "layers": [LAYER | {"cross_attn_heads": 2, "attended_encoder_layers": 1}]},
}


def test_a_text_is_learnt_by_heart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The 120 training sentences, which are turned around word by word: copying them scores nothing."""
    data = make_data(tmp_path / "task")
    (tmp_path / "architecture.json").write_text(json.dumps(ARCHITECTURE))
    schedule = {"kind": "cosine", "peak": 0.01, "warmup_updates": 50}
    recipe = {"max_updates": 500, "max_tokens": 400, "accumulate": 1, "validate_every": 250, "schedule": schedule}
    settings = sub_settings(data, tmp_path / "sub", tmp_path / "architecture.json", **recipe, checkpoint_every=20)
    settings["model"] = {"share_embeddings": "none", "dropout": 0.0}
    assert train_sub([write_yaml(tmp_path / "sub.yaml", settings)]) == 0
    capsys.readouterr()
    text = [f"{side}={tmp_path / 'task' / f'train.{side}'}" for side in ("source", "target")]
    assert evaluate([str(tmp_path / "sub"), *text, "device=cpu", "threads=1", "decoding.beam=3"]) == 0
    assert json.loads(capsys.readouterr().out)["bleu"]["tokenized"] > 95
