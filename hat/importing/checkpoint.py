"""The authors' checkpoints → a :class:`~hat.nn.SuperTransformer` with their weights."""

import logging
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hat.config import validate
from hat.errors import DataError
from hat.importing.architecture import ATTENDED_LAYERS
from hat.importing.torch_file import TorchFile
from hat.importing.unpickle import Placeholder
from hat.importing.weights import TheirWeights, convert
from hat.nn import ModelOptions, SuperTransformer
from hat.space import SearchSpace

logger = logging.getLogger(__name__)


class _Settings(BaseModel):
    """What a model depends on besides its weights, from the ``args`` of their training run."""

    model_config = ConfigDict(strict=True)

    share_all_embeddings: bool = False
    share_decoder_input_output_embed: bool = False
    encoder_normalize_before: bool = False
    decoder_normalize_before: bool = False
    vocab_original_scaling: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    train_subtransformer: bool = False

    encoder_embed_choice: list[int] | None = None
    encoder_layer_num_choice: list[int] | None = None
    encoder_ffn_embed_dim_choice: list[int] | None = None
    encoder_self_attention_heads_choice: list[int] | None = None
    decoder_embed_choice: list[int] | None = None
    decoder_layer_num_choice: list[int] | None = None
    decoder_ffn_embed_dim_choice: list[int] | None = None
    decoder_self_attention_heads_choice: list[int] | None = None
    decoder_ende_attention_heads_choice: list[int] | None = None
    decoder_arbitrary_ende_attn_choice: list[int] | None = None
    encoder_attention_heads: int = 1
    decoder_attention_heads: int = 1

    # Kinds of model that are not the paper's and cannot be imported.
    activation_fn: str = "relu"
    encoder_learned_pos: bool = False
    decoder_learned_pos: bool = False
    no_token_positional_embeddings: bool = False
    adaptive_softmax_cutoff: Any = None


def read_checkpoint(path: str | Path) -> SuperTransformer:
    """Read a checkpoint that the authors' program wrote; nothing in it is executed.

    Raises:
        DataError: if the file is damaged, no such checkpoint, or holds a model of another kind.
        ConfigError: if its ``args`` describe an impossible search space.
    """
    with TorchFile(path) as file:
        content = file.content if isinstance(file.content, dict) else {}
        args, state = content.get("args"), content.get("model")
        if not isinstance(args, Placeholder) or not isinstance(state, dict):
            raise DataError(f"{path}: must be a training checkpoint with 'args' and 'model', is not.")
        settings = _read_settings(args, path)
        _check_kind(settings, path)
        weights = TheirWeights(file, state)
        space, options = _space(weights, settings, path), _options(settings, path)
        # All shapes are checked here, before anything of these sizes is built.
        converted = convert(weights, space.super_architecture(), options)
        if left := weights.unread():
            raise DataError(
                f"{path}: holds {len(left)} weights with no place in this kind of model, such as {left[0]}."
            )
        model = SuperTransformer(
            space,
            source_vocab_size=weights.shape("encoder.embed_tokens.weight")[0],
            target_vocab_size=weights.shape("decoder.embed_tokens.weight")[0],
            **options.model_dump(),
        )
    model.load_weights(converted, str(path))
    if settings.train_subtransformer:
        logger.info(f"{path}: was trained as one SubTransformer; the others in it are not trained.")
    return model.eval()


def _read_settings(args: Placeholder, path: str | Path) -> _Settings:
    found = {name: args.attributes[name] for name in _Settings.model_fields if name in args.attributes}
    for name, value in found.items():
        # Not left to the schema, whose message shows the value: nested lists can be of any size when they are shown.
        for item in value if isinstance(value, list) else [value]:
            if not _is_plain(item):
                raise DataError(f"{path}: args: {name} must be a plain value or a list of them, is not.")
    return validate(_Settings, found, where=f"{path}: args")


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | float | str | None) or (type(value) is int and abs(value) < 2**63)


def _check_kind(settings: _Settings, path: str | Path) -> None:
    problems = {
        "activation_fn must be relu": settings.activation_fn != "relu",
        "learned positions cannot be imported": settings.encoder_learned_pos or settings.decoder_learned_pos,
        "models without positions cannot be imported": settings.no_token_positional_embeddings,
        "models with adaptive softmax cannot be imported": settings.adaptive_softmax_cutoff is not None,
        "encoder and decoder must have LayerNorm at the same place (encoder_normalize_before, "
        "decoder_normalize_before)": settings.encoder_normalize_before != settings.decoder_normalize_before,
    }
    for problem, found in problems.items():
        if found:
            raise DataError(f"{path}: args: {problem}.")


def _space(weights: TheirWeights, settings: _Settings, path: str | Path) -> SearchSpace:
    """The sizes come from the weights, the choices from the settings."""
    sizes = {stack: _stack_sizes(weights, stack) for stack in ("encoder", "decoder")}
    _, qkv_dim = weights.shape("decoder.layers.0.self_attn.out_proj.weight")
    choices = {stack: _choices(settings, stack, sizes[stack], path) for stack in sizes}
    return validate(SearchSpace, {"qkv_dim": qkv_dim, **choices, "maximum": sizes}, where=f"{path}: args")


def _options(settings: _Settings, path: str | Path) -> ModelOptions:
    tied = "decoder" if settings.share_decoder_input_output_embed else "none"
    described = {
        "share_embeddings": "all" if settings.share_all_embeddings else tied,
        "pre_norm": settings.encoder_normalize_before,
        "embed_scale": "maximum" if settings.vocab_original_scaling else "active",
        "dropout": settings.dropout,
        "attention_dropout": settings.attention_dropout,
        "activation_dropout": settings.activation_dropout,
    }
    return validate(ModelOptions, described, where=f"{path}: args")


def _stack_sizes(weights: TheirWeights, stack: str) -> dict[str, int]:
    ffn_dim, embed_dim = weights.shape(f"{stack}.layers.0.fc1.weight")
    return {"embed_dim": embed_dim, "num_layers": weights.depth(stack), "ffn_dim": ffn_dim}


def _choices(settings: _Settings, stack: str, sizes: dict[str, int], path: str | Path) -> dict[str, list[int]]:
    """The choices of a stack's knobs, each once; a knob without choices has its one size."""
    names = {
        "embed_dim": "embed_choice",
        "num_layers": "layer_num_choice",
        "ffn_dim": "ffn_embed_dim_choice",
        "self_attn_heads": "self_attention_heads_choice",
    }
    single = {**sizes, "self_attn_heads": getattr(settings, f"{stack}_attention_heads")}
    if stack == "decoder":
        names["cross_attn_heads"] = "ende_attention_heads_choice"
        names["attended_encoder_layers"] = "arbitrary_ende_attn_choice"
        single |= {"cross_attn_heads": settings.decoder_attention_heads, "attended_encoder_layers": -1}
    choices = {}
    for knob, name in names.items():
        found = getattr(settings, f"{stack}_{name}") or [single[knob]]
        if max(found) > sizes.get(knob, max(found)):  # before anything of that size is built
            raise DataError(
                f"{path}: args: {stack}_{name} must be at most {sizes[knob]}, as large as the weights, "
                f"has {max(found)}."
            )
        if knob == "attended_encoder_layers":
            found = [_attended(code, path) for code in found]
        choices[knob] = list(dict.fromkeys(found))
    return choices


def _attended(code: int, path: str | Path) -> int:
    if code not in ATTENDED_LAYERS:
        raise DataError(f"{path}: args: decoder_arbitrary_ende_attn_choice must hold -1, 1 or 2, holds {code}.")
    return ATTENDED_LAYERS[code]
