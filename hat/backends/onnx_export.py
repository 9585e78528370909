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
    source, position = Dim("source", min=2, max=LONGEST), Dim("position", min=2, max=LONGEST - 1)
    # What is computed from an example of these sizes is the same for all others, also for those below the minimum.
    tokens = torch.full((2, 3), 3)
    _export(EncoderGraph(net), (tokens,), folder / ENCODER_FILE, ({0: batch, 1: source},), ["source"], memory_names)

    attended = [layer.attended_encoder_layers for layer in layers]
    memories = [
        torch.zeros((2, 1, 1, 3 * number) if part == "bias" else (2, 3 * number, net.architecture.qkv_dim))
        for number in attended
        for part in MEMORY_PARTS
    ]
    caches = [torch.zeros(2, 4, 5, net.architecture.qkv_dim) for _ in cache_names]
    seen = {number: Dim(f"attended_{number}", min=2, max=number * LONGEST) for number in set(attended)}
    memory_dims = [{0: batch, 3 if part == "bias" else 1: seen[number]} for number in attended for part in MEMORY_PARTS]
    dims = ({0: batch, 1: beam}, memory_dims, [{0: batch, 1: beam, 2: position}] * len(caches))
    inputs = ["tokens", *memory_names, *(f"past_{name}" for name in cache_names)]
    outputs = ["logits", *(f"present_{name}" for name in cache_names)]
    example = (torch.full((2, 4), 3), memories, caches)
    _export(StepGraph(net), example, folder / STEP_FILE, dims, inputs, outputs)


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
