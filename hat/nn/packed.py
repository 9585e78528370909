"""A standalone Transformer as it runs fastest: its matrix products through the best kernel there is for a type.

A decoding step reads every weight once for a handful of rows, so it takes as long as reading them does: what counts is
a layout that is read at the memory's speed, and few bytes. On the CPU that is oneDNN's own layout for float32 and
bfloat16, and int8 weights with the scale of each output.
"""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from hat.errors import ConfigError
from hat.nn.elastic import ElasticLinear
from hat.nn.products import Int8Linear, OneDnnLinear, PackedOutput, PlainLinear, onednn_can
from hat.nn.transformer import SuperTransformer, Transformer

DType = Literal["float32", "bfloat16", "float16", "int8"]

_LEAST_WEIGHTS = 1 << 16
"""A smaller matrix stays as it is: its product is over before the other kernel has begun."""


def pack(net: Transformer, dtype: DType = "float32", device: torch.device | None = None) -> Transformer:
    """A copy for inference: same calls, same results but for rounding; it can be neither trained nor saved.

    Args:
        net: the model; it stays as it is.
        dtype: type of weights and activations. ``int8``: weights are rounded to 255 steps of each row's largest,
            activations to 128 steps of their range (256 on ARM) at every product; all else is float32.

        device: where the copy is to run; None for where the model is.

    Raises:
        ConfigError: if the device cannot compute with that type.
    """
    device = device or next(net.parameters()).device
    if (problem := why_not(dtype, device)) is not None:
        raise ConfigError(f"dtype: {problem}.")
    packed = copy.deepcopy(net).eval().requires_grad_(False)
    packed.to(device, torch.float32 if dtype == "int8" else getattr(torch, dtype))
    output = packed.output_weight(packed.architecture.decoder.embed_dim)
    linear = _packed_linear(output.contiguous(), None, dtype)
    setattr(packed, "output_embedding", PackedOutput(linear))  # noqa: B010 (an embedding, for those who check types)
    for parent in list(packed.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, ElasticLinear):
                setattr(parent, name, _packed_linear(module.weight, module.bias, dtype))
    return packed


def lower_linears(model: SuperTransformer, dtype: torch.dtype) -> SuperTransformer:
    """A copy for evaluation under autocast to ``dtype`` whose linear layers hold their weights in that type already.

    The results are the same, but weights are not converted again for every batch.
    """
    lowered = copy.deepcopy(model).requires_grad_(False)
    for module in lowered.modules():
        if isinstance(module, ElasticLinear):
            module.to(dtype)
    return lowered


def why_not(dtype: DType, device: torch.device) -> str | None:
    """Why this device cannot compute with that type, in words; None when it can."""
    if dtype == "float16" and device.type != "cuda":
        return f"float16 needs a GPU, device is {device}; use float32, bfloat16 or int8"
    if dtype == "int8" and (device.type != "cpu" or not _int8_engines()):
        return f"int8 needs a CPU and a torch with a quantised engine, device is {device}; use float32 or bfloat16"
    return None


def _int8_engines() -> list[str]:
    return [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]


def _packed_linear(weight: Tensor, bias: Tensor | None, dtype: DType) -> nn.Module:
    """The fastest product with these weights."""
    if dtype == "int8":
        return Int8Linear(weight, bias)
    small = weight.numel() < _LEAST_WEIGHTS
    if weight.device.type != "cpu" or small or not onednn_can(weight.dtype):
        return PlainLinear(weight, bias)
    return OneDnnLinear(weight, bias)
