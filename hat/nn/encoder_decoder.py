"""Embeddings, encoder, decoder and output projection: everything but who names the sizes."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hat.errors import ConfigError, DataError
from hat.nn.attention import CrossAttention
from hat.nn.dropout import Dropout, dropout
from hat.nn.elastic import ElasticEmbedding, ElasticLayerNorm, ElasticLinear, SinusoidalPositions, leading
from hat.nn.layers import Decoder, Encoded, Encoder, padding_bias
from hat.nn.options import MaximumDims, ModelOptions
from hat.space import Architecture
from hat.special_ids import PAD_ID


class EncoderDecoder(nn.Module):
    """What a SuperTransformer and a standalone Transformer have in common: everything but who names the sizes.

    Args:
        sizes: the sizes to build.
        maximum: the SuperTransformer's widths.
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        options: what all SubTransformers share.
    """

    def __init__(
        self,
        sizes: Architecture,
        maximum: MaximumDims,
        source_vocab_size: int,
        target_vocab_size: int,
        options: ModelOptions,
    ) -> None:
        super().__init__()
        for name, size in (("source_vocab_size", source_vocab_size), ("target_vocab_size", target_vocab_size)):
            if size < 1:
                raise ConfigError(f"{name}: must be at least 1, is {size}.")
        self.sizes = sizes
        self.maximum = maximum
        self.options = options
        self.source_vocab_size = source_vocab_size
        self.target_vocab_size = target_vocab_size
        self.tokenizer_folder: Path | None = None
        """What splits text for this model, and goes along where it is saved; None for one that was not loaded."""
        encoder_dim, decoder_dim = sizes.encoder.embed_dim, sizes.decoder.embed_dim
        if options.share_embeddings == "all":
            if source_vocab_size != target_vocab_size:
                raise ConfigError(
                    "share_embeddings: 'all' needs one joint vocabulary, but source_vocab_size is "
                    f"{source_vocab_size} and target_vocab_size is {target_vocab_size}; use 'decoder' or 'none'."
                )
            self.source_embedding = ElasticEmbedding(source_vocab_size, max(encoder_dim, decoder_dim))
            self.target_embedding = self.source_embedding
        else:
            self.source_embedding = ElasticEmbedding(source_vocab_size, encoder_dim)
            self.target_embedding = ElasticEmbedding(target_vocab_size, decoder_dim)
        self.output_embedding = (
            ElasticEmbedding(target_vocab_size, decoder_dim)
            if options.share_embeddings == "none"
            else self.target_embedding
        )
        self.encoder_positions = SinusoidalPositions(maximum.encoder, encoder_dim)
        self.decoder_positions = SinusoidalPositions(maximum.decoder, decoder_dim)
        self.encoder = Encoder(sizes.qkv_dim, sizes.encoder, options.pre_norm)
        self.decoder = Decoder(sizes.qkv_dim, sizes.decoder, encoder_dim, options.pre_norm)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights: Xavier uniform, zero biases, embeddings N(0, max_dim^-1/2), padding row zero.

        Fused projections draw from the bound of the fused matrix, as the authors' program does; its cross-attention
        is fused where encoder and decoder are built with the same width.
        """
        for module in self.modules():
            if isinstance(module, ElasticLinear):
                _xavier_uniform(module.weight, sum(module.weight.shape), generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, ElasticLayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, ElasticEmbedding):
                module.weight.normal_(0.0, module.weight.size(1) ** -0.5, generator=generator)
                module.weight[PAD_ID : PAD_ID + 1].zero_()
        for module in self.modules():
            if isinstance(module, CrossAttention):
                self._reset_cross_attention(module, generator)

    def _reset_cross_attention(self, cross: CrossAttention, generator: torch.Generator | None) -> None:
        encoder_dim = self.sizes.encoder.embed_dim
        fused = encoder_dim == self.sizes.decoder.embed_dim
        fan = encoder_dim + (3 if fused else 1) * cross.qkv_dim
        for weight in cross.kv_proj.weight.chunk(2):
            _xavier_uniform(weight, fan, generator)
        if fused:
            _xavier_uniform(cross.q_proj.weight, fan, generator)

    def _encode(self, source: Tensor, architecture: Architecture, known: Sequence[Tensor] = ()) -> Encoded:
        """``known`` are outputs of the first encoder layers, where those need not be computed again."""
        dim = architecture.encoder.embed_dim
        probs = self._dropout(dim / self.maximum.encoder)
        x = known[-1] if known else self._embed_source(source, dim, probs)
        return self.encoder(x, architecture.encoder, padding_bias(source, PAD_ID), probs, known)

    def _embed_source(self, tokens: Tensor, dim: int, probs: Dropout) -> Tensor:
        x = self.source_embedding(tokens, dim) * math.sqrt(self._scale_dim(dim, self.maximum.encoder))
        return dropout(x + self.encoder_positions(0, tokens.size(1), dim), probs.residual)

    def _embed_target(self, tokens: Tensor, positions: Tensor) -> Tensor:
        dim = positions.size(-1)
        x = self.target_embedding(tokens, dim) * math.sqrt(self._scale_dim(dim, self.maximum.decoder))
        return x + positions

    def target_embedding_and_scale(self) -> tuple[Tensor, float]:
        """The decoder's embeddings (V, D), and what they are multiplied with before positions are added."""
        dim = self.sizes.decoder.embed_dim
        scale = math.sqrt(self._scale_dim(dim, self.maximum.decoder))
        return leading(self.target_embedding.weight, self.target_vocab_size, dim).detach(), scale

    def _hidden(self, source: Tensor, target_in: Tensor, architecture: Architecture) -> Tensor:
        return self._decode(self._encode(source, architecture), target_in, architecture)

    def _decode(self, encoded: Encoded, target_in: Tensor, architecture: Architecture) -> Tensor:
        dim = architecture.decoder.embed_dim
        probs = self._dropout(dim / self.maximum.decoder)
        x = self._embed_target(target_in, self.decoder_positions(0, target_in.size(1), dim))
        x = dropout(x, probs.residual)
        return self.decoder(x, architecture.decoder, encoded, probs)

    def _scale_dim(self, active: int, maximum: int) -> int:
        return active if self.options.embed_scale == "active" else maximum

    def _dropout(self, ratio: float) -> Dropout:
        """This pass's probabilities for a stack whose active width is ``ratio`` of its maximum."""
        if not self.training:
            return Dropout()
        options = self.options
        return Dropout(options.dropout * ratio, options.attention_dropout, options.activation_dropout * ratio)

    def output_weight(self, dim: int) -> Tensor:
        """The output projection of a decoder of width ``dim``, shape (V, dim); it carries gradients."""
        weight = self.output_embedding.weight
        return leading(weight, weight.size(0), dim)

    def weights(self) -> dict[str, Tensor]:
        """All weights by name, shared ones once. They are the model's own, not copies."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    def load_weights(self, weights: dict[str, Tensor], where: str) -> None:
        """Copy ``weights`` in; names and shapes must match exactly. ``where`` starts the DataError's message."""
        own = self.weights()
        if missing := sorted(own.keys() - weights.keys()):
            raise DataError(f"{where}: lacks {len(missing)} weights of this model, for example '{missing[0]}'.")
        if unknown := sorted(weights.keys() - own.keys()):
            raise DataError(
                f"{where}: holds {len(unknown)} weights this model has no place for, such as '{unknown[0]}'."
            )
        for name, weight in own.items():
            if weight.shape != weights[name].shape:
                raise DataError(
                    f"{where}: '{name}' must have shape {list(weight.shape)}, has {list(weights[name].shape)}."
                )
        device = next(iter(weights.values())).device
        for module in self.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.is_meta:  # built without memory of its own, only to be filled here
                    setattr(module, name, nn.Parameter(torch.empty_like(parameter, device=device)))
        for name, weight in self.weights().items():
            weight.copy_(weights[name])


def _xavier_uniform(weight: Tensor, fan_in_plus_out: int, generator: torch.Generator | None) -> None:
    bound = math.sqrt(6.0 / fan_in_plus_out)
    weight.uniform_(-bound, bound, generator=generator)
