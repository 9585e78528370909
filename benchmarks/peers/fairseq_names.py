"""hat's weights under the names of fairseq, which transformers' MarianMT shares."""

from torch import Tensor

from hat import Transformer

NAMES = {
    "self_attn_norm": "self_attn_layer_norm",
    "cross_attn_norm": "encoder_attn_layer_norm",
    "ffn_norm": "final_layer_norm",
    "cross_attn": "encoder_attn",
    "ffn.": "",
}


def fairseq_weights(net: Transformer, embedding: str = "embed_tokens.weight") -> dict[str, Tensor]:
    """All weights of a model whose embeddings are one matrix; projections that hat fuses stand alone."""
    weights: dict[str, Tensor] = {}
    for name, weight in net.weights().items():
        if name == "source_embedding.weight":
            weights.update({f"{side}.{embedding}": weight for side in ("encoder", "decoder")})
            continue
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        fused = next((part for part in ("qkv", "kv") if f".{part}_proj." in name), "")
        for letter, part in zip(fused, weight.chunk(max(len(fused), 1)), strict=False):
            weights[name.replace(f".{fused}_proj.", f".{letter}_proj.")] = part
        if not fused:
            weights[name] = weight
    return weights
