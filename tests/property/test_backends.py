"""Backends: whatever runs a network, what it computes is the same; what cannot run is said in one line."""

import importlib.util
import logging
import random
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from random_models import random_batch, randomize
from torch import Tensor

from hat.backends import BACKENDS, Placement, onnx_export, onnx_runtime, problem
from hat.backends import compiled as compiled_module
from hat.decoding import BeamOptions, DecodingNetwork, beam_search
from hat.latency.settings import CallSettings
from hat.nn import Transformer, packed
from hat.nn.elastic import ElasticLinear
from hat.nn.packed import PackedTransformer
from hat.nn.products import Int8Linear
from hat.space import Architecture

OPTIONS = BeamOptions(beam=4, max_length_ratio=0, max_length_offset=7)
EXACT = OPTIONS.model_copy(update={"min_length": 7})
"""No sentence ends before the others, as when latencies are measured."""
SOURCE = torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1], [3, 2, 1, 1, 1]])  # of three lengths, padded
TOKENS = torch.tensor([[2, 2], [5, 9], [7, 3], [11, 4]])  # four steps of two hypotheses


def some_net(encoder: Sequence[tuple[int, int]], decoder: Sequence[tuple[int, int, int, int]], **options: Any) -> Any:
    """A network of width 12 and 8; layers are (ffn_dim, heads), (ffn_dim, heads, cross heads, attended layers)."""
    names = "ffn_dim", "self_attn_heads", "cross_attn_heads", "attended_encoder_layers"
    architecture = {
        "format": "hat.architecture/1",
        "qkv_dim": 8,
        "encoder": {"embed_dim": 12, "layers": [dict(zip(names, layer, strict=False)) for layer in encoder]},
        "decoder": {"embed_dim": 8, "layers": [dict(zip(names, layer, strict=True)) for layer in decoder]},
    }
    net = Transformer(Architecture.from_dict(architecture), source_vocab_size=13, target_vocab_size=13, **options)
    randomize(net, torch.Generator().manual_seed(1))
    return net.eval()


NETS = {
    "attends one and three layers": some_net([(8, 1), (16, 2), (8, 4)], [(16, 2, 4, 3), (8, 1, 2, 1)]),
    "attends two layers, pre-norm": some_net([(8, 2), (24, 1)], [(8, 4, 1, 2)], pre_norm=True, share_embeddings="none"),
}
EXPORTED: dict[str, Path] = {}


def on(backend: str, dtype: str, net: Transformer) -> DecodingNetwork:
    return BACKENDS[backend].prepare(net, Placement(torch.device("cpu"), dtype, 1))()


@torch.inference_mode()
def step_logits(net: DecodingNetwork, sentences: int) -> Tensor:
    """Logits of four steps, two hypotheses a sentence; they change places, and a sentence is done after two."""
    state = net.start(net.encode(SOURCE[:sentences]), 2)
    logits = []
    for number, pair in enumerate(TOKENS):
        logits.append(net.step(pair.expand(sentences, -1), state))
        kept = None
        if number == 1 and sentences > 1:  # the first is done
            sentences -= 1
            kept = torch.arange(1, sentences + 1)
        state.follow(torch.tensor([[1, 0]]).expand(sentences, -1), kept)
    return torch.cat([step.flatten(0, 1) for step in logits])


def assert_same_search(net: DecodingNetwork, expected: Transformer, source: Tensor, options: BeamOptions) -> None:
    found, wanted = beam_search(net, source, options), beam_search(expected, source, options)
    assert [[h.tokens for h in sentence] for sentence in found] == [[h.tokens for h in sentence] for sentence in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=1e-4)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every network is exported once for all tests: that takes seconds."""

    def export(net: Transformer, folder: Path) -> None:
        key = next(name for name, known in NETS.items() if known.architecture == net.architecture)
        if key not in EXPORTED:
            EXPORTED[key] = tmp_path_factory.mktemp("onnx")
            onnx_export.export_onnx(net, EXPORTED[key])
        shutil.copytree(EXPORTED[key], folder, dirs_exist_ok=True)

    monkeypatch.setattr(onnx_runtime, "export_onnx", export)


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_onnxruntime_is_eager(net: Transformer) -> None:
    new = BACKENDS["onnxruntime"].prepare(net, Placement(torch.device("cpu"), "float32", 1))
    rng = random.Random(1)
    for copy in (new(), new()):
        for sentences in (1, 3):
            torch.testing.assert_close(step_logits(copy, sentences), step_logits(net, sentences), rtol=0, atol=1e-4)
        for size, beam in ((1, 1), (1, 4), (3, 1), (4, 5)):
            source, _ = random_batch(rng, net, size)
            assert_same_search(copy, net, source, OPTIONS.model_copy(update={"beam": beam}))


@pytest.mark.usefixtures("exported")
def test_every_weight_of_a_linear_layer_is_int8_in_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    kept: list[Any] = []
    quantize = onnx_runtime._quantize
    monkeypatch.setattr(onnx_runtime, "_quantize", lambda path: (quantize(path), kept.append(onnx.load(path))))
    net = NETS["attends two layers, pre-norm"]
    handlers = list(logging.getLogger().handlers)
    compare_int8(step_logits(on("onnxruntime", "int8", net), 3), step_logits(net, 3))
    assert logging.getLogger().handlers == handlers, "nobody's messages are printed twice from now on"
    encoder, step = kept
    # The encoder's layers have 4 linear layers each, the decoder's 6 and one for the memory; and the output projection.
    for model, layers in ((encoder, 2 * 4 + 1), (step, 6 + 1)):
        assert sum(node.op_type == "MatMulInteger" for node in model.graph.node) == layers
        weights = {value.name: list(value.dims) for value in model.graph.initializer if value.data_type == 3}
        scales = [value for value in model.graph.initializer if value.name.endswith("_scale") and list(value.dims)]
        assert len(scales) == layers
        assert len([dims for dims in weights.values() if len(dims) == 2]) == layers


def compare_int8(logits: Tensor, expected: Tensor) -> None:
    assert 0 < (logits - expected).abs().mean() < 0.04 * expected.std()


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_int8_is_close_to_float32(net: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_LEAST_WEIGHTS", 0)
    quantized = on("eager", "int8", net)
    assert isinstance(quantized, PackedTransformer)
    assert not [module for module in quantized.modules() if isinstance(module, ElasticLinear)]
    compare_int8(step_logits(quantized, 3), step_logits(net, 3))


def test_int8_rows_have_their_own_scales() -> None:
    """Rows a million times apart each keep their precision; a row of zeros stays one."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 16, generator=generator) * torch.tensor([[1e-3], [1.0], [1e3], [0.0], [1e-6]])
    x, bias = torch.randn(7, 16, generator=generator), torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0])
    found, wanted = Int8Linear(weight, bias)(x, len(bias)), torch.nn.functional.linear(x, weight, bias)
    assert found[:, 3].tolist() == [2.0] * 7
    error = (found - wanted).abs().amax(0) / (wanted - bias).abs().amax(0)
    assert (error[[0, 1, 2, 4]] < 0.05).all()


def test_a_copy_is_a_copy() -> None:
    net = NETS["attends one and three layers"]
    first, second = on("eager", "float32", net), on("eager", "float32", net)
    assert isinstance(first, PackedTransformer) and isinstance(second, PackedTransformer)
    own, other = first._net.source_embedding.weight, second._net.source_embedding.weight
    assert torch.equal(own, other) and len({w.data_ptr() for w in (own, other, net.source_embedding.weight)}) == 3


def test_what_is_compiled_is_compiled_once_for_all_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the compiler proper, which takes minutes."""
    compilations: list[Any] = []

    def note(graph: Any, inputs: Any) -> Any:
        compilations.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=note))
    net = some_net([(8, 1)], [(8, 1, 2, 1)])
    new = BACKENDS["compile"].prepare(net, Placement(torch.device("cpu"), "float32", 1))
    assert_same_search(new(), net, SOURCE, EXACT)
    assert len(compilations) == 1 + 3  # the encoder; steps of positions 0, 1 and above
    for words in (4, 2):  # a new copy, and other lengths
        options = EXACT.model_copy(update={"min_length": words, "max_length_offset": words})
        assert_same_search(new(), net, SOURCE[:, : words + 1].clone().index_fill_(1, torch.tensor(words), 2), options)
    assert len(compilations) == 1 + 3


def test_no_network_is_compiled_with_the_code_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch keeps so many compilations of one code and no more."""
    functions: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: functions.append(function) or function)
    for _ in range(5):
        BACKENDS["compile"].prepare(some_net([(8, 1)], [(8, 1, 2, 1)]), Placement(torch.device("cpu"), "float32", 1))
    assert len(functions) == len({id(function.__code__) for function in functions}) == 10


@pytest.mark.skipif(compiled_module._missing("cpu") is not None, reason="torch.compile needs a C++ compiler, none here")
def test_compile_is_eager() -> None:
    net = some_net([(8, 1)], [(8, 1, 2, 1)])
    assert_same_search(on("compile", "float32", net), net, SOURCE, OPTIONS)


def test_the_settings_name_all_backends() -> None:
    assert set(get_args(CallSettings.model_fields["backend"].annotation)) == BACKENDS.keys()
    dtypes = {dtype for backend in BACKENDS.values() for able in backend.dtypes.values() for dtype in able}
    assert set(get_args(CallSettings.model_fields["dtype"].annotation)) == dtypes


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "message"),
    [
        ("eager", "cpu", "float16", "dtype: must be one of float32, bfloat16, int8 for backend eager on cpu"),
        (
            "eager",
            "cuda",
            "int8",
            "dtype: must be one of float32, bfloat16, float16 for backend eager on cuda, is int8",
        ),
        ("compile", "cpu", "int8", "dtype: must be one of float32, bfloat16 for backend compile on cpu, is int8"),
        ("onnxruntime", "cpu", "bfloat16", "dtype: must be one of float32, int8 for backend onnxruntime on cpu"),
        ("onnxruntime", "cuda", "float32", "backend: onnxruntime runs on cpu only, device is cuda; set device to cpu"),
    ],
)
def test_combinations_that_cannot_be(backend: str, device: str, dtype: str, message: str) -> None:
    told = problem(backend, BACKENDS[backend], device, dtype)
    assert told is not None and told.startswith(message)


def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    told = problem("compile", BACKENDS["compile"], "cpu", "float32")
    assert told == (
        "backend: compile needs a C++ compiler (g++ or clang++), none is on the PATH; install one, or use eager."
    )
    monkeypatch.setenv("CXX", "icpx")
    assert "(icpx)" in (problem("compile", BACKENDS["compile"], "cpu", "float32") or "")


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find(name))
    told = problem("onnxruntime", BACKENDS["onnxruntime"], "cpu", "float32")
    assert told == (
        "backend: onnxruntime needs onnx, onnxscript, onnxruntime, not installed here; pip install onnx onnxscript "
        "onnxruntime, or use eager."
    )
    assert "hat.backends" in sys.modules, "which is read without them"
