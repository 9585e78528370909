"""Linear layers of many rows: products that are large enough for oneDNN go there, exactly in float32, too.

torch gives large float32 products to MKL, which does not use AVX-512 on AMD's processors; oneDNN does.
``torch.set_float32_matmul_precision("medium")`` also leads there, but lets oneDNN round to bfloat16 on processors that
are fast at that; what is called here rounds no more than float32 does. Products in bfloat16 go to oneDNN anyway.
"""

import functools
import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LARGE = 1 << 29
"""Multiply-adds from which oneDNN is the faster one even where it must first generate code for a new shape, which takes
it half a millisecond."""
LARGE_WEIGHT_GRADIENT = 1 << 30
"""The same for gradients of weights, whose factors it has to transpose."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias`` with gradients, (..., in) → (..., out); ``weight`` (out, in) may be a view."""
    if _suits(x, weight):
        return _OneDnnLinear.apply(x, weight, bias)
    return functional.linear(x, weight, bias)


def product(x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """``x @ weight.T`` without gradients, (rows, in) → (rows, out): in ``out``, or in memory of oneDNN's."""
    if _suits(x, weight):
        return _onednn(x, weight, None)
    return torch.mm(x, weight.t(), out=out)


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Whether to call oneDNN. What is compiled or exported stays torch's own product."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.numel() * weight.size(0) >= LARGE
        and _onednn_linear() is not None
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    op = _onednn_linear()
    assert op is not None  # _suits has asked
    return op(x, weight, bias, "none", [], "")


@functools.cache
def _onednn_linear() -> Callable[..., Tensor] | None:
    """Torch's call of oneDNN, an operator for its compiler; None where it is missing or does not do what it should."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return None
    generator = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(size, generator=generator) for size in ((3, 8), (8, 8)))
    bias = torch.randn(4, generator=generator)
    try:
        op: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            narrow, block = x[:, :5].contiguous(), weight[:4, :5]  # a block, as SubTransformers use
            found = op(narrow, block, bias, "none", [], ""), op(x, weight.t(), None, "none", [], "")
            expected = functional.linear(narrow, block, bias), x @ weight
    except (AttributeError, RuntimeError, TypeError):
        return None
    right = all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(found, expected, strict=True))
    return op if right else None


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        return (
            _onednn(gradient, weight.t(), None) if needs_x else None,
            _weight_gradient(rows, inputs) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """``gradient.T @ x``, (rows, out) and (rows, in) → (out, in)."""
    if x.numel() * gradient.size(1) < LARGE_WEIGHT_GRADIENT:
        return gradient.t() @ x
    # The first factor is copied as a whole before the product: let it be the smaller one.
    if x.size(1) <= gradient.size(1):
        return _onednn(x.t(), gradient.t(), None).t()
    return _onednn(gradient.t(), x.t(), None)
