"""Label-smoothed cross-entropy, from logits or straight from the decoder's output."""

from typing import Any

import torch
from torch import Tensor

from hat.nn.linear import product

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
    buffers = _Buffers(at_once, low_weight)
    losses = torch.empty(len(right), dtype=torch.float64, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        for start in range(0, len(right), at_once):
            rows = slice(start, start + at_once)
            scores = buffers.scores(low_hidden[rows], low_weight)
            nll, uniform, _ = _row_losses(scores, right[rows, None])
            losses[rows] = (1.0 - smoothing) * nll + smoothing * uniform
    totals = torch.zeros(target.size(0), dtype=torch.float64, device=hidden.device)
    return totals.index_add_(0, counted.nonzero()[:, 0], losses)


class _Buffers:
    """Room for the logits of some rows, used again and again.

    Memory that is touched for the first time costs more than what is computed in it.

    Args:
        rows: at most so many.
        weight: the output projection (V, D), in the type of the products.
    """

    def __init__(self, rows: int, weight: Tensor) -> None:
        self._float = torch.empty(rows, weight.size(0), device=weight.device)
        self._low = torch.empty_like(self._float, dtype=weight.dtype)  # untouched where the products are float32

    def scores(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """The logits in float32, (rows, V)."""
        scores, low = self._float[: len(hidden)], self._low[: len(hidden)]
        if weight.dtype == torch.float32:
            return product(hidden, weight, scores)
        return scores.copy_(torch.mm(hidden, weight.t(), out=low))

    def lowered(self, scores: Tensor) -> Tensor:
        """What is in the place of logits (rows, V), in the type of the products."""
        return scores if self._low.dtype == torch.float32 else self._low[: len(scores)].copy_(scores)


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
        # Room for one piece's gradient, if it must be converted; untouched where no gradient is wanted.
        part, low_part = torch.empty_like(weight), torch.empty_like(low_weight)
        if needs_gradient:
            weight_gradient.zero_()
        buffers = _Buffers(min(ROWS_AT_ONCE, hidden.size(0)), low_weight)
        sums = torch.zeros(2, dtype=torch.float64)
        for start in range(0, hidden.size(0), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            right, low_rows = target[rows, None], low_hidden[rows]
            scores = buffers.scores(low_rows, low_weight)
            nll, uniform, total = _row_losses(scores, right)
            sums += torch.stack([nll.sum(), uniform.sum()])
            if not needs_gradient:
                continue
            # d loss / d scores = softmax - (1 - ε) one-hot - ε / V
            score_gradient = scores.div_(total).sub_(smoothing / weight.size(0))
            score_gradient.scatter_add_(1, right, torch.full(right.shape, smoothing - 1.0))
            low_gradient = buffers.lowered(score_gradient)
            if dtype == torch.float32:
                hidden_gradient[rows] = product(low_gradient, weight.t(), hidden_gradient[rows])
                weight_gradient.addmm_(low_gradient.t(), low_rows)
            else:
                hidden_gradient[rows] = torch.mm(low_gradient, low_weight)
                weight_gradient += part.copy_(torch.mm(low_gradient.t(), low_rows, out=low_part))
        if needs_gradient:
            ctx.save_for_backward(hidden_gradient, weight_gradient)
        nll_sum, uniform_sum = sums.float().unbind()
        ctx.mark_non_differentiable(nll_sum)
        return (1.0 - smoothing) * nll_sum + smoothing * uniform_sum, nll_sum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * gradients[0], weight_gradient * gradients[0], None, None, None, None
