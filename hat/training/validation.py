"""Loss on held-out batches."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hat.data.batch import Batch
from hat.nn import SuperTransformer, Transformer
from hat.nn.transformer import by_encoder
from hat.space import Architecture
from hat.special_ids import PAD_ID
from hat.training.loss import output_loss, sentence_losses
from hat.training.world import World


@dataclass(frozen=True)
class ValidationResult:
    """Means per target token, in nats."""

    loss: float
    """Label-smoothed loss."""
    nll: float
    """Negative log-likelihood."""

    @property
    def perplexity(self) -> float:
        """exp(nll), infinite when that overflows."""
        return math.exp(self.nll) if self.nll < 700 else math.inf


@torch.inference_mode()
def validation_loss(
    model: SuperTransformer | Transformer,
    hidden_of: Callable[[Batch], Tensor],
    batches: Sequence[Batch],
    smoothing: float,
    precision: str = "float32",
    world: World | None = None,
) -> ValidationResult:
    """Mean loss over ``batches``, shared among the processes of ``world``.

    Args:
        model: in evaluation mode, on the world's device.
        hidden_of: runs ``model`` for a batch, with one SubTransformer where it is a SuperTransformer; gives (B, T, D).
        batches: the held-out data, the same on every process.
        smoothing: of the label-smoothed loss.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        world: the processes; None for this one alone, on the CPU.
    """
    world = world or World(0, 1, torch.device("cpu"))
    totals = torch.zeros(3, dtype=torch.float64, device=world.device)
    for batch in batches[world.rank :: world.size]:
        batch = batch.to(world.device)
        dtype = getattr(torch, precision)
        with torch.autocast(world.device.type, dtype, enabled=precision != "float32"):
            hidden = hidden_of(batch)
        weight = model.output_weight(hidden.size(-1))
        loss, nll = output_loss(hidden, weight, batch.target_out, smoothing, PAD_ID, dtype)
        totals += torch.stack([loss, nll, torch.full_like(nll, batch.num_target_tokens)]).double()
    loss_sum, nll_sum, tokens = world.sum(totals).tolist()
    return ValidationResult(loss_sum / tokens, nll_sum / tokens)


@torch.inference_mode()
def losses_by_sentence(
    model: SuperTransformer,
    architectures: Sequence[Architecture],
    batches: Sequence[Batch],
    smoothing: float,
    precision: str,
    device: torch.device,
) -> list[list[float]]:
    """Each SubTransformer's label-smoothed loss of every sentence in the order of ``batches``: token sums, in nats.

    They work on each batch one after the other, so that they can share what their encoders have in common; the losses
    are the same as those of each alone.

    Args:
        model: in evaluation mode, on ``device``.
        architectures: the SubTransformers.
        batches: the held-out data.
        smoothing: of the label-smoothed loss.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        device: where to compute.
    """
    order = sorted(range(len(architectures)), key=lambda index: by_encoder(architectures[index]))
    losses: list[list[float]] = [[] for _ in architectures]
    dtype = getattr(torch, precision)
    for batch in batches:
        batch = batch.to(device)
        with torch.autocast(device.type, dtype, enabled=precision != "float32"):
            outputs = model.hidden_of_each(batch.source, batch.target_in, [architectures[index] for index in order])
            for index, hidden in zip(order, outputs, strict=True):
                weight = model.output_weight(hidden.size(-1))
                found = sentence_losses(hidden, weight, batch.target_out, smoothing, PAD_ID, dtype)
                losses[index] += found.tolist()
    return losses
