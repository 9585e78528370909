import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hat.special_ids import PAD_ID
from hat.training.loss import ROWS_AT_ONCE, label_smoothed_loss, output_loss, sentence_losses


def problem(vocab: int = 37, width: int = 9, rows: tuple[int, int] = (5, 7)) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (B, T, D), an output weight (V, D) and targets (B, T), some of them padding."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(*rows, width, generator=generator)
    weight = torch.randn(vocab, width, generator=generator)
    target = torch.randint(2, vocab, rows, generator=generator)
    target[0, -2:] = target[-1, -1:] = PAD_ID
    return hidden, weight, target


def reference(hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """PyTorch's own smoothed cross-entropy of the full logits, summed over what is not padding."""
    logits = (hidden @ weight.t()).flatten(0, 1)
    return functional.cross_entropy(
        logits, target.flatten(), ignore_index=PAD_ID, label_smoothing=smoothing, reduction="sum"
    )


def test_closed_form_by_hand() -> None:
    # p = (1/4, 1/4, 1/2): -log p = (2, 2, 1) · ln 2; the last token's nll is ln 2 and the mean over V is 5/3 · ln 2.
    logits = torch.tensor([[0.25, 0.25, 0.5]]).log() + 3.0  # a constant changes nothing
    loss, nll = label_smoothed_loss(logits, torch.tensor([2]), smoothing=0.1, pad=1)
    assert nll.item() == pytest.approx(math.log(2), rel=1e-6)
    assert loss.item() == pytest.approx((0.9 + 0.1 * 5 / 3) * math.log(2), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_equals_torch_cross_entropy(smoothing: float) -> None:
    hidden, weight, target = problem()
    loss, nll = label_smoothed_loss(hidden @ weight.t(), target, smoothing, PAD_ID)
    torch.testing.assert_close(loss, reference(hidden, weight, target, smoothing))
    torch.testing.assert_close(nll, reference(hidden, weight, target, 0.0))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [(1, 1), (5, 7), (3, ROWS_AT_ONCE)], ids=["one", "one chunk", "several chunks"])
def test_fused_loss_and_gradients_equal_those_of_the_full_logits(smoothing: float, rows: tuple[int, int]) -> None:
    hidden, weight, target = problem(rows=rows) if rows != (1, 1) else (*problem(rows=(1, 1))[:2], torch.tensor([[5]]))
    exact_hidden, exact_weight = (x.double().requires_grad_() for x in (hidden, weight))
    expected = reference(exact_hidden, exact_weight, target, smoothing)
    expected.backward()
    hidden.requires_grad_()
    weight.requires_grad_()
    loss, nll = output_loss(hidden, weight, target, smoothing, PAD_ID)
    loss.backward()
    assert not nll.requires_grad
    # Our sums are float32: at most some hundred terms of order 1 each, so 1e-5 of the largest.
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(hidden.grad.double(), exact_hidden.grad, rtol=1e-5, atol=1e-5)
    scale = float(exact_weight.grad.abs().max())
    torch.testing.assert_close(weight.grad.double(), exact_weight.grad, rtol=1e-5, atol=1e-5 * scale)


def test_gradient_is_scaled_by_what_follows() -> None:
    hidden, weight, target = problem()
    gradients = []
    for factor in (1.0, 4.0):
        leaf = weight.clone().requires_grad_()
        (factor * output_loss(hidden, leaf, target, 0.1, PAD_ID)[0]).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], 4 * gradients[0])


def test_padding_rows_count_nothing() -> None:
    hidden, weight, target = problem()
    padding = target.eq(PAD_ID)
    disturbed = hidden.masked_fill(padding[..., None], 1e6).requires_grad_()
    loss, nll = output_loss(disturbed, weight, target, 0.1, PAD_ID)
    assert (loss, nll) == output_loss(hidden, weight, target, 0.1, PAD_ID)
    loss.backward()
    assert bool((disturbed.grad[padding] == 0).all())
    assert bool((disturbed.grad[~padding] != 0).any(dim=-1).all())


def test_nothing_but_padding_gives_zero() -> None:
    hidden, weight, _ = problem()
    hidden.requires_grad_()
    loss, nll = output_loss(hidden, weight, torch.full((5, 7), PAD_ID), 0.1, PAD_ID)
    loss.backward()
    assert (loss.item(), nll.item()) == (0.0, 0.0)
    assert bool((hidden.grad == 0).all())


def test_a_slice_of_the_weight_leaves_the_rest_without_gradient() -> None:
    hidden, _, target = problem()
    full = torch.randn(37, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
    output_loss(hidden, full[:, :9], target, 0.1, PAD_ID)[0].backward()
    assert bool((full.grad[:, 9:] == 0).all())
    assert bool((full.grad[:, :9] != 0).all())


def test_bfloat16_products_stay_close() -> None:
    hidden, weight, target = problem()
    weight.requires_grad_()
    expected = output_loss(hidden, weight, target, 0.1, PAD_ID)[0]
    low = weight.detach().clone().requires_grad_()
    loss = output_loss(hidden, low, target, 0.1, PAD_ID, torch.bfloat16)[0]
    expected.backward()
    loss.backward()
    assert loss.dtype == low.grad.dtype == torch.float32
    # bfloat16 keeps 8 bits: an input is off by up to 1/256, and errors of the 9 terms of a score partly cancel.
    torch.testing.assert_close(loss, expected, rtol=0.01, atol=0)
    torch.testing.assert_close(low.grad, weight.grad, rtol=0.05, atol=0.05)
    assert loss != expected


def test_extreme_scores_stay_finite() -> None:
    hidden, weight, target = problem()
    hidden = (hidden * 1e4).requires_grad_()
    loss, _ = output_loss(hidden, weight, target, 0.1, PAD_ID)
    loss.backward()
    assert bool(loss.isfinite()) and bool(hidden.grad.isfinite().all())
    torch.testing.assert_close(loss, reference(hidden, weight, target, 0.1), rtol=1e-5, atol=0)


def test_evaluation_gives_the_same_numbers_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[int] = []
    mm = torch.mm

    def counted(*args: Tensor, **kwargs: Tensor) -> Tensor:
        products.append(1)
        return mm(*args, **kwargs)

    monkeypatch.setattr(torch, "mm", counted)
    hidden, weight, target = problem()
    weight.requires_grad_()
    with torch.inference_mode():
        frozen = output_loss(hidden, weight, target, 0.1, PAD_ID)
    assert len(products) == 1  # the logits, and no gradient
    trained = output_loss(hidden, weight, target, 0.1, PAD_ID)
    assert len(products) == 1 + 2  # the gradient of the weight is added in place
    assert [x.item() for x in frozen] == [x.item() for x in trained]
    assert trained[0].requires_grad and not frozen[0].requires_grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [(5, 7), (3, ROWS_AT_ONCE)])
def test_sentence_losses_are_those_of_single_sentences(smoothing: float, rows: tuple[int, int]) -> None:
    """Also where one sentence's rows lie in two of the pieces that are worked on at a time."""
    hidden, weight, target = problem(rows=rows)
    found = sentence_losses(hidden, weight, target, smoothing, PAD_ID)
    expected = [
        reference(one[None], weight, right[None], smoothing).item() for one, right in zip(hidden, target, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5) and found.dtype == torch.float64
    total, _ = output_loss(hidden, weight, target, smoothing, PAD_ID)
    assert found.sum().item() == pytest.approx(total.item(), rel=1e-6)


def test_sentence_losses_in_low_precision_are_close() -> None:
    hidden, weight, target = problem()
    low = sentence_losses(hidden, weight, target, 0.1, PAD_ID, torch.bfloat16)
    exact = sentence_losses(hidden, weight, target, 0.1, PAD_ID)
    assert low.tolist() == pytest.approx(exact.tolist(), rel=0.02) and not torch.equal(low, exact)
