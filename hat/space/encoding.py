"""Architecture ↔ gene for the search, and architecture → features for the latency predictor."""

from collections.abc import Sequence

from hat.space.architecture import Architecture
from hat.space.search_space import DECODER_LAYER_KNOBS, ENCODER_LAYER_KNOBS, Choices, SearchSpace

Gene = tuple[int, ...]
"""One choice for every knob of every layer up to the greatest depth, active or not. Order: encoder width, decoder
width, encoder depth, decoder depth, then per encoder layer and per decoder layer its knobs. Several genes may
describe one network; what identifies a network is ``architecture_of(space, gene)``."""

FEATURE_NAMES = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
"""The ten predictor features, under the column names of the public latency sets."""


def gene_choices(space: SearchSpace) -> tuple[Choices, ...]:
    """The choices at every position of a gene of this space."""
    positions = [
        space.encoder.embed_dim,
        space.decoder.embed_dim,
        space.encoder.num_layers,
        space.decoder.num_layers,
    ]
    for stack, knobs in (("encoder", ENCODER_LAYER_KNOBS), ("decoder", DECODER_LAYER_KNOBS)):
        for layer in zip(*(space.layer_choices(stack, knob) for knob in knobs), strict=True):
            positions.extend(layer)
    return tuple(positions)


def architecture_of(space: SearchSpace, gene: Gene) -> Architecture:
    """The network a gene describes: inactive layers are dropped.

    A gene from mutation or crossover may ask to attend more encoder layers than are active; the largest choice the
    encoder's depth allows stands in, so that every gene describes a member.

    Raises:
        ValueError: if the gene's length or one of its values does not fit the space.
    """
    positions = gene_choices(space)
    if len(gene) != len(positions):
        raise ValueError(f"a gene of this space must have {len(positions)} values, has {len(gene)}")
    for index, (value, choices) in enumerate(zip(gene, positions, strict=True)):
        if value not in choices:
            raise ValueError(f"gene value {index} must be one of {list(choices)}, is {value}")
    values = iter(_active(space, gene))

    def choose(allowed: Choices) -> int:
        value = next(values)
        return value if value in allowed else max(allowed)

    return space.build(choose)


def gene_of(space: SearchSpace, architecture: Architecture) -> Gene:
    """The gene of a member; its inactive layers repeat the first choice of every knob.

    Raises:
        ValueError: if ``architecture`` is not a member of ``space``.
    """
    problem = space.why_not(architecture)
    if problem is not None:
        raise ValueError(f"not in this space: {problem}")
    encoder, decoder = architecture.encoder, architecture.decoder
    gene = [encoder.embed_dim, decoder.embed_dim, len(encoder.layers), len(decoder.layers)]
    stacks = (("encoder", ENCODER_LAYER_KNOBS, encoder.layers), ("decoder", DECODER_LAYER_KNOBS, decoder.layers))
    for stack, knobs, layers in stacks:
        choices = list(zip(*(space.layer_choices(stack, knob) for knob in knobs), strict=True))
        gene.extend(getattr(layer, knob) for layer in layers for knob in knobs)
        gene.extend(knob[0] for layer in choices[len(layers) :] for knob in layer)
    return tuple(gene)


def _active(space: SearchSpace, gene: Gene) -> Gene:
    """The values of a gene that its depths leave active, in the order :meth:`SearchSpace.build` asks for them."""
    head, encoder_knobs, decoder_knobs = 4, len(ENCODER_LAYER_KNOBS), len(DECODER_LAYER_KNOBS)
    decoder_start = head + encoder_knobs * max(space.encoder.num_layers)
    encoder = gene[head : head + encoder_knobs * gene[2]]
    return gene[:head] + encoder + gene[decoder_start : decoder_start + decoder_knobs * gene[3]]


def features(architecture: Architecture) -> tuple[float, ...]:
    """The ten numbers the paper's latency predictor sees, in the order of :data:`FEATURE_NAMES`.

    Means are over active layers, so networks that differ only in the order of their layers share one vector.

    Source: HAT (arXiv:2005.14187), section 3.3; attended layers count 1, 2, 3.
    """
    encoder, decoder = architecture.encoder, architecture.decoder
    return (
        float(encoder.embed_dim),
        float(len(encoder.layers)),
        _mean([layer.ffn_dim for layer in encoder.layers]),
        _mean([layer.self_attn_heads for layer in encoder.layers]),
        float(decoder.embed_dim),
        float(len(decoder.layers)),
        _mean([layer.ffn_dim for layer in decoder.layers]),
        _mean([layer.self_attn_heads for layer in decoder.layers]),
        _mean([layer.cross_attn_heads for layer in decoder.layers]),
        _mean([layer.attended_encoder_layers for layer in decoder.layers]),
    )


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
