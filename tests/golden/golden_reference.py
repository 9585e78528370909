"""The authors' golden files as our objects: models through the importer, architectures, re-padded batches."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hat.importing.architecture import ATTENDED_LAYERS
from hat.importing.checkpoint import read_checkpoint
from hat.nn import SuperTransformer
from hat.space import Architecture

CONFIGURATIONS = {"small": 9, "small_asym": 8, "small_prenorm": 8}
"""Golden SuperTransformers and how many SubTransformers of each have outputs."""
CASES = [(name, index) for name, count in CONFIGURATIONS.items() for index in range(count)]


class Golden:
    """One folder of golden outputs."""

    def __init__(self, folder: Path) -> None:
        self.model = _model(next(folder.glob("checkpoint*.pt")))
        self.facts = _facts(folder / "golden.json")
        self._arrays = np.load(folder / "golden.npz")
        self._names = set(self._arrays.files)

    def array(self, name: str) -> Tensor:
        return torch.from_numpy(self._arrays[name])

    def batch(self, prefix: str = "", previous: str = "prev_output_tokens") -> tuple[Tensor, Tensor, Tensor]:
        """Source (padded on the right, as ours is), target shifted right, target."""
        tokens = [self.array(prefix + name).long() for name in ("src_tokens", previous, "target")]
        return right_padded(tokens[0]), tokens[1], tokens[2]

    def architecture(self, index: int) -> Architecture:
        return architecture_of(self.facts["configs"][index]["config"], self.model.sizes.qkv_dim)


@cache
def _model(path: Path) -> SuperTransformer:
    return read_checkpoint(path)


@cache
def _facts(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def right_padded(tokens: Tensor) -> Tensor:
    rows = [row[row.ne(1)] for row in tokens]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)


def architecture_of(config: dict[str, Any], qkv_dim: int) -> Architecture:
    return Architecture.from_dict({"format": "hat.architecture/1", "qkv_dim": qkv_dim, **stacks_of(config)})


def stacks_of(config: dict[str, Any]) -> dict[str, Any]:
    """The two stacks of a configuration; entries of a list beyond the stack's depth say nothing."""
    encoder, decoder = config["encoder"], config["decoder"]
    encoder_layers = [
        {"ffn_dim": ffn_dim, "self_attn_heads": heads}
        for _, ffn_dim, heads in zip(
            range(encoder["encoder_layer_num"]),
            encoder["encoder_ffn_embed_dim"],
            encoder["encoder_self_attention_heads"],
            strict=False,
        )
    ]
    decoder_layers = [
        {
            "ffn_dim": ffn_dim,
            "self_attn_heads": heads,
            "cross_attn_heads": cross_heads,
            "attended_encoder_layers": ATTENDED_LAYERS[attended],
        }
        for _, ffn_dim, heads, cross_heads, attended in zip(
            range(decoder["decoder_layer_num"]),
            decoder["decoder_ffn_embed_dim"],
            decoder["decoder_self_attention_heads"],
            decoder["decoder_ende_attention_heads"],
            decoder["decoder_arbitrary_ende_attn"],
            strict=False,
        )
    ]
    return {
        "encoder": {"embed_dim": encoder["encoder_embed_dim"], "layers": encoder_layers},
        "decoder": {"embed_dim": decoder["decoder_embed_dim"], "layers": decoder_layers},
    }


class NamedArrays:
    """Arrays under the authors' names, for :func:`hat.importing.weights.convert`; one that is missing is all zero."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def shape(self, name: str) -> tuple[int, ...]:
        return self._arrays[name].shape

    def read(self, name: str, *shape: int) -> Tensor:
        if name not in self._arrays:
            return torch.zeros(shape)
        return torch.from_numpy(self._arrays[name]).reshape(shape)

    def check_same(self, name: str, other: str, weight: Tensor) -> None:
        """Shared matrices are listed once."""
