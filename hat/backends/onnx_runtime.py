"""ONNX Runtime on the CPU: the extra ``export``."""

import copy
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hat.backends.backend import Backend, Placement, Renew
from hat.backends.graphs import GraphNetwork
from hat.backends.onnx_export import ENCODER_FILE, STEP_FILE, export_onnx, quiet
from hat.nn import Transformer

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def _prepare(net: Transformer, place: Placement) -> Renew:
    """Export the network, which takes some seconds; every copy is a session of its own."""
    own = copy.deepcopy(net).eval().to("cpu", torch.float32)
    with tempfile.TemporaryDirectory(prefix="hat-onnx-") as name:
        folder = Path(name)
        export_onnx(own, folder)
        models = []
        for file in (ENCODER_FILE, STEP_FILE):
            if place.dtype == "int8":
                _quantize(folder / file)
            models.append((folder / file).read_bytes())

    def renew() -> GraphNetwork:
        encoder, step = (_runner(model, place.threads) for model in models)

        def run_step(
            tokens: Tensor, positions: Tensor, past: Tensor, memories: list[Tensor], caches: list[Tensor]
        ) -> tuple[Tensor, list[Tensor]]:
            logits, *grown = step([tokens, positions, past, *memories, *caches])
            return logits, grown

        return GraphNetwork(own, lambda source: encoder([source]), run_step)

    return renew


def _runner(model: bytes, threads: int) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """A function that runs the model: inputs in its order → outputs, without copying them between the two libraries."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, feed)]

    return run


def _quantize(path: Path) -> None:
    """Make the weights of all linear layers int8, with a scale for each output channel."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model: Any = onnx.load(path)
    # The quantiser asks for another pass before it; the exporter has done what that would do.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    linear = ["MatMul", "Gemm"]
    with quiet():
        quantize_dynamic(model, path, op_types_to_quantize=linear, per_channel=True, weight_type=QuantType.QInt8)


def _missing(device_type: str) -> str | None:
    lacking = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if not lacking:
        return None
    return f"needs {', '.join(lacking)}, not installed here; pip install {' '.join(lacking)}, or use eager."


ONNX_RUNTIME = Backend(
    dtypes={"cpu": ("float32", "int8")}, missing=_missing, prepare=_prepare, packages=("onnxruntime",)
)
