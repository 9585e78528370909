"""The weights in the authors' checkpoints → weights under our names.

Theirs differ in names, in how projections are fused (one matrix for query, key and value, in the cross-attention too
where both stacks have the same width, and three matrices elsewhere), and in holding shared matrices more than once.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hat.errors import DataError
from hat.importing.torch_file import TorchFile
from hat.importing.unpickle import StoredTensor
from hat.nn import ModelOptions
from hat.space import Architecture

# Buffers without content: a version number, and something that only tells on which device the positions are.
_NO_WEIGHT = re.compile(r"\.(version|_float_tensor)$")


class TheirWeights:
    """The weights of a checkpoint by the authors' names; remembers which were read.

    Args:
        file: the open checkpoint.
        state: its ``model``.

    Raises:
        DataError: if ``state`` holds anything but tensors, or tensors that claim more bytes than the file has.
    """

    def __init__(self, file: TorchFile, state: dict[Any, Any]) -> None:
        self._file = file
        self._stored: dict[str, StoredTensor] = {}
        for name, value in state.items():
            if not isinstance(name, str) or not isinstance(value, StoredTensor):
                raise DataError(f"{file.path}: 'model' must hold tensors by name, holds something else.")
            if not _NO_WEIGHT.search(name):
                self._stored[name] = value
        self._left = set(self._stored)
        # One storage may serve many tensors: together they must not grow beyond the file.
        needed = sum(
            torch.Size(tensor.shape).numel() * tensor.storage.dtype.itemsize for tensor in set(self._stored.values())
        )
        if needed > file.path.stat().st_size:
            raise DataError(f"{file.path}: its weights claim {needed} bytes, more than the file has.")

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def shape(self, name: str, dimensions: int = 2) -> tuple[int, ...]:
        """The shape of a weight, which must have this many dimensions."""
        if name not in self._stored:
            raise DataError(f"{self._file.path}: lacks the weight {name}; is this a checkpoint of the HAT program?")
        shape = self._stored[name].shape
        if len(shape) != dimensions or 0 in shape:
            raise DataError(f"{self._file.path}: {name} must have {dimensions} dimensions, has shape {list(shape)}.")
        return shape

    def read(self, name: str, *shape: int) -> Tensor:
        """A weight in float32; its shape must be this one, its numbers finite."""
        found = self.shape(name, len(shape))
        if found != shape:
            raise DataError(f"{self._file.path}: {name} must have shape {list(shape)}, has {list(found)}.")
        self._left.discard(name)
        weight = self._file.read(self._stored[name]).float()
        if not bool(weight.isfinite().all()):
            raise DataError(f"{self._file.path}: {name} must hold finite numbers, has NaN or infinity.")
        return weight

    def check_same(self, name: str, other: str, weight: Tensor) -> None:
        """Check that ``name`` is the same matrix as ``other``, whose numbers are ``weight``."""
        self._left.discard(name)
        if self._stored.get(name) == self._stored[other]:
            return
        if not torch.equal(self.read(name, *weight.shape), weight):
            raise DataError(f"{self._file.path}: {name} and {other} must be one matrix (args say so), are not.")

    def depth(self, stack: str) -> int:
        """How many layers there are; what lies behind a gap is found as unread."""
        depth = 0
        while f"{stack}.layers.{depth}.fc1.weight" in self:
            depth += 1
        return depth

    def unread(self) -> list[str]:
        """The names of the weights that nobody asked for."""
        return sorted(self._left)


def convert(weights: TheirWeights, sizes: Architecture, options: ModelOptions) -> dict[str, Tensor]:
    """All weights of a SuperTransformer of these sizes, under our names.

    Raises:
        DataError: if a weight is missing, has another shape, or holds NaN or infinity.
    """
    encoder, decoder = sizes.encoder, sizes.decoder
    converted = _embeddings(weights, options, encoder.embed_dim, decoder.embed_dim)
    for index, layer in enumerate(encoder.layers):
        source = _Layer(weights, f"encoder.layers.{index}", sizes.qkv_dim, encoder.embed_dim)
        converted |= source.self_attention() | source.feed_forward(layer.ffn_dim)
    for index, decoder_layer in enumerate(decoder.layers):
        target = _Layer(weights, f"decoder.layers.{index}", sizes.qkv_dim, decoder.embed_dim)
        converted |= target.self_attention() | target.feed_forward(decoder_layer.ffn_dim)
        converted |= target.cross_attention(encoder.embed_dim)
    if options.pre_norm:
        for stack, dim in (("encoder", encoder.embed_dim), ("decoder", decoder.embed_dim)):
            for kind in ("weight", "bias"):
                converted[f"{stack}.final_norm.{kind}"] = weights.read(f"{stack}.layer_norm.{kind}", dim)
    return converted


def _embeddings(weights: TheirWeights, options: ModelOptions, encoder_dim: int, decoder_dim: int) -> dict[str, Tensor]:
    source, target, output = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.embed_out"
    converted = {"source_embedding.weight": weights.read(source, weights.shape(source)[0], encoder_dim)}
    if options.share_embeddings == "all":
        weights.check_same(target, source, converted["source_embedding.weight"])
    else:
        converted["target_embedding.weight"] = weights.read(target, weights.shape(target)[0], decoder_dim)
    if options.share_embeddings == "none":
        converted["output_embedding.weight"] = weights.read(output, weights.shape(target)[0], decoder_dim)
    return converted


@dataclass(frozen=True)
class _Layer:
    """One layer of theirs."""

    weights: TheirWeights
    name: str
    qkv_dim: int
    dim: int

    def self_attention(self) -> dict[str, Tensor]:
        queries, keys_values = self._projections("self_attn", self.dim)
        return {
            f"{self.name}.self_attn.qkv_proj.weight": torch.cat([queries, keys_values]),
            f"{self.name}.self_attn.qkv_proj.bias": self._bias("self_attn"),
            **self._linear("self_attn.out_proj", "self_attn.out_proj", self.qkv_dim, self.dim),
            **self._norm("self_attn_layer_norm", "self_attn_norm"),
        }

    def cross_attention(self, encoder_dim: int) -> dict[str, Tensor]:
        queries, keys_values = self._projections("encoder_attn", encoder_dim)
        bias = self._bias("encoder_attn")
        return {
            f"{self.name}.cross_attn.q_proj.weight": queries,
            f"{self.name}.cross_attn.q_proj.bias": bias[: self.qkv_dim],
            f"{self.name}.cross_attn.kv_proj.weight": keys_values,
            f"{self.name}.cross_attn.kv_proj.bias": bias[self.qkv_dim :],
            **self._linear("encoder_attn.out_proj", "cross_attn.out_proj", self.qkv_dim, self.dim),
            **self._norm("encoder_attn_layer_norm", "cross_attn_norm"),
        }

    def feed_forward(self, ffn_dim: int) -> dict[str, Tensor]:
        return {
            **self._linear("fc1", "ffn.fc1", self.dim, ffn_dim),
            **self._linear("fc2", "ffn.fc2", ffn_dim, self.dim),
            **self._norm("final_layer_norm", "ffn_norm"),
        }

    def _projections(self, attention: str, key_dim: int) -> tuple[Tensor, Tensor]:
        """The matrices of queries (Q, dim) and of keys and values (2Q, key_dim)."""
        name, q = f"{self.name}.{attention}", self.qkv_dim
        if f"{name}.in_proj_weight" in self.weights:
            fused = self.weights.read(f"{name}.in_proj_weight", 3 * q, max(self.dim, key_dim))
            return fused[:q, : self.dim], fused[q:, :key_dim]
        keys, values = (self.weights.read(f"{name}.{side}_proj_weight", q, key_dim) for side in "kv")
        return self.weights.read(f"{name}.q_proj_weight", q, self.dim), torch.cat([keys, values])

    def _bias(self, attention: str) -> Tensor:
        return self.weights.read(f"{self.name}.{attention}.in_proj_bias", 3 * self.qkv_dim)

    def _linear(self, theirs: str, ours: str, width_in: int, width_out: int) -> dict[str, Tensor]:
        return {
            f"{self.name}.{ours}.weight": self.weights.read(f"{self.name}.{theirs}.weight", width_out, width_in),
            f"{self.name}.{ours}.bias": self.weights.read(f"{self.name}.{theirs}.bias", width_out),
        }

    def _norm(self, theirs: str, ours: str) -> dict[str, Tensor]:
        kinds = ("weight", "bias")
        return {
            f"{self.name}.{ours}.{kind}": self.weights.read(f"{self.name}.{theirs}.{kind}", self.dim) for kind in kinds
        }
