"""Parameters and multiply-adds of an architecture in closed form: no weights are built.

Letters: e and d are the widths of encoder and decoder, q is qkv_dim, f a layer's ffn_dim, n its attended encoder
layers, S and T are the source and target lengths in tokens.
"""

from dataclasses import dataclass
from typing import Literal

from hat.space.architecture import Architecture

ShareEmbeddings = Literal["all", "decoder", "none"]


@dataclass(frozen=True)
class ParameterCount:
    """Trainable parameters of a standalone SubTransformer, each weight once."""

    encoder: int
    """Encoder layers, and the final LayerNorm with pre-norm."""
    decoder: int
    """Decoder layers, and the final LayerNorm with pre-norm."""
    embedding: int | None
    """Source and target embeddings; None when the vocabulary is not known."""
    output: int | None
    """The output projection: 0 when it shares the embedding's weights; None when the vocabulary is not known."""

    @property
    def without_embeddings(self) -> int:
        """What the paper's tables count: neither embeddings nor output projection."""
        return self.encoder + self.decoder

    @property
    def total(self) -> int:
        """All parameters; without a known vocabulary, the ones that are known."""
        return self.without_embeddings + (self.embedding or 0) + (self.output or 0)


@dataclass(frozen=True)
class MultiplyAddCount:
    """Multiply-adds of one teacher-forced pass over one sentence pair; one multiply-add is two FLOPs.

    Counted are the products of matrices; softmax, LayerNorm, biases and embedding look-ups are not.
    """

    encoder: int
    decoder: int
    output: int | None
    """The projection to the vocabulary; None when its size is not known."""

    @property
    def without_output(self) -> int:
        """What the paper's tables count: all but the projection to the vocabulary."""
        return self.encoder + self.decoder

    @property
    def total(self) -> int:
        """All multiply-adds; without a known vocabulary, the ones that are known."""
        return self.without_output + (self.output or 0)


def count_parameters(
    architecture: Architecture,
    source_vocab_size: int | None = None,
    target_vocab_size: int | None = None,
    share_embeddings: ShareEmbeddings = "all",
    pre_norm: bool = False,
) -> ParameterCount:
    """Count the weights that a standalone model of this architecture holds.

    Args:
        architecture: the sizes. The numbers of heads and of attended encoder layers change no count.
        source_vocab_size: number of source tokens; None leaves embeddings and output uncounted.
        target_vocab_size: number of target tokens, likewise.
        share_embeddings: ``all``: one matrix for source, target and output, as wide as the wider stack; ``decoder``:
            target and output share one; ``none``: three matrices.
        pre_norm: whether the model has one more LayerNorm at the end of each stack.

    Raises:
        ValueError: if a size is negative, only one of the two is given, or ``all`` meets two different sizes.

    Source: HAT (arXiv:2005.14187), section 2.2, for what the layers hold; checked against the parameters published
    with all 44 released SubTransformers.
    """
    q, e, d = architecture.qkv_dim, architecture.encoder.embed_dim, architecture.decoder.embed_dim
    encoder = sum(
        _self_attention(q, e) + _ffn(e, layer.ffn_dim) + 2 * _layer_norm(e) for layer in architecture.encoder.layers
    )
    decoder = sum(
        _self_attention(q, d) + _cross_attention(q, d, e) + _ffn(d, layer.ffn_dim) + 3 * _layer_norm(d)
        for layer in architecture.decoder.layers
    )
    if pre_norm:
        encoder, decoder = encoder + _layer_norm(e), decoder + _layer_norm(d)
    if source_vocab_size is None and target_vocab_size is None:
        return ParameterCount(encoder, decoder, embedding=None, output=None)
    source, target = _vocabulary(source_vocab_size, target_vocab_size)
    if share_embeddings == "all":
        if source != target:
            raise ValueError(f"share_embeddings 'all' needs one joint vocabulary, sizes are {source} and {target}")
        return ParameterCount(encoder, decoder, embedding=source * max(e, d), output=0)
    output = target * d if share_embeddings == "none" else 0
    return ParameterCount(encoder, decoder, embedding=source * e + target * d, output=output)


def count_multiply_adds(
    architecture: Architecture,
    source_length: int,
    target_length: int,
    target_vocab_size: int | None = None,
) -> MultiplyAddCount:
    """Count the multiply-adds of one teacher-forced pass: ``source_length`` tokens in, ``target_length`` out.

    Decoder self-attention counts the whole square of scores, as the paper does, though half of them are masked. The
    numbers of heads change no count.

    Args:
        architecture: the sizes.
        source_length: tokens of the source sentence; the paper's tables use 30 (WMT) or 23 (IWSLT) on both sides.
        target_length: tokens of the target sentence.
        target_vocab_size: number of target tokens; None leaves the output projection uncounted.

    Raises:
        ValueError: if a length or the vocabulary size is negative.

    Source: HAT (arXiv:2005.14187), section 4.1, for the convention; checked against the GFLOPs published with all 44
    released SubTransformers.
    """
    if min(source_length, target_length, target_vocab_size or 0) < 0:
        raise ValueError("lengths and vocabulary size must not be negative")
    q, e, d = architecture.qkv_dim, architecture.encoder.embed_dim, architecture.decoder.embed_dim
    s, t = source_length, target_length
    encoder = sum(s * (4 * q * e + 2 * e * layer.ffn_dim) + 2 * s * s * q for layer in architecture.encoder.layers)
    decoder = 0
    for layer in architecture.decoder.layers:
        memory = layer.attended_encoder_layers * s  # positions that cross-attention sees
        self_attention = t * 4 * q * d + 2 * t * t * q
        cross_attention = t * 2 * q * d + memory * 2 * q * e + 2 * t * memory * q
        decoder += self_attention + cross_attention + t * 2 * d * layer.ffn_dim
    output = None if target_vocab_size is None else t * d * target_vocab_size
    return MultiplyAddCount(encoder, decoder, output)


def _vocabulary(source: int | None, target: int | None) -> tuple[int, int]:
    if source is None or target is None:
        raise ValueError("source_vocab_size and target_vocab_size must be given together")
    if min(source, target) < 0:
        raise ValueError(f"vocabulary sizes must not be negative, are {source} and {target}")
    return source, target


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _self_attention(q: int, dim: int) -> int:
    return _linear(dim, 3 * q) + _linear(q, dim)


def _cross_attention(q: int, dim: int, encoder_dim: int) -> int:
    return _linear(dim, q) + _linear(encoder_dim, 2 * q) + _linear(q, dim)


def _ffn(dim: int, hidden: int) -> int:
    return _linear(dim, hidden) + _linear(hidden, dim)


def _layer_norm(dim: int) -> int:
    return 2 * dim
