"""The trained latency predictor: a plain function from an architecture to milliseconds. No torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hat.artifacts import atomic_path, make_folder, read_json, write_json
from hat.config import Section, describe_validation_error
from hat.errors import DataError
from hat.latency.dataset import Target
from hat.latency.mlp import MLP, FloatArray, Normalisation
from hat.latency.settings import DeviceRecord
from hat.space import Architecture
from hat.space.encoding import FEATURE_NAMES, features

PREDICTOR_FILE = "predictor.json"
WEIGHTS_FILE = "model.safetensors"


class _Feature(Section):
    name: str
    mean: float
    scale: float = Field(gt=0)


class _Latency(Section):
    mean_ms: float
    scale_ms: float = Field(gt=0)
    lowest_ms: float = Field(gt=0)


class _PredictorFile(Section):
    """The content of ``predictor.json``."""

    format: Literal["hat.predictor/1"]
    kind: Literal["mlp"]
    target: Target
    features: tuple[_Feature, ...]
    latency: _Latency
    weights_sha256: str
    """Of ``model.safetensors``: weights of one training must not meet the normalisation of another."""
    device: DeviceRecord | None
    anchor_ms: float | None = Field(default=None, gt=0)


class LatencyPredictor:
    """Predicts latencies; ``predictor(architecture)`` gives milliseconds.

    Args:
        model: the trained network.
        target: which latency it predicts.
        device: where and how its training data were measured; None when that is not known.
        anchor_ms: total latency of ``device.anchor`` at the pace that predictions are for; None without an anchor.
    """

    def __init__(
        self,
        model: MLP,
        target: Target = "total",
        device: DeviceRecord | None = None,
        anchor_ms: float | None = None,
    ) -> None:
        self.model = model
        self.target = target
        self.device = device
        self.anchor_ms = anchor_ms

    def __call__(self, architecture: Architecture) -> float:
        """Milliseconds of one architecture."""
        return self.predict_ms(architecture)

    def predict_ms(self, architecture: Architecture) -> float:
        """Milliseconds of one architecture, the same as :meth:`predict_ms_batch` gives for it."""
        return self.predict_ms_batch([architecture])[0]

    def predict_ms_batch(self, architectures: Sequence[Architecture]) -> list[float]:
        """Milliseconds of each of many architectures, faster than one by one."""
        if not architectures:
            return []
        predicted: list[float] = self.predict_features_ms(np.array([features(item) for item in architectures])).tolist()
        return predicted

    def predict_features_ms(self, table: FloatArray) -> FloatArray:
        """Milliseconds of n architectures given by their features, (n, 10) → (n,)."""
        return self.model.predict_ms(table)

    def save(self, folder: str | Path) -> None:
        """Write ``predictor.json`` and ``model.safetensors`` atomically."""
        folder = make_folder(folder)
        content = save(self.model.tensors())
        with atomic_path(folder / WEIGHTS_FILE) as temporary:
            temporary.write_bytes(content)
        normalisation = self.model.normalisation
        means, scales = normalisation.feature_mean, normalisation.feature_scale
        values = {
            "format": "hat.predictor/1",
            "kind": "mlp",
            "target": self.target,
            "features": [
                {"name": name, "mean": mean, "scale": scale}
                for name, mean, scale in zip(FEATURE_NAMES, means, scales, strict=True)
            ],
            "latency": {
                "mean_ms": normalisation.latency_mean_ms,
                "scale_ms": normalisation.latency_scale_ms,
                "lowest_ms": normalisation.lowest_ms,
            },
            "weights_sha256": hashlib.sha256(content).hexdigest(),
            "device": None if self.device is None else self.device.model_dump(mode="json"),
            "anchor_ms": self.anchor_ms,
        }
        write_json(folder / PREDICTOR_FILE, values)

    @classmethod
    def load(cls, folder: str | Path) -> "LatencyPredictor":
        """Read a folder that :meth:`save` wrote; it predicts the same numbers. Raises DataError naming the file."""
        path, weights_path = Path(folder) / PREDICTOR_FILE, Path(folder) / WEIGHTS_FILE
        try:
            file = _PredictorFile.model_validate(read_json(path, "a latency predictor"))
        except ValidationError as error:
            raise DataError(f"{path}: {describe_validation_error(_PredictorFile, error)}.") from None
        names = tuple(feature.name for feature in file.features)
        if names != FEATURE_NAMES:
            raise DataError(f"{path}: features must be {', '.join(FEATURE_NAMES)} in this order, are others.")
        content = _read_bytes(weights_path)
        if hashlib.sha256(content).hexdigest() != file.weights_sha256:
            raise DataError(f"{weights_path}: must be the weights that {PREDICTOR_FILE} was written with, is not.")
        try:
            tensors = load(content)
        except (SafetensorError, ValueError) as error:
            raise DataError(f"{weights_path}: cannot be read as weights: {error}.") from None
        normalisation = Normalisation(
            tuple(feature.mean for feature in file.features),
            tuple(feature.scale for feature in file.features),
            file.latency.mean_ms,
            file.latency.scale_ms,
            file.latency.lowest_ms,
        )
        model = MLP.from_tensors(tensors, normalisation, str(weights_path))
        return cls(model, file.target, file.device, file.anchor_ms)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a predictor's weights: {error.strerror}.") from None
