"""A standalone Transformer as it runs fastest: its matrix products through the best kernel there is for a type.

A decoding step reads every weight once for a handful of rows, so it takes as long as reading them does: what counts is
a layout that is read at the memory's speed, and few bytes. On the CPU that is oneDNN's own layout for float32 and
bfloat16, and int8 weights with the scale of each output.
"""

import copy
import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hat.errors import ConfigError
from hat.nn.elastic import ElasticLinear
from hat.nn.transformer import Transformer

DType = Literal["float32", "bfloat16", "float16", "int8"]

_LEAST_WEIGHTS = 1 << 16
"""A smaller matrix stays as it is: its product is over before the other kernel has begun."""


def pack(net: Transformer, dtype: DType = "float32") -> Transformer:
    """A copy for inference: same calls, same results but for rounding; it can be neither trained nor saved.

    Args:
        net: the model, on the device where it is to run; it stays as it is.
        dtype: type of weights and activations. ``int8``: weights are rounded to 255 steps of each row's largest,
            activations to 128 steps of their range (256 on ARM) at every product; all else is float32.

    Raises:
        ConfigError: if the device cannot compute with that type.
    """
    device = next(net.parameters()).device
    if (problem := why_not(dtype, device)) is not None:
        raise ConfigError(f"dtype: {problem}.")
    packed = copy.deepcopy(net).eval().requires_grad_(False)
    packed.to(torch.float32 if dtype == "int8" else getattr(torch, dtype))
    output = packed.output_weight(packed.architecture.decoder.embed_dim)
    linear = _packed_linear(output.contiguous(), None, dtype)
    setattr(packed, "output_embedding", _PackedOutput(linear))  # noqa: B010 (an embedding, for those who check types)
    for parent in list(packed.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, ElasticLinear):
                setattr(parent, name, _packed_linear(module.weight, module.bias, dtype))
    return packed


def why_not(dtype: DType, device: torch.device) -> str | None:
    """Why this device cannot compute with that type, in words; None when it can."""
    if dtype == "float16" and device.type != "cuda":
        return f"float16 needs a GPU, device is {device}; use float32, bfloat16 or int8"
    if dtype == "int8" and (device.type != "cpu" or not _int8_engines()):
        return f"int8 needs a CPU and a torch with a quantised engine, device is {device}; use float32 or bfloat16"
    return None


def _int8_engines() -> list[str]:
    return [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]


class _PackedOutput(nn.Module):
    """The output projection; stands where the embedding's ``logits`` is called."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def logits(self, x: Tensor) -> Tensor:
        """Score every token: (..., dim) → (..., V)."""
        return self.linear(x, -1)


class _PlainLinear(nn.Module):
    """torch's own product."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return functional.linear(x, self.weight, self.bias)


class _OneDnnLinear(nn.Module):
    """Weights in oneDNN's layout: two to three times as fast as torch's default for a few rows, on some processors."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS), bias

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class _Int8Linear(nn.Module):
    """Weights of 8 bits with a scale for each output, activations quantised at every call."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        weight = weight.detach()
        scale = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny * 127) / 127
        zero = torch.zeros(len(scale), dtype=torch.int64)
        with warnings.catch_warnings():  # torch means to replace this way of making such tensors, not their product
            warnings.filterwarnings("ignore", ".*quantize_per_channel", UserWarning)
            quantized = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(quantized, None if bias is None else bias.detach())
        # Without 8-bit products of their own, x86 processors add up two in 16 bits: 7 bits of activations always fit.
        self.reduce_range = torch.backends.quantized.engine != "qnnpack"

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return torch.ops.quantized.linear_dynamic(x, self.packed, self.reduce_range)


_ROWS = 4  # about as many rows as a step has; oneDNN chooses its layout by them


def _packed_linear(weight: Tensor, bias: Tensor | None, dtype: DType) -> nn.Module:
    """The fastest product with these weights."""
    if dtype == "int8":
        return _Int8Linear(weight, bias)
    small = weight.numel() < _LEAST_WEIGHTS
    if weight.device.type != "cpu" or small or not torch.backends.mkldnn.is_available():
        return _PlainLinear(weight, bias)
    return _OneDnnLinear(weight, bias)
