"""Products through oneDNN = torch's own."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hat.nn import linear as linear_module
from hat.nn.linear import linear, product

needs_onednn = pytest.mark.skipif(linear_module._onednn_linear() is None, reason="this torch has no oneDNN product")


@pytest.fixture
def through_onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Whatever their size; the shapes of the second factors."""
    monkeypatch.setattr(linear_module, "LARGE", 1)
    monkeypatch.setattr(linear_module, "LARGE_WEIGHT_GRADIENT", 1)
    op, shapes = linear_module._onednn_linear(), []

    def watched(x: Tensor, weight: Tensor, *arguments: object) -> Tensor:
        assert op is not None
        shapes.append(tuple(weight.shape))
        return op(x, weight, *arguments)

    monkeypatch.setattr(linear_module, "_onednn_linear", lambda: watched)
    yield shapes


def outcome(function: object, x: Tensor, weight: Tensor, bias: Tensor | None, block: tuple[int, int]) -> list[Tensor]:
    """The output of a block of the weight, and the gradients of an uneven sum of it."""
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    rows, columns = block
    y = function(leaves[0], leaves[1][:rows, :columns], leaves[2][:rows] if bias is not None else None)
    (y * torch.linspace(-1, 2, rows, dtype=x.dtype)).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("block", [(24, 32), (17, 32), (24, 9), (7, 30), (1, 1)])
def test_output_and_gradients_are_as_exact_as_torchs(
    through_onednn: list[tuple[int, ...]], block: tuple[int, int], bias: bool
) -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(5, 7, block[1], generator=generator), torch.randn(24, 32, generator=generator)
    shift = torch.randn(24, generator=generator) if bias else None
    exact = outcome(functional.linear, x.double(), weight.double(), None if shift is None else shift.double(), block)
    found = outcome(linear, x, weight, shift, block)
    assert len(through_onednn) == 3  # the output, and the gradients of both factors
    for ours, right in zip(found, exact, strict=True):
        # float32 has 24 bits; sums of at most 35 terms of order 1 lose some of them.
        torch.testing.assert_close(ours.double(), right, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_only_wanted_gradients_are_computed(through_onednn: list[tuple[int, ...]]) -> None:
    x, weight = torch.randn(6, 8), torch.randn(4, 8, requires_grad=True)
    linear(x, weight, None).sum().backward()
    assert through_onednn == [(4, 8), (8, 6)]
    with torch.no_grad():
        assert not linear(x, weight, None).requires_grad


@needs_onednn
def test_product_without_gradients(through_onednn: list[tuple[int, ...]]) -> None:
    x, weight = torch.randn(6, 8), torch.randn(8, 4).t()
    torch.testing.assert_close(product(x, weight, torch.empty(6, 4)), x @ weight.t())
    assert through_onednn == [(4, 8)]


@needs_onednn
def test_what_is_small_or_of_lower_precision_stays_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "_onednn", lambda *_: pytest.fail("oneDNN was called"))
    x, weight, out = torch.randn(6, 8), torch.randn(4, 8), torch.empty(6, 4)
    assert torch.equal(linear(x, weight, None), functional.linear(x, weight))
    assert product(x, weight, out) is out and torch.equal(out, x @ weight.t())
    monkeypatch.setattr(linear_module, "LARGE", 1)
    assert torch.equal(
        linear(x.bfloat16(), weight.bfloat16(), None), functional.linear(x.bfloat16(), weight.bfloat16())
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, None).dtype == torch.bfloat16


@pytest.mark.parametrize("fault", ["missing", "refuses", "wrong"])
def test_without_a_product_that_is_right_torchs_is_taken(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def op(*_: object) -> Tensor:
        if fault == "refuses":
            raise RuntimeError("not on this processor")
        return torch.zeros(3, 4)

    class Operators:
        """What a torch with another set of private operators has."""

    if fault != "missing":
        Operators._linear_pointwise = staticmethod(op)
    monkeypatch.setattr(torch.ops, "mkldnn", Operators)
    monkeypatch.setattr(linear_module, "LARGE", 1)
    linear_module._onednn_linear.cache_clear()
    try:
        assert linear_module._onednn_linear() is None
        x, weight = torch.randn(6, 8), torch.randn(4, 8)
        assert torch.equal(linear(x, weight, None), functional.linear(x, weight))
    finally:
        linear_module._onednn_linear.cache_clear()
