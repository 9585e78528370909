"""The SuperTransformer, which shares its weights among all SubTransformers, and the standalone Transformer.

Both are the same encoder and decoder. A SuperTransformer is told an :class:`Architecture` in every call and hands it
down to the layers; a Transformer is one SubTransformer, built at exactly its own sizes, and passes its own.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hat.artifacts import MODEL_FORMAT, SUPER_FORMAT
from hat.errors import ConfigError
from hat.nn.attention import KeyValueCache, Memory
from hat.nn.elastic import leading
from hat.nn.encoder_decoder import EncoderDecoder
from hat.nn.files import SuperTransformerFile, TransformerFile, load_model, read_config, save_model
from hat.nn.layers import DecoderState, Encoded
from hat.nn.options import MaximumDims, model_options
from hat.space import Architecture, SearchSpace
from hat.space.architecture import EncoderSpec


class Transformer(EncoderDecoder):
    """A standalone encoder-decoder Transformer whose layers may differ: one SubTransformer, its own weights only.

    Args:
        architecture: its sizes.
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        maximum_embed_dim: widths of the SuperTransformer whose SubTransformer this is; they fix the position signals
            and the scale of dropout. Left out, they are the architecture's own.
        options: the fields of :class:`ModelOptions`.

    Raises:
        ConfigError: if an option is unknown or breaks a rule.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        source_vocab_size: int,
        target_vocab_size: int,
        maximum_embed_dim: MaximumDims | None = None,
        **options: Any,
    ) -> None:
        encoder_dim, decoder_dim = architecture.encoder.embed_dim, architecture.decoder.embed_dim
        maximum = maximum_embed_dim or MaximumDims(encoder=encoder_dim, decoder=decoder_dim)
        if maximum.encoder < encoder_dim or maximum.decoder < decoder_dim:
            raise ConfigError(
                f"maximum_embed_dim: must be at least the architecture's widths ({encoder_dim} and {decoder_dim}), "
                f"is {maximum.encoder} and {maximum.decoder}."
            )
        checked = model_options(options)
        super().__init__(architecture, maximum, source_vocab_size, target_vocab_size, checked)
        self.architecture = architecture

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        """Score every next token, teacher-forced.

        Args:
            source: token ids (B, S), padded on the right.
            target_in: target token ids shifted right (B, T), starting with the end symbol, padded on the right.

        Returns:
            Logits (B, T, V).
        """
        return self.output_embedding.logits(self.hidden(source, target_in))

    def hidden(self, source: Tensor, target_in: Tensor) -> Tensor:
        """The decoder's output (B, T, D) before the output projection, for losses that never need all logits."""
        return self._hidden(source, target_in, self.architecture)

    def encode(self, source: Tensor) -> Encoded:
        """Run the encoder on token ids (B, S), padded on the right."""
        return self._encode(source, self.architecture)

    def start(self, encoded: Encoded, beam: int) -> DecoderState:
        """The decoding state before the first step, for ``beam`` hypotheses a sentence."""
        return self.decoder.start(encoded, self.architecture.decoder, beam)

    def step(self, tokens: Tensor, state: DecoderState) -> Tensor:
        """Logits (B, beam, V) of the next token after ``tokens`` (B, beam); ``state`` is brought up to date."""
        positions = self.decoder_positions(state.position, 1, self.architecture.decoder.embed_dim)
        state.position += 1
        return self.next_logits(tokens, positions, state.past.extend(), state.memories, state.caches)

    def next_logits(
        self,
        tokens: Tensor,
        positions: Tensor,
        bias: Tensor | None,
        memories: Sequence[Memory],
        caches: Sequence[KeyValueCache],
    ) -> Tensor:
        """:meth:`step` without its bookkeeping, a function of tensors: (B, beam) → (B, beam, V).

        Args:
            tokens: the last token of each hypothesis.
            positions: the signals of their position (1, D).
            bias: hides what is not a hypothesis's own past, (B, 1, beam, entries of the caches and the new ones).
            memories: of each decoder layer.
            caches: of each decoder layer; what is new is added to them.
        """
        x = self._embed_target(tokens, positions)
        x = self.decoder.step(x, self.architecture.decoder, memories, caches, bias)
        return self.output_embedding.logits(x)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` atomically, and the tokeniser of a model that was loaded."""
        values = {
            "format": MODEL_FORMAT,
            "architecture": self.architecture.to_dict(),
            "maximum_embed_dim": self.maximum.model_dump(),
        }
        save_model(self, folder, values)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Transformer":
        """Read a folder that :meth:`save_pretrained` wrote. Raises DataError or ConfigError naming the file."""
        file = read_config(Path(folder), TransformerFile)
        architecture = Architecture.from_dict(file.architecture, where=str(Path(folder) / "config.json"))
        build = partial(cls, architecture, maximum_embed_dim=file.maximum_embed_dim)
        return load_model(build, file, Path(folder))


class SuperTransformer(EncoderDecoder):
    """One set of weights for every SubTransformer of a space: each uses leading blocks of the first layers.

    Args:
        space: which SubTransformers there are.
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        options: the fields of :class:`ModelOptions`, such as ``share_embeddings="none"``.

    Raises:
        ConfigError: if an option is unknown or breaks a rule.

    Source: HAT (arXiv:2005.14187), section 2.2.
    """

    def __init__(self, space: SearchSpace, *, source_vocab_size: int, target_vocab_size: int, **options: Any) -> None:
        sizes = space.super_architecture()
        maximum = MaximumDims(encoder=sizes.encoder.embed_dim, decoder=sizes.decoder.embed_dim)
        super().__init__(sizes, maximum, source_vocab_size, target_vocab_size, model_options(options))
        self.space = space

    def forward(self, source: Tensor, target_in: Tensor, architecture: Architecture) -> Tensor:
        """Score every next token with one SubTransformer, in place, teacher-forced.

        Args:
            source: token ids (B, S), padded on the right.
            target_in: target token ids shifted right (B, T), starting with the end symbol, padded on the right.
            architecture: which SubTransformer; it must fit into the SuperTransformer's sizes.

        Returns:
            Logits (B, T, V).

        Raises:
            ConfigError: if ``architecture`` is larger than the SuperTransformer.
        """
        return self.output_embedding.logits(self.hidden(source, target_in, architecture))

    def hidden(self, source: Tensor, target_in: Tensor, architecture: Architecture) -> Tensor:
        """The decoder's output (B, T, D) before the output projection, for losses that never need all logits."""
        self._check_fits(architecture)
        return self._hidden(source, target_in, architecture)

    def hidden_of_each(
        self, source: Tensor, target_in: Tensor, architectures: Iterable[Architecture]
    ) -> Iterator[Tensor]:
        """:meth:`hidden` of one SubTransformer after the other, in evaluation: each (B, T, D), the same as alone.

        The first encoder layers that one has in common with the one before are not computed again, so an order in which
        like encoders follow each other saves most: see :func:`by_encoder`.
        """
        spec: EncoderSpec | None = None
        encoded: Encoded | None = None
        for architecture in architectures:
            self._check_fits(architecture)
            if encoded is None or spec is None:
                encoded = self._encode(source, architecture)
            elif spec != architecture.encoder:
                # With pre-norm the last output is normalised: only an equal encoder ends with the same.
                usable = len(encoded.layers) - self.options.pre_norm
                known = encoded.layers[: min(_common_layers(spec, architecture.encoder), usable)]
                encoded = self._encode(source, architecture, known)
            spec = architecture.encoder
            yield self._decode(encoded, target_in, architecture)

    def extract(self, architecture: Architecture) -> Transformer:
        """The SubTransformer as a standalone model with a copy of its own weights, and nothing else.

        Every weight of a SubTransformer is the leading block of the SuperTransformer's weight of the same name.
        """
        self._check_fits(architecture)
        with torch.device("meta"):  # draws no weights, only to overwrite them
            net = Transformer(
                architecture,
                source_vocab_size=self.source_vocab_size,
                target_vocab_size=self.target_vocab_size,
                maximum_embed_dim=self.maximum,
                **self.options.model_dump(),
            )
        own = self.weights()
        reference = next(iter(own.values()))
        net.to(reference.dtype)
        net.load_weights({name: leading(own[name], *w.shape) for name, w in net.weights().items()}, "extract")
        net.to(reference.device)  # what is no weight: the signals of positions
        net.tokenizer_folder = self.tokenizer_folder
        return net.train(self.training)

    def _check_fits(self, architecture: Architecture) -> None:
        problem = _too_large(architecture, self.sizes)
        if problem is not None:
            raise ConfigError(f"architecture: does not fit into this SuperTransformer: {problem}.")

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` atomically, and the tokeniser of a model that was loaded."""
        save_model(self, folder, {"format": SUPER_FORMAT, "space": self.space.model_dump(mode="json")})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "SuperTransformer":
        """Read a folder that :meth:`save_pretrained` wrote. Raises DataError or ConfigError naming the file."""
        file = read_config(Path(folder), SuperTransformerFile)
        return load_model(partial(cls, file.space), file, Path(folder))


def by_encoder(architecture: Architecture) -> tuple[int, ...]:
    """A key to sort by, so that SubTransformers whose encoders begin alike follow each other."""
    encoder = architecture.encoder
    return encoder.embed_dim, *(size for layer in encoder.layers for size in layer.model_dump().values())


def _common_layers(first: EncoderSpec, second: EncoderSpec) -> int:
    """How many first layers of two encoders compute the same."""
    if first.embed_dim != second.embed_dim:
        return 0
    pairs = zip(first.layers, second.layers, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _too_large(architecture: Architecture, sizes: Architecture) -> str | None:
    """Which size of ``architecture`` exceeds ``sizes``, in words; None when it fits."""
    if architecture.qkv_dim != sizes.qkv_dim:
        return f"qkv_dim must be {sizes.qkv_dim}, is {architecture.qkv_dim}"
    for name in ("encoder", "decoder"):
        stack, bound = getattr(architecture, name), getattr(sizes, name)
        if stack.embed_dim > bound.embed_dim:
            return f"{name}.embed_dim must be at most {bound.embed_dim}, is {stack.embed_dim}"
        if len(stack.layers) > len(bound.layers):
            return f"{name} must have at most {len(bound.layers)} layers, has {len(stack.layers)}"
        for index, (layer, limit) in enumerate(zip(stack.layers, bound.layers, strict=False)):
            if layer.ffn_dim > limit.ffn_dim:
                return f"{name}.layers.{index}.ffn_dim must be at most {limit.ffn_dim}, is {layer.ffn_dim}"
    return None
