"""The paper's latency predictor: ten normalised features, a ReLU network, one output. Prediction needs no torch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hat.errors import DataError
from hat.latency.rows import FloatArray

Layers = tuple[tuple[FloatArray, FloatArray], ...]
Tensors = dict[str, npt.NDArray[np.float32]]

PAPER_FEATURE_SCALE = (640.0, 6.0, 2048.0, 6.0, 640.0, 6.0, 2048.0, 6.0, 6.0, 2.0)
"""What the authors' released configs divide the ten features by."""


@dataclass(frozen=True)
class Normalisation:
    """How features and latencies become the network's inputs and output: less the mean, divided by the scale."""

    feature_mean: tuple[float, ...]
    feature_scale: tuple[float, ...]
    latency_mean_ms: float
    latency_scale_ms: float
    lowest_ms: float
    """No prediction is below this: fitted to few or noisy rows, the network can fall below zero for architectures
    smaller than any it saw, and no limit would then seem impossible."""

    def inputs(self, features: FloatArray) -> FloatArray:
        """Normalised features, (n, 10) → (n, 10)."""
        return np.asarray((features - np.array(self.feature_mean)) / np.array(self.feature_scale))

    def outputs(self, latency_ms: FloatArray) -> FloatArray:
        """What the network should answer for these latencies."""
        return (latency_ms - self.latency_mean_ms) / self.latency_scale_ms

    def latency_ms(self, outputs: FloatArray) -> FloatArray:
        """The latencies these answers stand for."""
        return np.maximum(outputs * self.latency_scale_ms + self.latency_mean_ms, self.lowest_ms)


@dataclass(frozen=True)
class MLP:
    """A trained network and its normalisation.

    Source: HAT (arXiv:2005.14187), section 3.3: three hidden layers of 400 units.
    """

    normalisation: Normalisation
    layers: Layers
    """Weight (out, in) and bias (out,) of each layer, a ReLU between two of them. The numbers are those of float32;
    they are computed with in double precision, so that a row predicted alone and among others gives one number."""

    def predict_ms(self, features: FloatArray) -> FloatArray:
        """Latencies of n architectures, (n, 10) → (n,), rounded to a nanosecond."""
        x = self.normalisation.inputs(features)
        for index, (weight, bias) in enumerate(self.layers):
            x = (np.maximum(x, 0.0) if index > 0 else x) @ weight.T + bias
        return np.asarray(np.round(self.normalisation.latency_ms(x[:, 0]), 6))

    def tensors(self) -> Tensors:
        """The weights by name, in float32."""
        tensors = {}
        for index, (weight, bias) in enumerate(self.layers):
            tensors[f"layers.{index}.weight"] = weight.astype(np.float32)
            tensors[f"layers.{index}.bias"] = bias.astype(np.float32)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Tensors, normalisation: Normalisation, where: str) -> "MLP":
        """The network that :meth:`tensors` took apart; ``where`` starts the DataError when the weights do not fit."""
        layers, width = [], len(normalisation.feature_mean)
        for index in range(len(tensors) // 2):
            weight, bias = (tensors.get(f"layers.{index}.{name}") for name in ("weight", "bias"))
            if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
                raise DataError(f"{where}: layer {index} must have a weight and a bias that fit together, has not.")
            if weight.shape[1] != width or not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise DataError(f"{where}: layer {index} must have finite weights for {width} inputs, has not.")
            layers.append((weight.astype(np.float64), bias.astype(np.float64)))
            width = len(bias)
        if width != 1 or len(tensors) != 2 * len(layers):
            raise DataError(f"{where}: must hold the layers of a network with one output, does not.")
        return cls(normalisation, tuple(layers))
