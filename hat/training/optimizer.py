"""Optimiser and learning-rate schedule, with their config sections."""

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from hat.config import Section

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Section):
    """Adam or AdamW, and gradient clipping."""

    kind: Literal["adam", "adamw"] = "adam"
    """``adam`` adds weight decay to the gradient; ``adamw`` decays weights directly, times the learning rate."""
    betas: tuple[Decay, Decay] = (0.9, 0.98)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the whole gradient (per token); null leaves it as it is."""


class ScheduleConfig(Section):
    """Learning rate by update: linear warm-up, then a decay."""

    kind: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    peak: float = Field(gt=0)
    """Learning rate at the end of the warm-up."""
    warmup_updates: int = Field(default=4000, ge=0)
    warmup_start: float = Field(default=1e-7, ge=0)
    """Learning rate at update 0."""
    minimum: float = Field(default=0.0, ge=0)
    """Where the cosine ends, and below which the inverse square root never falls."""

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        if self.minimum > self.peak:
            raise ValueError(f"minimum must be at most peak ({self.peak}), is {self.minimum}")
        return self


def learning_rate(schedule: ScheduleConfig, update: int, max_updates: int) -> float:
    """Learning rate of the step that follows ``update`` completed updates.

    Warm-up is linear from ``warmup_start`` to ``peak``; then ``inverse_sqrt`` gives peak · sqrt(warmup / update) and
    ``cosine`` half a period down to ``minimum`` at ``max_updates``.

    Source: HAT (arXiv:2005.14187), section 3.3. At the last update of the cosine the authors' program jumps back to
    the peak; this one does not.
    """
    warmup = schedule.warmup_updates
    if update < warmup:
        return schedule.warmup_start + (schedule.peak - schedule.warmup_start) * update / warmup
    if schedule.kind == "constant":
        return schedule.peak
    if schedule.kind == "inverse_sqrt":
        return max(schedule.peak * math.sqrt(max(warmup, 1) / max(update, 1)), schedule.minimum)
    progress = min((update - warmup) / max(max_updates - warmup, 1), 1.0)
    return schedule.minimum + 0.5 * (schedule.peak - schedule.minimum) * (1.0 + math.cos(math.pi * progress))


def make_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser; its learning rate is set before every step.

    A parameter that an update leaves out (its gradient is None, as in layers a SubTransformer does not have) is not
    touched, moments included; the inactive part of a used weight has gradient zero and still moves with its moments.
    """
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind(parameters, lr=0.0, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True)
