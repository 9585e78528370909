"""The model: elastic layers, the SuperTransformer made of them, and the standalone Transformer.

Shape letters, used in every docstring: B batch, S source length, T target length, D embed_dim (E the encoder's), Q
qkv_dim, H heads, K head_dim, F ffn_dim, V vocabulary size, N decoding rows (batch times beam). Batch first, padded on
the right.
"""

from hat.nn.options import MaximumDims, ModelOptions
from hat.nn.transformer import SuperTransformer, Transformer

__all__ = ["MaximumDims", "ModelOptions", "SuperTransformer", "Transformer"]
