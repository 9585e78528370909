"""The trained latency predictor: a plain function from an architecture to milliseconds. No torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hat.artifacts import atomic_path, make_folder, read_json, write_json
from hat.config import Section, describe_validation_error
from hat.errors import DataError
from hat.latency.cost_model import TERM_NAMES, CostModel
from hat.latency.dataset import Target
from hat.latency.mlp import MLP, Normalisation
from hat.latency.pace import MOST_LAG, MOST_SCATTER, Pace
from hat.latency.rows import FloatArray
from hat.latency.settings import DeviceRecord
from hat.latency.statistics import Statistic
from hat.space import Architecture
from hat.space.encoding import FEATURE_NAMES, features

PREDICTOR_FILE = "predictor.json"
WEIGHTS_FILE = "model.safetensors"
_FORMAT_BEFORE = "hat.predictor/1"

_TenNumbers = Annotated[tuple[float, ...], Field(min_length=len(FEATURE_NAMES), max_length=len(FEATURE_NAMES))]
_TenScales = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=len(FEATURE_NAMES), max_length=len(FEATURE_NAMES))
]


class _MLPFile(Section):
    feature_mean: _TenNumbers
    feature_scale: _TenScales
    latency_mean_ms: float
    latency_scale_ms: float = Field(gt=0)
    lowest_ms: float = Field(gt=0)
    weights_sha256: str
    """Of ``model.safetensors``: weights of one training must not meet the normalisation of another."""


class _CostModelFile(Section):
    costs_ms: dict[str, float]
    lowest_ms: float = Field(gt=0)


class _Feature(Section):
    name: str
    lowest: float
    highest: float


class _PaceFile(Section):
    anchor_ms: float = Field(ge=1e-6, le=1e9)
    lag: float = Field(ge=0, le=MOST_LAG)
    scatter: float = Field(ge=0, le=MOST_SCATTER)


class _PredictorFile(Section):
    """The content of ``predictor.json``; exactly the section that ``kind`` names is there."""

    format: Literal["hat.predictor/2"]
    kind: Literal["mlp", "structured"]
    target: Target
    statistic: Statistic = "mean"
    features: tuple[_Feature, ...]
    relative_error_90: float | None = Field(ge=0)
    mlp: _MLPFile | None = None
    structured: _CostModelFile | None = None
    device: DeviceRecord | None
    pace: _PaceFile | None = None

    @model_validator(mode="after")
    def _check(self) -> "_PredictorFile":
        given = [kind for kind in ("mlp", "structured") if getattr(self, kind) is not None]
        if given != [self.kind]:
            raise ValueError(f"the section {self.kind} must be there for kind {self.kind}, and no other kind's")
        if any(feature.lowest > feature.highest for feature in self.features):
            raise ValueError("the lowest value of a feature must not be above the highest")
        return self


@dataclass(frozen=True)
class Calibration:
    """How far a predictor can be trusted."""

    relative_error_90: float | None
    """Nine in ten measurements are at most this part of the prediction away from it; None where there were too few
    rows to tell."""
    lowest: tuple[float, ...]
    """Smallest value of each of the ten features among the rows the predictor was trained on."""
    highest: tuple[float, ...]
    """Largest value."""


@dataclass(frozen=True)
class Prediction:
    """A latency and how far it can be trusted."""

    latency_ms: float
    low_ms: float | None
    """Nine in ten measurements lie between this and ``high_ms``; None where there were too few rows to tell."""
    high_ms: float | None
    extrapolates: bool
    """Whether some feature of the architecture is outside what the predictor was trained on."""


class LatencyPredictor:
    """Predicts latencies; ``predictor(architecture)`` gives milliseconds.

    Args:
        model: what was fitted.
        calibration: how far it can be trusted.
        target: which latency it predicts.
        device: where and how its training data were measured; None when that is not known.
        pace: the machine's that predictions are for, told by the time of ``device.anchor``; None without an anchor.
        statistic: what of many runs it predicts.
    """

    def __init__(
        self,
        model: MLP | CostModel,
        calibration: Calibration,
        target: Target = "total",
        device: DeviceRecord | None = None,
        pace: Pace | None = None,
        statistic: Statistic = "mean",
    ) -> None:
        self.model = model
        self.calibration = calibration
        self.target = target
        self.device = device
        self.pace = pace
        self.statistic: Statistic = statistic

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

    def predict(self, architecture: Architecture) -> Prediction:
        """Latency of one architecture with the interval that nine in ten measurements fall into."""
        latency_ms, error = self.predict_ms(architecture), self.calibration.relative_error_90
        ranges = zip(features(architecture), self.calibration.lowest, self.calibration.highest, strict=True)
        return Prediction(
            latency_ms,
            low_ms=None if error is None else max(0.0, latency_ms * (1 - error)),
            high_ms=None if error is None else latency_ms * (1 + error),
            extrapolates=any(not low <= value <= high for value, low, high in ranges),
        )

    def save(self, folder: str | Path) -> None:
        """Write ``predictor.json``, and ``model.safetensors`` for a network, atomically."""
        folder = make_folder(folder)
        kind, section = self._save_model(folder)
        lowest, highest = self.calibration.lowest, self.calibration.highest
        values = {
            "format": "hat.predictor/2",
            "kind": kind,
            "target": self.target,
            "statistic": self.statistic,
            "features": [
                {"name": name, "lowest": low, "highest": high}
                for name, low, high in zip(FEATURE_NAMES, lowest, highest, strict=True)
            ],
            "relative_error_90": self.calibration.relative_error_90,
            kind: section,
            "device": None if self.device is None else self.device.model_dump(mode="json"),
            "pace": None if self.pace is None else asdict(self.pace),
        }
        write_json(folder / PREDICTOR_FILE, values)

    def _save_model(self, folder: Path) -> tuple[str, dict[str, Any]]:
        """Write the weights if there are any; the model's kind and what ``predictor.json`` says of it."""
        model = self.model
        if isinstance(model, CostModel):
            costs_ms = dict(zip(TERM_NAMES, model.costs_ms, strict=True))
            return "structured", {"costs_ms": costs_ms, "lowest_ms": model.lowest_ms}
        content = save(model.tensors())
        with atomic_path(folder / WEIGHTS_FILE) as temporary:
            temporary.write_bytes(content)
        return "mlp", {**vars(model.normalisation), "weights_sha256": hashlib.sha256(content).hexdigest()}

    @classmethod
    def load(cls, folder: str | Path) -> "LatencyPredictor":
        """Read a folder that :meth:`save` wrote; it predicts the same numbers. Raises DataError naming the file."""
        path = Path(folder) / PREDICTOR_FILE
        values = read_json(path, "a latency predictor")
        if values.get("format") == _FORMAT_BEFORE:
            raise DataError(
                f"{path}: was written by an earlier version; train it again with hat-train-predictor, from the same "
                "data set (nothing needs to be measured anew)."
            )
        try:
            file = _PredictorFile.model_validate(values)
        except ValidationError as error:
            raise DataError(f"{path}: {describe_validation_error(_PredictorFile, error)}.") from None
        names = tuple(feature.name for feature in file.features)
        if names != FEATURE_NAMES:
            raise DataError(f"{path}: features must be {', '.join(FEATURE_NAMES)} in this order, are others.")
        calibration = Calibration(
            file.relative_error_90,
            tuple(feature.lowest for feature in file.features),
            tuple(feature.highest for feature in file.features),
        )
        model = _load_network(file.mlp, path.with_name(WEIGHTS_FILE)) if file.mlp else _cost_model(file, path)
        pace = None if file.pace is None else Pace(**file.pace.model_dump())
        return cls(model, calibration, file.target, file.device, pace, file.statistic)


def _cost_model(file: _PredictorFile, path: Path) -> CostModel:
    assert file.structured is not None, "the other kind was looked for first"
    costs_ms = file.structured.costs_ms
    if set(costs_ms) != set(TERM_NAMES):
        raise DataError(f"{path}: structured.costs_ms must have a cost for each of: {', '.join(TERM_NAMES)}; has not.")
    return CostModel(tuple(costs_ms[name] for name in TERM_NAMES), file.structured.lowest_ms)


def _load_network(section: _MLPFile, path: Path) -> MLP:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a predictor's weights: {error.strerror}.") from None
    if hashlib.sha256(content).hexdigest() != section.weights_sha256:
        raise DataError(f"{path}: must be the weights that {PREDICTOR_FILE} was written with, is not.")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as weights: {error}.") from None
    normalisation = Normalisation(**section.model_dump(exclude={"weights_sha256"}))
    return MLP.from_tensors(tensors, normalisation, str(path))
