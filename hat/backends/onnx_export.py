"""A network as two ONNX models: the encoder and one decoder step, with every length a variable."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from hat.backends.graphs import CACHE_PARTS, MEMORY_PARTS, EncoderGraph, StepGraph
from hat.nn import Transformer
from hat.nn.elastic import SinusoidalPositions

ENCODER_FILE, STEP_FILE = "encoder.onnx", "step.onnx"
LONGEST = SinusoidalPositions.TABLE_LENGTH
"""Positions of the exported tables: no source or translation may be longer."""

_MOST_ROWS = 1 << 20  # of a batch, or of a beam: the exporter wants a bound


def export_onnx(net: Transformer, folder: Path) -> None:
    """Write ``encoder.onnx`` and ``step.onnx``: the functions of :class:`EncoderGraph` and :class:`StepGraph`.

    Args:
        net: the network, in evaluation mode, on the CPU.
        folder: where they go; it exists.
    """
    layers = net.architecture.decoder.layers
    memory_names = [f"memory_{part}_{i}" for i in range(len(layers)) for part in MEMORY_PARTS]
    cache_names = [f"{part}_{i}" for i in range(len(layers)) for part in CACHE_PARTS]
    batch, beam = Dim("batch", min=2, max=_MOST_ROWS), Dim("beam", min=2, max=_MOST_ROWS)
    source = Dim("source", min=2, max=LONGEST)
    # What is computed from an example of these sizes is the same for all others, also for those below the minimum.
    tokens = torch.full((2, 3), 3)
    _export(EncoderGraph(net), (tokens,), folder / ENCODER_FILE, ({0: batch, 1: source},), ["source"], memory_names)

    attended = [layer.attended_encoder_layers for layer in layers]
    seen = {number: Dim(f"attended_{number}", min=2, max=number * LONGEST) for number in set(attended)}
    memories, memory_dims = [], []
    for number, layer in zip(attended, layers, strict=True):
        for part in MEMORY_PARTS:
            bias = part == "bias"
            memories.append(
                torch.zeros((2, 1, 1, 3 * number) if bias else _heads(net, layer.cross_attn_heads, 3 * number))
            )
            memory_dims.append({0: batch, 3 if bias else 2: seen[number]})
    entries = Dim("entries", min=2, max=_MOST_ROWS)
    caches = [torch.zeros(_heads(net, layer.self_attn_heads, 20)) for layer in layers for _ in CACHE_PARTS]
    dims: tuple[Any, ...] = (
        {0: batch, 1: beam}, {}, {0: batch, 2: beam, 3: entries}, memory_dims, [{0: batch, 2: entries}] * len(caches)
    )  # fmt: skip
    inputs = ["tokens", "positions", "past", *memory_names, *(f"past_{name}" for name in cache_names)]
    outputs = ["logits", *(f"present_{name}" for name in cache_names)]
    positions = torch.zeros(1, net.architecture.decoder.embed_dim)
    example = (torch.full((2, 4), 3), positions, torch.zeros(2, 1, 4, 20), memories, caches)
    _export(StepGraph(net), example, folder / STEP_FILE, dims, inputs, outputs)


def _heads(net: Transformer, heads: int, length: int) -> tuple[int, ...]:
    """The shape of keys or values of two sentences."""
    return 2, heads, length, net.architecture.qkv_dim // heads


def _export(
    graph: nn.Module,
    example: tuple[Tensor | list[Tensor], ...],
    path: Path,
    dims: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    with quiet(), torch.inference_mode(False), torch.no_grad():
        torch.onnx.export(
            graph, example, path, input_names=inputs, output_names=outputs, dynamic_shapes=dims, dynamo=True,
            external_data=False, verbose=False,
        )  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what exporter and quantiser say about themselves: deprecations, and packages they could have used."""
    root, log = logging.getLogger(), logging.getLogger("torch.onnx")
    level, handler = log.level, logging.NullHandler()
    log.setLevel(logging.ERROR)
    root.addHandler(handler)  # without any, what the quantiser says would install one that prints everything twice
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
        log.setLevel(level)
