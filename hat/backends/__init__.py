"""What runs a network's encoder and decoder steps: torch as it is, torch's compiler, or ONNX Runtime.

The beam search of :mod:`hat.decoding` drives every one of them alike.
"""

from hat.backends.backend import Backend, Placement, Renew, problem
from hat.backends.compiled import COMPILE
from hat.backends.eager import EAGER
from hat.backends.onnx_runtime import ONNX_RUNTIME

BACKENDS = {"eager": EAGER, "compile": COMPILE, "onnxruntime": ONNX_RUNTIME}

__all__ = ["BACKENDS", "Backend", "Placement", "Renew", "problem"]
