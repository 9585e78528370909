"""Random search spaces for property tests: elastic widths and depths, layer knobs alike or layer by layer."""

import random
from collections.abc import Sequence
from typing import Any

from hat.space import SearchSpace

QKV_DIM = 24
HEADS = (1, 2, 3, 4, 6, 8, 12)


def random_space(rng: random.Random, max_depth: int = 4, max_choices: int = 3) -> SearchSpace:
    """A space; half of its layer knobs have one list of choices per layer."""

    def choices(values: Sequence[int]) -> list[int]:
        return rng.sample(values, min(rng.randint(1, max_choices), len(values)))

    def stack(**heads: Sequence[int]) -> dict[str, Any]:
        depths = choices(range(1, max_depth + 1))
        section: dict[str, Any] = {"embed_dim": choices(range(1, 31)), "num_layers": depths}
        for knob, values in {"ffn_dim": range(1, 41), **heads}.items():
            section[knob] = choices(values) if rng.random() < 0.5 else [choices(values) for _ in range(max(depths))]
        return section

    encoder = stack(self_attn_heads=HEADS)
    decoder = stack(self_attn_heads=HEADS, cross_attn_heads=HEADS)
    # One choice fits every depth; the others may be too many for a shallow encoder, which then leaves them out.
    shallowest = min(encoder["num_layers"])
    decoder["attended_encoder_layers"] = [
        sorted({rng.randint(1, shallowest), *choices(range(1, max_depth + 1))})
        for _ in range(max(decoder["num_layers"]))
    ]
    return SearchSpace.model_validate({"qkv_dim": QKV_DIM, "encoder": encoder, "decoder": decoder})
