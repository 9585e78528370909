"""The elastic building blocks: each owns the largest weights and uses a leading block of them.

Which block is used follows from the input's width and from the sizes passed to ``forward``. Nothing about the active
size is stored, so two calls never influence each other and ``.to()`` or ``load_state_dict`` need no care. A standalone
Transformer is made of the same blocks, built at exactly its own sizes: there every leading block is the whole weight.

Source of the sharing rules: HAT (arXiv:2005.14187), section 2.2 and Figure 5.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hat.nn.linear import linear

LAYER_NORM_EPS = 1e-5


def leading(weight: Tensor, *sizes: int) -> Tensor:
    """The leading block of ``weight`` with these sizes; the weight itself when it has them already."""
    if weight.shape == sizes:
        return weight  # the standalone model's case, where a slice would only cost time
    return weight[tuple(slice(size) for size in sizes)]


class ElasticLinear(nn.Module):
    """Linear layer that uses the first ``out`` rows and first ``in`` columns of its weight.

    Args:
        max_in: largest input width.
        max_out: largest output width.
        bias: whether to add a bias.
    Shape:
        (..., in) → (..., out) for any in <= max_in and out <= max_out.
    """

    def __init__(self, max_in: int, max_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_out, max_in))
        self.bias = nn.Parameter(torch.empty(max_out)) if bias else None

    def forward(self, x: Tensor, out: int) -> Tensor:
        """Project the last axis of ``x`` to ``out`` features."""
        bias = None if self.bias is None else leading(self.bias, out)
        return linear(x, leading(self.weight, out, x.size(-1)), bias)

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return f"{self.weight.size(1)} → {self.weight.size(0)}, bias={self.bias is not None}"


class ElasticLayerNorm(nn.Module):
    """LayerNorm over the active features only, with the first scales and shifts.

    Shape:
        (..., dim) → (..., dim) for any dim <= max_dim.
    """

    def __init__(self, max_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_dim))
        self.bias = nn.Parameter(torch.empty(max_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of ``x``."""
        dim = x.size(-1)
        return functional.layer_norm(x, (dim,), leading(self.weight, dim), leading(self.bias, dim), LAYER_NORM_EPS)


class ElasticEmbedding(nn.Module):
    """Token embeddings of which the first ``dim`` columns are used; also the output projection when tied.

    Args:
        vocab_size: rows, one per token.
        max_dim: largest width.
    """

    def __init__(self, vocab_size: int, max_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, max_dim))

    def forward(self, tokens: Tensor, dim: int) -> Tensor:
        """Embed ``tokens`` (any shape, int64) → (..., dim)."""
        return functional.embedding(tokens, leading(self.weight, self.weight.size(0), dim))

    def logits(self, x: Tensor) -> Tensor:
        """Score every token: (..., dim) → (..., V)."""
        return functional.linear(x, leading(self.weight, self.weight.size(0), x.size(-1)))


class SinusoidalPositions(nn.Module):
    """Position signals: the first ``dim`` columns of the table of a stack's maximum width.

    A SubTransformer keeps those columns of the wide table; it does not have a table of its own width. The first half
    of the wide columns are sines, the second half cosines, and positions count from 2 as the authors' do (padding
    takes 1).

    Args:
        max_dim: the width the wavelengths are made for.
        dim: how many leading columns can be asked for.

    Source: Attention Is All You Need (arXiv:1706.03762), section 3.5, for the sinusoid; the order of the columns and
    the offset are those of the authors' program.
    """

    FIRST_POSITION = 2
    TABLE_LENGTH = 1024

    def __init__(self, max_dim: int, dim: int) -> None:
        super().__init__()
        self.max_dim = max_dim
        self.dim = dim
        # Not a weight: it follows from the sizes and stays out of checkpoints.
        self.table: Tensor
        self.register_buffer("table", self._signals(0, self.TABLE_LENGTH, torch.device("cpu")), persistent=False)

    def forward(self, start: int, length: int, dim: int) -> Tensor:
        """Signals of ``length`` positions, the first of them number ``start`` (from 0) → (length, dim)."""
        if start + length <= self.TABLE_LENGTH:
            return self.table[start : start + length, :dim]
        return self._signals(start, length, self.table.device)[:, :dim].to(self.table.dtype)

    def _signals(self, start: int, length: int, device: torch.device) -> Tensor:
        half = self.max_dim // 2
        sines, cosines = min(self.dim, half), min(max(self.dim - half, 0), half)  # how many columns of each
        steps = torch.arange(sines, dtype=torch.float32, device=device)
        frequencies = torch.exp(steps * (-math.log(10000.0) / max(half - 1, 1)))
        first = start + self.FIRST_POSITION
        angles = torch.arange(first, first + length, dtype=torch.float32, device=device)[:, None] * frequencies
        odd = torch.zeros(length, self.dim - sines - cosines, device=device)
        return torch.cat([angles.sin(), angles[:, :cosines].cos(), odd], dim=1)
