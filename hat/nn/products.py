"""Matrix products with weights that were packed once: torch's own, oneDNN's, and with weights of 8 bits."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = 4
"""About as many rows as a decoding step has; oneDNN chooses its layout by them."""


class PackedOutput(nn.Module):
    """The output projection; stands where the embedding's ``logits`` is called."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def logits(self, x: Tensor) -> Tensor:
        """Score every token: (..., dim) → (..., V)."""
        return self.linear(x, -1)


class PlainLinear(nn.Module):
    """torch's own product."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return functional.linear(x, self.weight, self.bias)


class OneDnnLinear(nn.Module):
    """Weights in oneDNN's layout: two to three times as fast as torch's default for a few rows, on some processors."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS), bias

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class Int8Linear(nn.Module):
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


def onednn_can(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this type here: bfloat16 takes AVX-512 or better on x86."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


PACKED = PackedOutput, PlainLinear, OneDnnLinear, Int8Linear
"""What a packed model has in place of its linear layers."""
