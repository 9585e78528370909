"""Label-smoothed cross-entropy, from logits or straight from the decoder's output."""

from typing import Any

import torch
from torch import Tensor

ROWS_AT_ONCE = 256  # rows of logits that stay in the processor's cache at vocabularies of 10,000 and more


def label_smoothed_loss(logits: Tensor, target: Tensor, smoothing: float, pad: int) -> tuple[Tensor, Tensor]:
    """Loss and negative log-likelihood, summed over the tokens that are not padding.

    With V tokens in the vocabulary, a token's loss is (1 - ε) · nll + ε / V · Σ_v -log p(v).

    Args:
        logits: shape (..., V).
        target: token ids, shape (...).
        smoothing: ε, in [0, 1).
        pad: id of padding, which counts nothing.

    Returns:
        Two scalars in nats: the loss, and the plain negative log-likelihood, detached.

    Source: the definition of the authors' program (HAT, arXiv:2005.14187, trains with ε = 0.1); ε is spread over all V
    tokens, the right one included.
    """
    log_probs = torch.log_softmax(logits.flatten(0, -2).float(), dim=-1)
    target = target.flatten()
    counted = target.ne(pad)
    nll = -log_probs.gather(1, target[:, None])[:, 0].masked_fill(~counted, 0.0).sum()
    uniform = -log_probs.mean(1).masked_fill(~counted, 0.0).sum()
    return (1.0 - smoothing) * nll + smoothing * uniform, nll.detach()


def output_loss(
    hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float, pad: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """:func:`label_smoothed_loss` of the logits ``hidden @ weight.T``, which are never all in memory on the CPU.

    There, the output layer works through a few hundred rows at a time and computes its gradient on the way: a batch's
    logits are hundreds of megabytes, and writing them out costs as much as the products.

    Args:
        hidden: the decoder's output, shape (B, T, D).
        weight: the output projection, shape (V, D).
        target: token ids, shape (B, T).
        smoothing: ε, in [0, 1).
        pad: id of padding, which counts nothing.
        dtype: type of the matrix products; the softmax is always float32.

    Returns:
        Two scalars in nats, summed over tokens: the loss, and the negative log-likelihood, detached.
    """
    if hidden.device.type != "cpu":
        with torch.autocast(hidden.device.type, enabled=False):
            logits = torch.nn.functional.linear(hidden.to(dtype), weight.to(dtype))
        return label_smoothed_loss(logits, target, smoothing, pad)
    counted = target.ne(pad)
    with torch.autocast("cpu", enabled=False):
        rows = hidden[counted].float(), weight, target[counted]
        loss, nll = _OutputLoss.apply(*rows, smoothing, dtype, torch.is_grad_enabled())
    return loss, nll


def sentence_losses(
    hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float, pad: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The label-smoothed loss of :func:`output_loss` sentence by sentence, without gradients.

    Args:
        hidden: the decoder's output, shape (B, T, D).
        weight: the output projection, shape (V, D).
        target: token ids, shape (B, T).
        smoothing: ε, in [0, 1).
        pad: id of padding, which counts nothing.
        dtype: type of the matrix products; the softmax is always float32.

    Returns:
        Sums over the tokens of each sentence in nats, float64, shape (B,).
    """
    counted = target.ne(pad)
    low_hidden, low_weight, right = hidden[counted].to(dtype), weight.to(dtype), target[counted]
    at_once = min(ROWS_AT_ONCE, len(right)) if hidden.device.type == "cpu" else len(right)
    size, device = (at_once, weight.size(0)), hidden.device
    all_scores, all_products = torch.empty(size, device=device), torch.empty(size, dtype=dtype, device=device)
    losses = torch.empty(len(right), dtype=torch.float64, device=device)
    with torch.autocast(device.type, enabled=False):
        for start in range(0, len(right), at_once):
            rows = slice(start, start + at_once)
            scores, products = (buffer[: len(right[rows])] for buffer in (all_scores, all_products))
            scores.copy_(torch.mm(low_hidden[rows], low_weight.t(), out=products))
            nll, uniform, _ = _row_losses(scores, right[rows, None])
            losses[rows] = (1.0 - smoothing) * nll + smoothing * uniform
    totals = torch.zeros(target.size(0), dtype=torch.float64, device=device)
    return totals.index_add_(0, counted.nonzero()[:, 0], losses)


def _row_losses(scores: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log-likelihood and mean of all tokens' -log p in each row, (rows,), and the softmax's denominator.

    Args:
        scores: the logits, (rows, V); become the softmax's numerators.
        right: the right tokens, (rows, 1).
    """
    right_score, mean_score = scores.gather(1, right)[:, 0], scores.mean(1)
    highest = scores.amax(1, keepdim=True)
    total = scores.sub_(highest).exp_().sum(1, keepdim=True)
    log_total = total.log().add_(highest)[:, 0]
    return log_total - right_score, log_total - mean_score, total


class _OutputLoss(torch.autograd.Function):
    """Output projection, softmax and loss over rows that all count, with the gradient computed in ``forward``.

    Only the caller knows whether gradients are wanted at all: inside ``forward`` they are always disabled.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float, dtype: torch.dtype, wanted: bool
    ) -> tuple[Tensor, Tensor]:
        needs_gradient = wanted and any(ctx.needs_input_grad[:2])
        low_hidden, low_weight = hidden.to(dtype), weight.to(dtype)
        hidden_gradient, weight_gradient = torch.empty_like(hidden), torch.empty_like(weight)
        # Memory that is touched for the first time costs more than what is computed in it: all rows share these. Those
        # for gradients stay untouched where none is wanted.
        size = (min(ROWS_AT_ONCE, hidden.size(0)), weight.size(0))
        all_scores, all_products = torch.empty(size), torch.empty(size, dtype=dtype)
        part, low_part = torch.empty_like(weight), torch.empty_like(low_weight)
        if needs_gradient:
            weight_gradient.zero_()
        sums = torch.zeros(2, dtype=torch.float64)
        for start in range(0, hidden.size(0), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            right = target[rows, None]
            scores, products = all_scores[: len(right)], all_products[: len(right)]  # (rows, V)
            scores.copy_(torch.mm(low_hidden[rows], low_weight.t(), out=products))
            nll, uniform, total = _row_losses(scores, right)
            sums += torch.stack([nll.sum(), uniform.sum()])
            if not needs_gradient:
                continue
            # d loss / d scores = softmax - (1 - ε) one-hot - ε / V
            score_gradient = scores.div_(total).sub_(smoothing / weight.size(0))
            score_gradient.scatter_add_(1, right, torch.full(right.shape, smoothing - 1.0))
            products.copy_(score_gradient)
            hidden_gradient[rows] = torch.mm(products, low_weight)
            weight_gradient += part.copy_(torch.mm(products.t(), low_hidden[rows], out=low_part))
        if needs_gradient:
            ctx.save_for_backward(hidden_gradient, weight_gradient)
        nll_sum, uniform_sum = sums.float().unbind()
        ctx.mark_non_differentiable(nll_sum)
        return (1.0 - smoothing) * nll_sum + smoothing * uniform_sum, nll_sum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * gradients[0], weight_gradient * gradients[0], None, None, None, None
