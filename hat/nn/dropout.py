"""Dropout whose random numbers do not cost more than the layers around it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 1 << 16


@dataclass(frozen=True)
class Dropout:
    """Dropout probabilities of one stack in one forward pass; all zero in evaluation."""

    residual: float = 0.0
    """After embeddings, attention and feed-forward blocks."""
    attention: float = 0.0
    """Of attention weights."""
    activation: float = 0.0
    """After the ReLU."""


def dropout(x: Tensor, probability: float) -> Tensor:
    """Zero each element with ``probability`` and scale the others so that the mean stays; 0 returns ``x`` itself.

    On the CPU torch draws one number after the other, which takes a seventh of a training step. Here one 64-bit
    number decides four elements, with the probability rounded to 1/65,536 and the scale made to match it.
    """
    if probability == 0.0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, probability)
    dropped = min(round(probability * _LEVELS), _LEVELS - 1)
    numbers = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    levels = numbers.view(torch.int16)[: x.numel()].view(x.shape)  # uniform over -32768 ... 32767
    keep = levels >= dropped - _LEVELS // 2
    return x * keep.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
