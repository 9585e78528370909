"""The closed forms against the models themselves: every weight is counted once, and every matrix product."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_spaces import random_space
from torch.utils.flop_counter import FlopCounterMode

from hat.nn import SuperTransformer, Transformer
from hat.space import Architecture
from hat.space.counting import count_multiply_adds, count_parameters

PROPERTY = settings(max_examples=100, derandomize=True, deadline=None, database=None)
SEEDS = st.integers(0, 2**32 - 1)


def num_weights(module: torch.nn.Module | None) -> int:
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
@pytest.mark.parametrize("pre_norm", [False, True])
@PROPERTY
@given(SEEDS)
def test_parameters_are_those_of_the_extracted_model(share: str, pre_norm: bool, seed: int) -> None:
    rng = random.Random(seed)
    space = random_space(rng, max_depth=3)
    source = rng.randint(1, 20)
    target = source if share == "all" else rng.randint(1, 20)
    model = SuperTransformer(
        space, source_vocab_size=source, target_vocab_size=target, share_embeddings=share, pre_norm=pre_norm
    )
    architecture = space.sample(rng)
    net = model.extract(architecture)
    count = count_parameters(architecture, source, target, share, pre_norm)
    assert count.encoder == num_weights(net.encoder)
    assert count.decoder == num_weights(net.decoder)
    assert count.total == num_weights(net)
    assert count.embedding == num_weights(torch.nn.ModuleList([net.source_embedding, net.target_embedding]))
    assert count.output == (num_weights(net.output_embedding) if share == "none" else 0)
    assert count_parameters(space.super_architecture(), source, target, share, pre_norm).total == num_weights(model)


def multiply_adds(net: Transformer, source_length: int, target_length: int) -> dict[str, int]:
    """What PyTorch itself counts while the model runs."""
    source = torch.full((1, source_length), 4)
    target_in = torch.full((1, target_length), 4)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net.eval()(source, target_in)
    counts = counter.get_flop_counts()
    flops = {part: sum(counts.get(f"Transformer.{part}", {}).values()) for part in ("encoder", "decoder")}
    flops["total"] = counter.get_total_flops()
    return {part: value // 2 for part, value in flops.items()}


@settings(PROPERTY, max_examples=50)
@given(SEEDS)
def test_multiply_adds_are_those_of_a_forward_pass(seed: int) -> None:
    rng = random.Random(seed)
    space = random_space(rng, max_depth=3)
    architecture = space.sample(rng)
    source_length, target_length, vocab = rng.randint(1, 9), rng.randint(1, 9), rng.randint(5, 20)
    net = Transformer(architecture, source_vocab_size=vocab, target_vocab_size=vocab)
    count = count_multiply_adds(architecture, source_length, target_length, vocab)
    measured = multiply_adds(net, source_length, target_length)
    assert measured == {"encoder": count.encoder, "decoder": count.decoder, "total": count.total}
    assert count.output == count.total - count.without_output


def test_equal_lengths_give_the_formula_of_the_paper() -> None:
    """Letters as in the module: one encoder and one decoder layer, N tokens on both sides."""
    architecture = Architecture.from_dict(
        {
            "format": "hat.architecture/1",
            "qkv_dim": 8,
            "encoder": {"embed_dim": 5, "layers": [{"ffn_dim": 7, "self_attn_heads": 2}] * 2},
            "decoder": {
                "embed_dim": 3,
                "layers": [{"ffn_dim": 11, "self_attn_heads": 1, "cross_attn_heads": 4, "attended_encoder_layers": 2}],
            },
        }
    )
    count = count_multiply_adds(architecture, 13, 13)
    assert count.encoder == 2 * (13 * (4 * 8 * 5 + 2 * 5 * 7) + 2 * 13 * 13 * 8)
    own = 13 * (4 * 8 * 3 + 2 * 3 * 11) + 2 * 13 * 13 * 8
    assert count.decoder == own + 13 * 2 * 8 * 3 + 2 * 13 * 2 * 8 * 5 + 2 * 13 * 2 * 13 * 8
    assert count.output is None


def architecture() -> Architecture:
    return random_space(random.Random(0)).smallest()


def test_without_a_vocabulary_embeddings_are_unknown_and_with_none_they_are_zero() -> None:
    unknown, empty = count_parameters(architecture()), count_parameters(architecture(), 0, 0)
    assert (unknown.embedding, unknown.output) == (None, None)
    assert (empty.embedding, empty.output) == (0, 0)
    assert unknown.total == unknown.without_embeddings == empty.total


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ({"source_vocab_size": 5}, "given together"),
        ({"target_vocab_size": 5}, "given together"),
        ({"source_vocab_size": 5, "target_vocab_size": 6}, "one joint vocabulary, sizes are 5 and 6"),
        ({"source_vocab_size": -5, "target_vocab_size": -5}, "must not be negative"),
    ],
)
def test_impossible_vocabularies_are_refused(sizes: dict[str, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        count_parameters(architecture(), **sizes)


@pytest.mark.parametrize("lengths", [(-1, 3, None), (3, -1, None), (3, 3, -1)])
def test_negative_lengths_are_refused(lengths: tuple[int, int, int | None]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        count_multiply_adds(architecture(), *lengths)
