"""The authors' YAML description of a SubTransformer → an :class:`~hat.space.Architecture`."""

from pathlib import Path
from typing import Any

from hat.config import read_yaml, shorten
from hat.errors import ConfigError, did_you_mean
from hat.space import Architecture
from hat.space.architecture import FORMAT

_SUFFIX = "-subtransformer"
_STACK_KEYS = {
    "encoder": ("encoder-embed-dim", "encoder-layer-num"),
    "decoder": ("decoder-embed-dim", "decoder-layer-num"),
}
_LAYER_KEYS = {
    "encoder": {
        "encoder-ffn-embed-dim-all": "ffn_dim",
        "encoder-self-attention-heads-all": "self_attn_heads",
    },
    "decoder": {
        "decoder-ffn-embed-dim-all": "ffn_dim",
        "decoder-self-attention-heads-all": "self_attn_heads",
        "decoder-ende-attention-heads-all": "cross_attn_heads",
        "decoder-arbitrary-ende-attn-all": "attended_encoder_layers",
    },
}
_ALL_KEYS = [key + _SUFFIX for stack in ("encoder", "decoder") for key in (*_STACK_KEYS[stack], *_LAYER_KEYS[stack])]

ATTENDED_LAYERS = {-1: 1, 1: 2, 2: 3}
"""How many encoder layers are attended, by the code in the authors' files."""


def read_subtransformer(path: str | Path, qkv_dim: int) -> Architecture:
    """Read a file with the ten keys ``...-subtransformer``; other settings in it are left out.

    Lists may be longer than the stack is deep, as the authors' sampler writes them: only the first entries count.

    Args:
        path: a YAML file.
        qkv_dim: width of queries, keys and values, which such files do not say; a ``qkv-dim`` in the file wins.

    Raises:
        ConfigError: if a key is missing, unknown or has an impossible value; the message names the file and the key.
    """
    values = {str(key).replace("_", "-"): value for key, value in read_yaml(Path(path)).items()}
    for key in values:
        if key.endswith(_SUFFIX) and key not in _ALL_KEYS:
            raise ConfigError(f"{path}: {key}: no such setting. {did_you_mean(key, _ALL_KEYS)}")
    for key in _ALL_KEYS:
        if key not in values:
            raise ConfigError(f"{path}: {key}: is required and has no value; is this the file of a SubTransformer?")
    stacks = {stack: _stack(values, stack, str(path)) for stack in ("encoder", "decoder")}
    described = {"format": FORMAT, "qkv_dim": values.get("qkv-dim", qkv_dim), **stacks}
    return Architecture.from_dict(described, where=str(path))


def _stack(values: dict[str, Any], stack: str, where: str) -> dict[str, Any]:
    dim_key, depth_key = (key + _SUFFIX for key in _STACK_KEYS[stack])
    depth = values[depth_key]
    if type(depth) is not int or depth < 1:
        raise ConfigError(f"{where}: {depth_key}: must be a whole number above 0, is {shorten(depth)}.")
    knobs = {}
    for key, knob in _LAYER_KEYS[stack].items():
        items = values[key + _SUFFIX]
        if not isinstance(items, list) or len(items) < depth:
            raise ConfigError(
                f"{where}: {key}{_SUFFIX}: must be a list with a value for each of the {depth} layers, "
                f"is {shorten(items)}."
            )
        knobs[knob] = items[:depth]
    if "attended_encoder_layers" in knobs:
        knobs["attended_encoder_layers"] = [_attended(code, where) for code in knobs["attended_encoder_layers"]]
    layers = [dict(zip(knobs, layer, strict=True)) for layer in zip(*knobs.values(), strict=True)]
    return {"embed_dim": values[dim_key], "layers": layers}


def _attended(code: object, where: str) -> int:
    if type(code) is not int or code not in ATTENDED_LAYERS:
        raise ConfigError(
            f"{where}: decoder-arbitrary-ende-attn-all{_SUFFIX}: must hold -1, 1 or 2 "
            f"(for one, two or three attended encoder layers), holds {shorten(code)}."
        )
    return ATTENDED_LAYERS[code]
