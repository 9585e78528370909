"""Matrix products with weights that were packed once: torch's own, oneDNN's, and with weights of 16 or 8 bits.

All give what they take: float32, or with torch's own the type of its weights.
"""

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
        self.weight, self.bias = weight.detach().contiguous(), _values(bias)
        self.transposed = self.weight.t()

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        if self.bias is not None and x.dim() == 2:
            return torch.addmm(self.bias, x, self.transposed)  # what linear calls, two calls later
        return functional.linear(x, self.weight, self.bias)


class OneDnnLinear(nn.Module):
    """Weights in oneDNN's layout: two to three times as fast as torch's default for a few rows, on some processors."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
        self.bias = _values(bias)

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return torch.ops.mkldnn._linear_pointwise.default(x, self.packed, self.bias, "none", [], "")


class BFloat16Linear(nn.Module):
    """Weights of 16 bits; activations are rounded to 16 bits for the product, and what it gives once more."""

    def __init__(self, kind: type[PlainLinear | OneDnnLinear], weight: Tensor, bias: Tensor | None) -> None:
        """``kind`` multiplies numbers of 16 bits."""
        super().__init__()
        self.product = kind(weight.bfloat16(), None if bias is None else bias.bfloat16())

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return self.product.forward(x.bfloat16(), out).float()


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
        self.packed = torch.ops.quantized.linear_prepack(quantized, _values(bias))
        # Without 8-bit products of their own, x86 processors add up two in 16 bits: 7 bits of activations always fit.
        self.reduce_range = torch.backends.quantized.engine != "qnnpack"

    def forward(self, x: Tensor, out: int) -> Tensor:
        """(..., in) → (..., out); ``out`` is the whole width."""
        return torch.ops.quantized.linear_dynamic.default(x, self.packed, self.reduce_range)


def onednn_can(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this type here: bfloat16 takes AVX-512 or better on x86."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _values(bias: Tensor | None) -> Tensor | None:
    """The numbers alone: a module finds them faster than a parameter."""
    return None if bias is None else bias.detach().contiguous()
