"""What the authors' program computes with known weights, against ours: logits, losses, features, counts, training.

Source of the numbers: the program released with HAT (arXiv:2005.14187), commit 70e5a27, run on the CPU in float32;
every model comes through our importer. Its own float32 logits are 3e-6 away from its float64 ones, so 1e-4 leaves
room for another order of summation and for no other formula.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_reference import CASES, CONFIGURATIONS, Golden, NamedArrays, architecture_of, right_padded, stacks_of
from torch import Tensor, nn

from hat.importing.checkpoint import read_checkpoint
from hat.importing.weights import convert
from hat.nn import SuperTransformer, Transformer
from hat.nn.layers import Dropout, Encoded
from hat.space import Architecture
from hat.space.architecture import DecoderSpec
from hat.space.counting import count_multiply_adds, count_parameters
from hat.space.encoding import features
from hat.special_ids import PAD_ID
from hat.training.loss import label_smoothed_loss, output_loss


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "reference" / "golden"


def difference(logits: Tensor, expected: Tensor, target: Tensor) -> float:
    """Largest difference over tokens that are not padding."""
    return (logits - expected)[target.ne(PAD_ID)].abs().max().item()


@pytest.mark.parametrize(("name", "index"), CASES)
def test_logits_and_losses(folder: Path, name: str, index: int) -> None:
    golden = Golden(folder / name)
    architecture, facts = golden.architecture(index), golden.facts["configs"][index]
    source, target_in, target = golden.batch()
    expected = golden.array(f"c{index}_logits")
    with torch.inference_mode():
        in_place = golden.model(source, target_in, architecture)
        extracted = golden.model.extract(architecture)(source, target_in)
    for logits in (in_place, extracted):
        assert difference(logits, expected, target) < 1e-4
        loss, nll = label_smoothed_loss(logits, target, smoothing=0.1, pad=PAD_ID)
        assert loss.item() == pytest.approx(facts["loss_sum_nats"], rel=1e-5)
        assert nll.item() == pytest.approx(facts["nll_sum_nats"], rel=1e-5)


@pytest.mark.parametrize(("name", "index"), CASES)
def test_loss_of_every_token(folder: Path, name: str, index: int) -> None:
    golden = Golden(folder / name)
    source, target_in, target = golden.batch()
    with torch.inference_mode():
        logits = golden.model(source, target_in, golden.architecture(index))[target.ne(PAD_ID)]
    wanted = target[target.ne(PAD_ID)]
    pairs = zip(logits.split(1), wanted.split(1), strict=True)
    losses = [label_smoothed_loss(*pair, smoothing=0.1, pad=PAD_ID) for pair in pairs]
    for ours, theirs in zip(zip(*losses, strict=True), ("loss", "nll"), strict=True):
        torch.testing.assert_close(torch.stack(ours), golden.array(f"c{index}_token_{theirs}"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "index"), CASES)
def test_encoder_layers(folder: Path, name: str, index: int) -> None:
    """Every attended encoder layer, not just what becomes of it: with pre-norm only the last one is normalised."""
    golden = Golden(folder / name)
    theirs_source = golden.array("src_tokens")
    with torch.inference_mode():
        encoded = golden.model.extract(golden.architecture(index)).encode(right_padded(theirs_source))
    expected = [golden.array(f"c{index}_encoder_out_all{layer}") for layer in range(len(encoded.layers))]
    expected[-1] = golden.array(f"c{index}_encoder_out")
    for ours, theirs in zip(encoded.layers, expected, strict=True):
        rows = theirs.transpose(0, 1)[theirs_source.ne(PAD_ID)]  # theirs is length first
        torch.testing.assert_close(ours[right_padded(theirs_source).ne(PAD_ID)], rows, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "index"), CASES)
def test_features_and_parameters(folder: Path, name: str, index: int) -> None:
    golden = Golden(folder / name)
    architecture, facts = golden.architecture(index), golden.facts["configs"][index]
    assert features(architecture) == pytest.approx(facts["features"])
    net = golden.model.extract(architecture)
    embeddings = {"source_embedding", "target_embedding", "output_embedding"}
    held = sum(weight.numel() for key, weight in net.weights().items() if key.split(".")[0] not in embeddings)
    counted = count_parameters(architecture, pre_norm=golden.model.options.pre_norm).without_embeddings
    assert held == counted
    if name == "small":  # their counter fails on the other kinds of model
        assert counted == facts["params_no_embed_reference"]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_multiply_adds(folder: Path, name: str, index: int) -> None:
    """Theirs were counted by a profiler, which sees LayerNorm, scaling and masks, too: those have closed forms."""
    golden = Golden(folder / name)
    architecture, facts = golden.architecture(index), golden.facts["configs"][index]
    length = facts["flops_dummy_len"]
    counted = count_multiply_adds(architecture, length, length, target_vocab_size=120)
    encoder_width, decoder_width = length * architecture.encoder.embed_dim, length * architecture.decoder.embed_dim
    final_norms = 1 if golden.model.options.pre_norm else 0
    scaling = 3 + length * architecture.qkv_dim  # of queries, for each attention
    others = (
        len(architecture.encoder.layers) * (scaling + 2 * encoder_width)
        + len(architecture.decoder.layers) * (2 * scaling + 3 * decoder_width)
        + (1 + final_norms) * (encoder_width + decoder_width)
        + 2 * length
    )
    assert facts["total_flops"] == 2 * (counted.total + others)


def test_super_transformer_holds_as_many_parameters_as_theirs(folder: Path) -> None:
    for name in CONFIGURATIONS:
        golden = Golden(folder / name)
        assert sum(weight.numel() for weight in golden.model.parameters()) == golden.facts["n_params_super"]


def test_space_is_the_one_that_was_searched(folder: Path) -> None:
    for name in CONFIGURATIONS:
        golden = Golden(folder / name)
        space, choices = golden.model.space, golden.facts["choices"]
        assert list(space.encoder.embed_dim) == choices["encoder"]["encoder_embed_dim"]
        assert list(space.decoder.num_layers) == choices["decoder"]["decoder_layer_num"]
        assert list(space.decoder.attended_encoder_layers) == [1, 2, 3]
        for index in range(CONFIGURATIONS[name]):
            assert golden.architecture(index) in space
        for config in golden.facts["sample_configs_by_seed"].values():
            assert architecture_of(config, 64) in space


class TestTrained:
    """A model that was really trained: peaked distributions, natural end symbols."""

    @pytest.mark.parametrize("index", range(5))
    def test_logits_and_losses(self, folder: Path, index: int) -> None:
        golden = Golden(folder / "small_trained")
        facts = golden.facts["configs"][index]
        source, target_in, target = golden.batch(f"{facts['name']}_", "prev")
        with torch.inference_mode():
            logits = golden.model(source, target_in, golden.architecture(index))
        assert difference(logits, golden.array(f"{facts['name']}_logits"), target) < 1e-4
        loss, nll = label_smoothed_loss(logits, target, smoothing=0.1, pad=PAD_ID)
        assert loss.item() == pytest.approx(facts["loss_sum_nats_first4"], rel=1e-5)
        assert nll.item() == pytest.approx(facts["nll_sum_nats_first4"], rel=1e-5)


class TestElasticEncoderDepth:
    """Never used by the authors: their decoder attends copies of the last layer when the encoder is shallower."""

    def test_agrees_where_one_layer_is_attended_or_the_encoder_is_whole(self, folder: Path) -> None:
        golden = Golden(folder / "small_encdepth")
        source, target_in, target = golden.batch()
        agreeing = [0, 1, 2, 4, 5, 6, 7]
        depths = set()
        for index in agreeing:
            architecture = golden.architecture(index)
            depths.add(len(architecture.encoder.layers))
            with torch.inference_mode():
                logits = golden.model(source, target_in, architecture)
            assert difference(logits, golden.array(f"c{index}_logits"), target) < 1e-4
        assert depths == {1, 2, 3}

    def test_differs_by_the_copies_alone(self, folder: Path) -> None:
        golden = Golden(folder / "small_encdepth")
        stacks = stacks_of(golden.facts["configs"][3]["config"])
        theirs = [layer["attended_encoder_layers"] for layer in stacks["decoder"]["layers"]]
        assert (len(stacks["encoder"]["layers"]), theirs) == (2, [2, 3, 1])
        expected, (source, target_in, target) = golden.array("c3_logits"), golden.batch()

        # Ours attends the last active layers, and never more than there are.
        spec = DecoderSpec.model_validate(stacks["decoder"])
        for layer in stacks["decoder"]["layers"]:
            layer["attended_encoder_layers"] = min(layer["attended_encoder_layers"], 2)
        net = golden.model.extract(Architecture.from_dict({"format": "hat.architecture/1", "qkv_dim": 64, **stacks}))
        with torch.inference_mode():
            assert difference(net(source, target_in), expected, target) > 0.1

            # Their list has one entry per layer of the SuperTransformer; a skipped layer repeats its input.
            encoded = net.encode(source)
            copied = Encoded((*encoded.layers, encoded.layers[-1]), encoded.bias)
            logits = _decode(net, copied, target_in, spec)
        assert difference(logits, expected, target) < 1e-4


def _decode(net: Transformer, encoded: Encoded, target_in: Tensor, spec: DecoderSpec) -> Tensor:
    embedded = net._embed_target(target_in, net.decoder_positions(0, target_in.size(1), spec.embed_dim))
    return net.output_embedding.logits(net.decoder(embedded, spec, encoded, Dropout()))


class TestTraining:
    """Six updates of six SubTransformers without dropout, from the weights of ``small``."""

    @pytest.fixture
    def steps(self, folder: Path) -> dict:
        return json.loads((folder / "small_traj" / "traj.json").read_text(encoding="utf-8"))

    @pytest.fixture
    def arrays(self, folder: Path) -> dict[str, np.ndarray]:
        with np.load(folder / "small_traj" / "traj.npz") as file:
            return dict(file)

    @pytest.mark.parametrize("fused", [False, True], ids=["loss of logits", "loss of the decoder's output"])
    def test_trajectory(self, folder: Path, steps: dict, arrays: dict[str, np.ndarray], fused: bool) -> None:
        model = read_checkpoint(folder / "small" / "checkpoint.pt")
        optimizer = _AuthorsAdam(model, betas=(0.9, 0.98), weight_decay=steps["weight_decay"])
        for number, step in enumerate(steps["steps"]):
            _backward(model, step, arrays, number, fused)
            norm = nn.utils.clip_grad_norm_(model.parameters(), steps["clip_norm"]).item()
            assert norm == pytest.approx(step["gnorm_before_clip"], rel=1e-5)
            if number == 0:
                _check_gradients(model, steps, arrays)
            optimizer.step(step["lr_used"])
            if number == 0:
                # One step of 1e-7, of which this is a hundredth.
                _check_weights(model, _named(arrays, "param_after1/", model), atol=1e-9)
        # Steps of up to 5e-3: where a gradient is nearly rounding noise, the direction is, too. Measured: 2e-5. With
        # torch's own eps, it is 1e-2.
        _check_weights(model, _named(arrays, "param_after6/", model), atol=1e-4)
        _check_weights(model, read_checkpoint(folder / "small_traj" / "checkpoint_after6.pt").weights(), atol=1e-4)


class _AuthorsAdam:
    """torch's AdamW as the authors' Adam: its eps is not divided by the bias correction of the second moment.

    Every parameter is a group of its own, because layers that an update leaves out have taken fewer steps.
    """

    def __init__(self, model: SuperTransformer, betas: tuple[float, float], weight_decay: float) -> None:
        groups = [{"params": [parameter]} for parameter in model.parameters()]
        self._adam = torch.optim.AdamW(groups, betas=betas, weight_decay=weight_decay)

    def step(self, lr: float) -> None:
        for group in self._adam.param_groups:
            state = self._adam.state[group["params"][0]]
            steps = int(state["step"]) + 1 if state else 1
            group["lr"] = lr
            group["eps"] = 1e-8 / math.sqrt(1.0 - group["betas"][1] ** steps)
        self._adam.step()


def _backward(model: SuperTransformer, step: dict, arrays: dict[str, np.ndarray], number: int, fused: bool) -> None:
    """Gradients of the mean loss per token; the loss must be theirs."""
    names = ("src_tokens", "prev_output_tokens", "target")
    source, target_in, target = (torch.from_numpy(arrays[f"s{number}_{name}"]).long() for name in names)
    source, architecture = right_padded(source), architecture_of(step["config"], 64)
    if fused:
        weight = model.output_weight(architecture.decoder.embed_dim)
        loss, nll = output_loss(model.hidden(source, target_in, architecture), weight, target, 0.1, PAD_ID)
    else:
        loss, nll = label_smoothed_loss(model(source, target_in, architecture), target, 0.1, PAD_ID)
    tokens = int(target.ne(PAD_ID).sum())
    assert tokens == step["ntokens"]
    assert loss.item() / tokens / math.log(2) == pytest.approx(step["loss_bits"], rel=1e-5)
    assert nll.item() / tokens / math.log(2) == pytest.approx(step["nll_bits"], rel=1e-5)
    model.zero_grad()
    (loss / tokens).backward()


def _named(arrays: dict[str, np.ndarray], prefix: str, model: SuperTransformer) -> dict[str, Tensor]:
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return convert(NamedArrays(found), model.sizes, model.options)


def _check_gradients(model: SuperTransformer, steps: dict, arrays: dict[str, np.ndarray]) -> None:
    expected = _named(arrays, "grad0/", model)
    skipped = {name.split(".", 3)[2] for name in steps["params_without_grad_step0"]}
    assert skipped == {"2"}  # the decoder's third layer, and nothing else
    for name, parameter in model.named_parameters():
        if name.startswith("decoder.layers.2."):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def _check_weights(model: SuperTransformer, expected: dict[str, Tensor], atol: float) -> None:
    for name, weight in model.weights().items():
        difference = (weight - expected[name]).abs()
        # A constant added to all keys cancels in the softmax: these gradients are rounding noise, which Adam
        # turns into full steps.
        if name.endswith("qkv_proj.bias"):
            difference.chunk(3)[1].zero_()
        elif name.endswith("kv_proj.bias"):
            difference.chunk(2)[0].zero_()
        assert difference.max().item() < atol, name


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_initial_weights_have_the_same_distribution(folder: Path, name: str) -> None:
    golden = Golden(folder / name)
    stats = json.loads((folder / name / "reference_init_stats.json").read_text(encoding="utf-8"))
    model = golden.model.__class__(
        golden.model.space, source_vocab_size=120, target_vocab_size=120, **golden.model.options.model_dump()
    )
    model.reset_parameters(torch.Generator().manual_seed(1))
    fields = ("std", "absmax", "mean")
    expected = {field: convert(_filled(stats, field), model.sizes, model.options) for field in fields}
    for key, weight in model.weights().items():
        std, absmax = expected["std"][key].mean().item(), expected["absmax"][key].max().item()
        if std == 0:  # biases and LayerNorm
            assert torch.equal(weight, expected["mean"][key]), key
            continue
        # Sampling error of a standard deviation over the 3,072 numbers and more of a matrix: 1 %, on both sides.
        assert weight.std().item() == pytest.approx(std, rel=0.04), key
        if key.endswith("embedding.weight"):  # normal, without a bound
            assert bool((weight[PAD_ID] == 0).all())
        else:
            assert weight.abs().max().item() == pytest.approx(absmax, rel=0.005), key


def _filled(stats: dict, field: str) -> NamedArrays:
    arrays = {key: np.full(value["shape"], value[field], dtype=np.float32) for key, value in stats.items()}
    return NamedArrays(arrays)
