"""torch operation by operation, with packed weights: what hat-translate runs."""

from hat.backends.backend import Backend, Placement, Renew
from hat.nn import Transformer
from hat.nn.packed import pack


def _prepare(net: Transformer, place: Placement) -> Renew:
    return lambda: pack(net, place.dtype, place.device)


EAGER = Backend(
    dtypes={"cpu": ("float32", "bfloat16", "int8"), "cuda": ("float32", "bfloat16", "float16")},
    missing=lambda device_type: None,
    prepare=_prepare,
)
