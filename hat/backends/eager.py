"""torch as it is, operation by operation; with int8 weights on the CPU."""

import copy

import torch

from hat.backends.backend import Backend, Placement, Renew
from hat.backends.quantized import quantize_linear_layers
from hat.nn import Transformer


def _prepare(net: Transformer, place: Placement) -> Renew:
    def renew() -> Transformer:
        copied = copy.deepcopy(net).eval()
        if place.dtype == "int8":
            return quantize_linear_layers(copied.to(place.device, torch.float32))
        return copied.to(place.device, getattr(torch, place.dtype))

    return renew


EAGER = Backend(
    dtypes={"cpu": ("float32", "bfloat16", "int8"), "cuda": ("float32", "bfloat16", "float16")},
    missing=lambda device_type: None,
    prepare=_prepare,
)
