"""torch.compile of the encoder and of the decoder step."""

import copy
import importlib.util
import os
import shutil
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from hat.backends.backend import Backend, Placement, Renew
from hat.backends.graphs import Encoder, EncoderGraph, GraphNetwork, Step, StepGraph
from hat.nn import Transformer

_COMPILERS = ("g++", "clang++", "c++", "cl")


def _prepare(net: Transformer, place: Placement) -> Renew:
    """Compile the network: when it is first called, and once for all copies that are made in memory.

    Lengths, batch and beam are variables of what is compiled. The compiler takes 0 and 1 for constants all the same: a
    decoder step is compiled for the first, the second and all further positions, and anew for a single sentence or
    hypothesis. That is few enough for one beam; with several, an error may tell that it is compiled too often.
    """
    own = copy.deepcopy(net).eval().to(place.device, getattr(torch, place.dtype))
    encoder, step = EncoderGraph(own), StepGraph(own)

    def run_encoder(source: Tensor) -> list[Tensor]:
        return encoder(source)

    def run_step(
        tokens: Tensor, positions: Tensor, past: Tensor, memories: list[Tensor], caches: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        return step(tokens, positions, past, memories, caches)

    compiled_encoder: Encoder = _compile(run_encoder)
    compiled_step: Step = _compile(run_step)

    def renew() -> GraphNetwork:
        _move(own)
        return GraphNetwork(own, compiled_encoder, compiled_step)

    return renew


def _compile(function: Callable[..., Any]) -> Any:
    """``torch.compile`` of a function that only one network has.

    What is compiled is kept by code object, up to some number. With one of its own, each network is compiled however
    many there were before, no call checks what was compiled for others, and all of it goes with the network.
    """
    assert isinstance(function, FunctionType)
    function.__code__ = function.__code__.replace(co_name=function.__name__)
    # fullgraph: what cannot be compiled is an error, and is not run as it is.
    return torch.compile(function, dynamic=True, fullgraph=True)


def _move(net: nn.Module) -> None:
    """Give every weight and table another place in memory."""
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.data = tensor.data.clone()


def _missing(device_type: str) -> str | None:
    if device_type == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "needs the package triton for a GPU, which is not installed; use eager."
        return None
    named = os.environ.get("CXX")
    if any(shutil.which(name) for name in ((named,) if named else _COMPILERS)):
        return None
    return f"needs a C++ compiler ({named or 'g++ or clang++'}), none is on the PATH; install one, or use eager."


COMPILE = Backend(
    dtypes={"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")},
    missing=_missing,
    prepare=_prepare,
)
