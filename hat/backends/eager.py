"""torch operation by operation, with packed weights: what hat-translate runs."""

import torch

from hat.backends.backend import Backend, Placement, Renew
from hat.decoding import DecodingNetwork
from hat.nn import Transformer
from hat.nn.packed import pack


def _prepare(net: Transformer, place: Placement) -> Renew:
    def renew() -> DecodingNetwork:
        packed = pack(net, place.dtype, place.device, shortlists=place.shortlist is not None)
        if place.shortlist is None:
            return packed
        return packed.among(torch.arange(min(place.shortlist, net.target_vocab_size), device=place.device))

    return renew


EAGER = Backend(
    dtypes={"cpu": ("float32", "bfloat16", "int8"), "cuda": ("float32", "bfloat16", "float16")},
    missing=lambda device_type: None,
    prepare=_prepare,
    shortlists=True,
)
