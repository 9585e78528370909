"""Linear layers with int8 weights on the CPU, quantised dynamically: activations when they come, call by call."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from hat.nn import Transformer
from hat.nn.elastic import ElasticLinear

_LARGEST = 127


class QuantizedLinear(nn.Module):
    """A linear layer whose weights are int8 with a scale for each row (output channel).

    Rows are scaled so that their largest weight is 127; activations are cut into 128 steps where the processor's
    products could overflow (x86), else into 256.

    Args:
        weight: shape (out, in), float32.
        bias: shape (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        scales = weight.detach().abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny * _LARGEST) / _LARGEST
        with warnings.catch_warnings():
            # torch 2.13 says that tensors of this kind will go one day; what is to follow them is another package.
            warnings.simplefilter("ignore")
            zeros = torch.zeros(len(scales), dtype=torch.int64)
            quantized = torch.quantize_per_channel(weight.detach(), scales, zeros, 0, torch.qint8)
        self._packed: Any = torch.ops.quantized.linear_prepack(quantized, None if bias is None else bias.detach())
        self._reduce_range = torch.backends.quantized.engine != "qnnpack"

    def forward(self, x: Tensor, out: int | None = None) -> Tensor:
        """(..., in) → (..., out); all rows are always used."""
        projected: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._reduce_range)
        return projected

    def logits(self, x: Tensor) -> Tensor:
        """As the output projection, in place of an :class:`~hat.nn.elastic.ElasticEmbedding`."""
        return self(x)


def quantize_linear_layers(net: Transformer) -> Transformer:
    """Replace the weights of all linear layers of ``net``, the output projection too, by int8 ones; returns ``net``.

    Embeddings that are looked up stay as they are, also where the output projection shared their matrix.
    """
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ElasticLinear):
                setattr(module, name, QuantizedLinear(child.weight, child.bias))
    output = QuantizedLinear(net.output_weight(net.architecture.decoder.embed_dim), None)
    net.add_module("output_embedding", output)
    return net
