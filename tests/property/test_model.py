"""Weight sharing and extraction hold for any space: random spaces, options and weights, all seeded."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from random_models import SlowModel, random_batch, random_model, randomize
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hat.errors import ConfigError, DataError, HatError
from hat.nn import MaximumDims, SuperTransformer, Transformer
from hat.space import Architecture, SearchSpace
from hat.special_ids import PAD_ID

Model = SuperTransformer | Transformer


def leading_block(weight: Tensor, like: Tensor) -> Tensor:
    return weight[tuple(slice(size) for size in like.shape)]


def logits_at_tokens(model: nn.Module, batch: tuple[Tensor, Tensor], *architecture: Architecture) -> Tensor:
    with torch.inference_mode():
        return model(*batch, *architecture)[batch[1].ne(PAD_ID)]


@pytest.mark.parametrize("seed", range(170))
def test_extracted_equals_in_place(seed: int) -> None:
    model, rng = random_model(seed)
    for _ in range(3):
        architecture = model.space.sample(rng)
        net = model.extract(architecture)
        for name, weight in net.weights().items():
            assert torch.equal(weight, leading_block(model.weights()[name], weight)), name
        batch = random_batch(rng, model)
        ours, expected = logits_at_tokens(net, batch), logits_at_tokens(model, batch, architecture)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_extracting_draws_nothing_and_keeps_the_type() -> None:
    model, rng = random_model(0)
    architecture, state = model.space.sample(rng), torch.get_rng_state()
    net = model.to(torch.bfloat16).eval().extract(architecture)
    assert torch.equal(torch.get_rng_state(), state)
    assert {weight.dtype for weight in net.weights().values()} == {torch.bfloat16} and not net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    own = {weight.data_ptr() for weight in model.weights().values()}
    assert not own & {weight.data_ptr() for weight in net.weights().values()}, "a copy"


def test_the_random_models_cover_what_matters() -> None:
    """So that no property here holds only because a case never came up."""
    seen = set()
    for seed in range(100):
        model, rng = random_model(seed)
        sizes, architecture = model.sizes, model.space.sample(rng)
        encoder, decoder = architecture.encoder, architecture.decoder
        seen |= {model.options.share_embeddings, f"pre_norm={model.options.pre_norm}", model.options.embed_scale}
        seen.add(f"maximum widths equal={sizes.encoder.embed_dim == sizes.decoder.embed_dim}")
        seen.add(f"encoder wider={encoder.embed_dim > decoder.embed_dim}")
        seen.add(f"below the maximum={decoder.embed_dim < sizes.decoder.embed_dim}")
        seen.add(f"choices below the maximum={sizes != model.space.largest()}")
        seen.add(f"shallow encoder={len(encoder.layers) < len(sizes.encoder.layers)}")
        seen |= {f"attended={layer.attended_encoder_layers} of {len(encoder.layers)}" for layer in decoder.layers}
    flags = ("pre_norm", "maximum widths equal", "encoder wider", "below the maximum", "choices below the maximum")
    wanted = {f"{flag}={value}" for flag in (*flags, "shallow encoder") for value in (True, False)}
    wanted |= {"all", "decoder", "none", "active", "maximum"}
    wanted |= {f"attended={n} of {depth}" for depth in (1, 2, 3) for n in range(1, depth + 1)}
    assert wanted <= seen


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_formulas(seed: int) -> None:
    """Sentence by sentence and head by head, in float64; attended layers are the last active ones."""
    model, rng = random_model(seed)
    architecture = model.space.sample(rng)
    source, target_in = random_batch(rng, model, size=2)
    with torch.inference_mode():
        logits = copy.deepcopy(model).double()(source, target_in, architecture)
    slow = SlowModel(model, architecture)
    for row in range(len(source)):
        tokens = [x[row][x[row].ne(PAD_ID)].tolist() for x in (source, target_in)]
        # The table of positions is made in float32.
        torch.testing.assert_close(logits[row, : len(tokens[1])], slow.logits(*tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_extracted_equals_in_place_with_dropout(seed: int) -> None:
    """Dropout of a SubTransformer is scaled by its width, on its own too; the same seed drops the same elements."""
    model, rng = random_model(seed, dropout=0.4)
    architecture = model.space.sample(rng)
    net, batch = model.train().extract(architecture), random_batch(rng, model)
    assert net.training
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        ours = net(*batch)
        torch.manual_seed(seed)
        expected = model(*batch, architecture)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
        if architecture.decoder.embed_dim > 2:  # below, LayerNorm leaves nothing of its input but signs
            assert not torch.allclose(net(*batch), expected)


@pytest.mark.parametrize("seed", range(500))
def test_padding_and_neighbours_change_nothing(seed: int) -> None:
    model, rng = random_model(seed)
    net = model.double().extract(model.space.sample(rng))  # a LayerNorm of one or two numbers magnifies rounding
    source, target_in = random_batch(rng, model, size=3)
    wider = [nn.functional.pad(tokens, (0, rng.randint(1, 4)), value=PAD_ID) for tokens in (source, target_in)]
    with torch.inference_mode():
        together, padded = net(source, target_in), net(*wider)
        for row in range(3):
            lengths = [int(tokens[row].ne(PAD_ID).sum()) for tokens in (source, target_in)]
            alone = net(source[row : row + 1, : lengths[0]], target_in[row : row + 1, : lengths[1]])[0]
            for logits in (together, padded):
                torch.testing.assert_close(logits[row, : lengths[1]], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_later_target_tokens_change_nothing(seed: int) -> None:
    model, rng = random_model(seed)
    net = model.extract(model.space.sample(rng))
    source = random_batch(rng, model)[0]
    target_in = torch.randint(3, 13, (3, 6), generator=torch.Generator().manual_seed(seed))
    changed = target_in.clone()
    changed[:, 3:] = changed[:, 3:] % 10 + 3
    with torch.inference_mode():
        before, after = net(source, target_in), net(source, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=1e-6, atol=1e-6)
    if net.architecture.decoder.embed_dim > 2:  # below, LayerNorm leaves nothing of its input but signs
        assert not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("seed", range(500))
def test_gradients_stay_in_the_active_block(seed: int) -> None:
    model, rng = random_model(seed)
    architecture = model.space.sample(rng)
    net, batch = model.double().extract(architecture), random_batch(rng, model)  # double: see above
    kept = batch[1].ne(PAD_ID)
    for network, more in ((model, (architecture,)), (net, ())):
        torch.log_softmax(network(*batch, *more)[kept], dim=-1)[:, 3].sum().backward()
    active = dict(net.named_parameters())
    for name, parameter in model.named_parameters():
        if name not in active:  # an inactive layer
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        block = leading_block(parameter.grad, active[name])
        torch.testing.assert_close(block, active[name].grad, rtol=1e-4, atol=1e-5, msg=name)
        block.zero_()  # a view: what is left is the inactive part
        assert not bool(parameter.grad.any()), name


@pytest.mark.parametrize("seed", range(500))
def test_the_largest_is_the_whole(seed: int) -> None:
    """Where no maximum goes beyond the choices and every layer has the same ones."""
    rng = random.Random(seed)
    stack = {"embed_dim": rng.sample(range(2, 30), 2), "num_layers": [3, 1, 2], "ffn_dim": [9, 17]}
    heads = {"self_attn_heads": [4, 2]}
    cross = {"embed_dim": rng.sample(range(2, 30), 2), "cross_attn_heads": [1, 8], "attended_encoder_layers": [1, 3]}
    space = SearchSpace.model_validate({"qkv_dim": 8, "encoder": stack | heads, "decoder": stack | heads | cross})
    model = SuperTransformer(space, source_vocab_size=9, target_vocab_size=9, share_embeddings="decoder").eval()
    randomize(model, torch.Generator().manual_seed(seed))
    net = model.extract(space.largest())
    assert net.weights().keys() == model.weights().keys()
    assert all(torch.equal(weight, model.weights()[name]) for name, weight in net.weights().items())
    batch = random_batch(rng, model)
    assert torch.equal(logits_at_tokens(net, batch), logits_at_tokens(model, batch, space.largest()))


@pytest.mark.parametrize("seed", range(40))
def test_calls_do_not_influence_each_other(seed: int) -> None:
    model, rng = random_model(seed)
    first, second = model.space.sample(rng), model.space.sample(rng)
    batch, other = random_batch(rng, model), random_batch(rng, model, size=1)
    expected = logits_at_tokens(model, batch, first)
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    logits_at_tokens(model, other, second)
    model.extract(second)
    assert torch.equal(logits_at_tokens(model, batch, first), expected)

    torch.testing.assert_close(logits_at_tokens(model.double(), batch, first), expected.double(), rtol=1e-4, atol=1e-4)
    model.float().load_state_dict(state)
    assert torch.equal(logits_at_tokens(model, batch, first), expected)
    half = logits_at_tokens(model.half(), batch, first)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.25)


@pytest.mark.parametrize("seed", range(20))
def test_extraction_copies(seed: int) -> None:
    """Training one of the two leaves the other as it is; the dtype travels."""
    model, rng = random_model(seed)
    architecture, batch = model.space.sample(rng), random_batch(rng, model)
    net = model.extract(architecture)
    expected = logits_at_tokens(net, batch)
    randomize(model, torch.Generator().manual_seed(seed + 1))
    assert torch.equal(logits_at_tokens(net, batch), expected)
    assert {weight.dtype for weight in model.double().extract(architecture).parameters()} == {torch.float64}


@pytest.mark.parametrize("seed", range(15))
def test_saved_and_loaded_bit_by_bit(seed: int, tmp_path: Path) -> None:
    model, rng = random_model(seed, dropout=0.25)
    architecture, batch = model.space.sample(rng), random_batch(rng, model)
    net = model.extract(architecture)
    model.save_pretrained(tmp_path / "super")
    net.save_pretrained(tmp_path / "sub")
    loaded = SuperTransformer.from_pretrained(tmp_path / "super")
    sub = Transformer.from_pretrained(tmp_path / "sub")
    assert (loaded.space, loaded.options, loaded.training) == (model.space, model.options, False)
    assert (sub.architecture, sub.options, sub.maximum) == (architecture, net.options, net.maximum)
    for ours, theirs in ((model, loaded), (net, sub)):
        assert ours.weights().keys() == theirs.weights().keys()
        assert all(torch.equal(weight, theirs.weights()[name]) for name, weight in ours.weights().items())
    assert torch.equal(logits_at_tokens(loaded, batch, architecture), logits_at_tokens(model, batch, architecture))
    assert torch.equal(logits_at_tokens(sub, batch), logits_at_tokens(net, batch))
    assert str(tmp_path) not in (tmp_path / "sub" / "config.json").read_text()


SPACE = SearchSpace.model_validate(
    {
        "qkv_dim": 8,
        "encoder": {"embed_dim": [8, 4], "num_layers": [2], "ffn_dim": [8, 4], "self_attn_heads": [2]},
        "decoder": {
            "embed_dim": [6, 4], "num_layers": [2, 1], "ffn_dim": [8, 4], "self_attn_heads": [2],
            "cross_attn_heads": [2], "attended_encoder_layers": [1, 2],
        },
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("stack", "knob", "message"),
    [
        ("encoder", "embed_dim", "encoder.embed_dim must be at most 8, is 9"),
        ("decoder", "embed_dim", "decoder.embed_dim must be at most 6, is 9"),
        ("encoder", "num_layers", "encoder must have at most 2 layers, has 3"),
        ("decoder", "num_layers", "decoder must have at most 2 layers, has 3"),
        ("decoder", "ffn_dim", "decoder.layers.0.ffn_dim must be at most 8, is 9"),
        (None, "qkv_dim", "qkv_dim must be 8, is 16"),
    ],
)
def test_architectures_that_do_not_fit(stack: str | None, knob: str, message: str) -> None:
    model = SuperTransformer(SPACE, source_vocab_size=9, target_vocab_size=9)
    values = SPACE.largest().to_dict()
    if stack is None:
        values["qkv_dim"] = 16
    elif knob == "embed_dim":
        values[stack]["embed_dim"] = 9
    elif knob == "ffn_dim":
        values[stack]["layers"][0]["ffn_dim"] = 9
    else:
        values[stack]["layers"] = [values[stack]["layers"][0]] * 3
    architecture, tokens = Architecture.from_dict(values), torch.tensor([[4, 2]])
    for use in (lambda: model(tokens, tokens, architecture), lambda: model.extract(architecture)):
        with pytest.raises(ConfigError, match="does not fit into this SuperTransformer") as caught:
            use()
        assert message in str(caught.value)


def test_any_architecture_that_fits_may_be_used() -> None:
    """The space says what is searched, not what can be computed."""
    model = SuperTransformer(SPACE, source_vocab_size=9, target_vocab_size=9).eval()
    values = SPACE.largest().to_dict()
    values["encoder"]["embed_dim"] = 5
    values["decoder"]["layers"][0] |= {"ffn_dim": 7, "self_attn_heads": 4}
    architecture, tokens = Architecture.from_dict(values), torch.tensor([[4, 2]])
    assert architecture not in SPACE
    torch.testing.assert_close(model(tokens, tokens, architecture), model.extract(architecture)(tokens, tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share_embeddings": "some"}, "share_embeddings"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropouts": 0.1}, "dropouts: no such setting. Did you mean 'dropout'?"),
        ({"source_vocab_size": 10}, "'all' needs one joint vocabulary"),
        ({"source_vocab_size": 0}, "source_vocab_size: must be at least 1, is 0"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SuperTransformer(SPACE, **{"source_vocab_size": 9, "target_vocab_size": 9, **options})
    assert message in str(caught.value)


def test_maximum_below_the_architecture() -> None:
    with pytest.raises(ConfigError, match="maximum_embed_dim: must be at least the architecture's widths"):
        Transformer(
            SPACE.largest(),
            source_vocab_size=9,
            target_vocab_size=9,
            maximum_embed_dim=MaximumDims(encoder=7, decoder=6),
        )


class TestDamagedFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        model = SuperTransformer(SPACE, source_vocab_size=9, target_vocab_size=9)
        model.extract(SPACE.smallest()).save_pretrained(tmp_path)
        return tmp_path

    def error(self, folder: Path, kind: type[Model] = Transformer) -> str:
        with pytest.raises(HatError) as caught:
            kind.from_pretrained(folder)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(str(folder))
        return message

    def test_missing(self, folder: Path) -> None:
        assert "no such file" in self.error(folder / "none")
        (folder / "model.safetensors").rename(folder / "x")
        assert "model.safetensors: no such file" in self.error(folder)

    def test_of_the_other_kind(self, folder: Path) -> None:
        assert '"format" must be "hat.super_transformer/1", is "hat.transformer/1"' in self.error(
            folder, SuperTransformer
        )

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("{", "", "not valid JSON"),
            ('"pre_norm"', '"pre_norms"', "pre_norm"),
            ('"embed_dim": 4', '"embed_dim": 5', "must have shape"),
            ('"embed_dim": 4', '"embed_dim": "4"', "embed_dim"),
            ('"embed_dim": 4', '"embed_dim": 4000000000000', "config.json"),
            ('"ffn_dim": 4', '"ffn_dim": 0', "ffn_dim"),
            ('"source_vocab_size": 9', '"source_vocab_size": 10', "joint vocabulary"),
            ('"source_vocab_size": 9', '"source_vocab_size": 900000000000000', "config.json"),
            ('"source_vocab_size": 9', '"source_vocab_size": -9', "source_vocab_size"),
            ('"share_embeddings": "all"', '"share_embeddings": "none"', "lacks 2 weights"),
            ('"pre_norm": false', '"pre_norm": true', "lacks 4 weights"),
            ('"attended_encoder_layers": 1', '"attended_encoder_layers": 3', "attended_encoder_layers"),
            ('"hat.architecture/1"', '"hat.architecture/2"', "hat.architecture/1"),
        ],
    )
    def test_config(self, folder: Path, old: str, new: str, message: str) -> None:
        text = (folder / "config.json").read_text()
        assert old in text
        (folder / "config.json").write_text(text.replace(old, new, 1))
        assert message in self.error(folder)

    def test_impossible_sizes(self, folder: Path) -> None:
        text = (folder / "config.json").read_text().replace('"embed_dim": 4', '"embed_dim": 4000000000000')
        text = text.replace('"encoder": 8', '"encoder": 4000000000000').replace(
            '"decoder": 6', '"decoder": 4000000000000'
        )
        (folder / "config.json").write_text(text)
        assert "the sizes of the model must be possible ones" in self.error(folder)

    def test_truncated_weights(self, folder: Path) -> None:
        data = (folder / "model.safetensors").read_bytes()
        for length in range(0, len(data), 97):
            (folder / "model.safetensors").write_bytes(data[:length])
            assert "model.safetensors: cannot be read as weights" in self.error(folder)

    def test_weights_of_another_model(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        weights = load_file(path)
        name = "decoder.layers.0.ffn.fc1.bias"
        save_file({key: weight for key, weight in weights.items() if key != name}, path)
        assert f"lacks 1 weights of this model, for example '{name}'" in self.error(folder)
        save_file({**weights, "more": torch.zeros(1)}, path)
        assert "holds 1 weights this model has no place for, such as 'more'" in self.error(folder)
        save_file({**weights, name: torch.zeros(5)}, path)
        assert f"'{name}' must have shape [4], has [5]" in self.error(folder)


def test_an_unusable_folder_to_save_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((ConfigError, DataError), match="file"):
        SuperTransformer(SPACE, source_vocab_size=9, target_vocab_size=9).save_pretrained(tmp_path / "file")


@pytest.mark.parametrize("seed", range(20))
def test_dropout_scales_with_the_width(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Active over maximum width of the stack; that of attention weights is not scaled."""
    model, rng = random_model(seed)
    options = {"dropout": 0.4, "attention_dropout": 0.1, "activation_dropout": 0.2}
    model.options = model.options.model_copy(update=options)
    architecture = model.space.sample(rng)
    net = model.train().extract(architecture)
    expected = []
    for stack, maximum, blocks in (
        (architecture.encoder, model.sizes.encoder.embed_dim, 1),
        (architecture.decoder, model.sizes.decoder.embed_dim, 2),
    ):
        ratio, depth = stack.embed_dim / maximum, len(stack.layers)
        expected += [0.4 * ratio] * (1 + (blocks + 1) * depth) + [0.1] * blocks * depth + [0.2 * ratio] * depth
    seen: list[float] = []
    for module in ("attention", "layers", "encoder_decoder"):
        monkeypatch.setattr(f"hat.nn.{module}.dropout", lambda x, probability: (seen.append(probability), x)[1])
    batch = random_batch(rng, model)
    for network, more in ((model, (architecture,)), (net, ())):
        network(*batch, *more)
        assert sorted(seen) == pytest.approx(sorted(expected))
        seen.clear()
    net.eval()(*batch)
    assert set(seen) == {0.0}
