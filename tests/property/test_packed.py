"""Packed models against the models they were made from, and the search for the best scores against topk."""

import random
from pathlib import Path

import pytest
import torch
from random_models import random_batch, randomize
from test_decoding import check_same, random_net, random_options

from hat.decoding import beam_search
from hat.decoding.beam import best
from hat.errors import ConfigError, DataError
from hat.nn import Transformer, packed, source_attention
from hat.nn.packed import pack
from hat.nn.products import Int8Linear, OneDnnLinear
from hat.nn.source_attention import Absorbed
from hat.space import Architecture, SearchSpace
from hat.special_ids import PAD_ID

WIDE = SearchSpace.model_validate(
    {
        "qkv_dim": 256,
        "encoder": {"embed_dim": [256, 320], "num_layers": [1, 2], "ffn_dim": [512], "self_attn_heads": [4, 8]},
        "decoder": {
            "embed_dim": [256, 320], "num_layers": [1, 2], "ffn_dim": [512], "self_attn_heads": [4, 8],
            "cross_attn_heads": [4, 8], "attended_encoder_layers": [1, 2],
        },
    }
)  # fmt: skip


def wide_net(seed: int) -> tuple[Transformer, random.Random]:
    """A network whose matrices are large enough for every kernel."""
    rng = random.Random(seed)
    net = Transformer(WIDE.sample(rng), source_vocab_size=300, target_vocab_size=300)
    randomize(net, torch.Generator().manual_seed(seed))
    return net.eval(), rng


@pytest.mark.parametrize("seed", range(10))
def test_float32_is_the_same_but_for_rounding(seed: int) -> None:
    net, rng = wide_net(seed)
    source, target_in = random_batch(rng, net)
    with torch.inference_mode():
        torch.testing.assert_close(pack(net)(source, target_in), net(source, target_in), rtol=1e-4, atol=1e-4)
    options = random_options(rng, beam=rng.randint(1, 5))
    for found, expected in zip(beam_search(pack(net), source, options), beam_search(net, source, options), strict=True):
        check_same(found, expected)


@pytest.mark.parametrize("seed", range(40))
def test_every_shape_can_be_packed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd widths, untied and tied vocabularies, both places of LayerNorm; every product with the other kernel."""
    monkeypatch.setattr(packed, "_LEAST_WEIGHTS", 0)
    net, rng = random_net(seed)
    source, target_in = random_batch(rng, net)
    with torch.inference_mode():
        torch.testing.assert_close(pack(net)(source, target_in), net(source, target_in), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(100))
def test_packed_searches_find_the_same(seed: int) -> None:
    """Odd widths, layers with different heads, padded batches, sentences that leave, one hypothesis and several."""
    net, rng = random_net(seed)
    source, options = random_batch(rng, net, size=rng.randint(1, 4))[0], random_options(rng, beam=rng.randint(1, 5))
    for found, expected in zip(beam_search(pack(net), source, options), beam_search(net, source, options), strict=True):
        check_same(found, expected)


@pytest.mark.parametrize("calls", [-(10**9), 10**9], ids=["projected", "absorbed"])
@pytest.mark.parametrize("seed", range(40))
def test_both_ways_to_attend_the_source(seed: int, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, with and without padding, step by step, the rule forced to either way."""
    monkeypatch.setattr(source_attention, "_CALLS", calls)
    net, rng = random_net(seed)
    source = random_batch(rng, net, size=1)[0]
    source = torch.nn.functional.pad(source, (0, rng.randint(0, 3)), value=PAD_ID)
    one = pack(net)
    with torch.inference_mode():
        state, whole = one.start(one.encode(source), 3), net.start(net.encode(source), 3)
        assert all(isinstance(memory, Absorbed) == (calls > 0) for memory in state.memories)
        for _ in range(4):
            tokens = torch.tensor([rng.choices(range(4, net.target_vocab_size), k=3)])
            torch.testing.assert_close(one.step(tokens, state), net.step(tokens, whole), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "attended", "length", "sentences", "absorbs"),
    [
        ("float32", 1, 30, 1, True),
        ("float32", 2, 30, 1, False),
        ("float32", 1, 100, 1, False),
        ("float32", 1, 30, 2, False),
        ("bfloat16", 1, 30, 1, False),
        ("int8", 1, 30, 1, False),
    ],
)
def test_projections_are_absorbed_where_that_pays(
    dtype: packed.DType, attended: int, length: int, sentences: int, absorbs: bool
) -> None:
    """At base shapes, with oneDNN's products where it has them; and both give the same."""
    layer = {"ffn_dim": 64, "self_attn_heads": 8}
    decoder = {**layer, "cross_attn_heads": 8, "attended_encoder_layers": attended}
    sizes = {"encoder": {"embed_dim": 512, "layers": [layer] * 2}, "decoder": {"embed_dim": 512, "layers": [decoder]}}
    torch.manual_seed(1)
    architecture = Architecture.model_validate({"qkv_dim": 512, **sizes})
    net = Transformer(architecture, source_vocab_size=50, target_vocab_size=50).eval()
    one, source, tokens = pack(net, dtype), torch.randint(4, 50, (sentences, length)), torch.full((sentences, 2), 5)
    with torch.inference_mode():
        state, whole = one.start(one.encode(source), 2), net.start(net.encode(source), 2)
        assert [isinstance(memory, Absorbed) for memory in state.memories] == [absorbs]
        if dtype == "float32":
            torch.testing.assert_close(one.step(tokens, state), net.step(tokens, whole), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_small_weights_stay_as_they_are(dtype: packed.DType) -> None:
    net, rng = random_net(1)
    source, target_in = random_batch(rng, net)
    with torch.inference_mode():
        assert torch.equal(pack(net, dtype)(source, target_in), pack(net)(source, target_in))


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.995), ("int8", 0.99)])
@pytest.mark.parametrize("seed", range(5))
def test_lower_precision_is_near(seed: int, dtype: packed.DType, least: float) -> None:
    net, rng = wide_net(seed)
    source, target_in = random_batch(rng, net)
    with torch.inference_mode():
        exact, near = net(source, target_in), pack(net, dtype)(source, target_in).float()
    assert torch.nn.functional.cosine_similarity(near, exact, dim=-1).min() > least
    assert not torch.equal(near, exact)


@pytest.mark.parametrize(
    ("dtype", "kernel", "kind"), [("float32", "oneDNN", OneDnnLinear), ("int8", "int8", Int8Linear)]
)
def test_records_name_the_kernels(dtype: packed.DType, kernel: str, kind: type) -> None:
    small, large = packed.kernels(dtype, torch.device("cpu")).values()
    used = {type(module) for module in pack(wide_net(1)[0], dtype).modules()}
    assert small == "torch" and (kind in used) == large.startswith(kernel)


def test_packing_leaves_the_model_as_it_is() -> None:
    net, _ = wide_net(1)
    before = {name: weight.clone() for name, weight in net.weights().items()}
    pack(net, "bfloat16")
    assert net.weights().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in net.weights().items())


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match="float16 needs a GPU, device is cpu; use float32, bfloat16 or int8"):
        pack(wide_net(1)[0], "float16")


@pytest.mark.parametrize("seed", range(200))
def test_best_is_topk(seed: int) -> None:
    """Also with ties, with hardly a finite score, and where the row is no whole number of blocks."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    rows, width = rng.randint(1, 4), rng.choice([3, 1000, 16384, 20001, 48500])
    count = rng.randint(1, min(width, 20))
    scores = torch.randn(rows, width, generator=generator)
    if rng.random() < 0.5:
        scores = (scores * 2).round()
    if rng.random() < 0.3:
        scores[:, torch.randperm(width, generator=generator)[1:]] = float("-inf")
    values, indices = best(scores, count)
    assert torch.equal(values, scores.topk(count, dim=1).values)
    assert torch.equal(scores.gather(1, indices), values)
    assert all(len(set(row)) == count for row in indices.tolist())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_damaged_weights_end_the_search(dtype: packed.DType) -> None:
    net, rng = wide_net(1)
    with torch.no_grad():
        net.decoder.layers[0].ffn.fc2.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="scores are not numbers"):
        beam_search(pack(net, dtype), random_batch(rng, net)[0], random_options(rng, beam=3))


def test_a_packed_model_is_not_saved(tmp_path: Path) -> None:
    net, _ = wide_net(1)
    net.save_pretrained(tmp_path / "net")
    before = (tmp_path / "net" / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="a packed model cannot be saved; save the model that it was packed"):
        pack(net, "bfloat16").save_pretrained(tmp_path / "net")
    assert (tmp_path / "net" / "model.safetensors").read_bytes() == before
