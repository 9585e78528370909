"""What a SubTransformer must keep besides the latency on the device that measures."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from hat.config import Section
from hat.errors import ConfigError
from hat.latency.predictor import LatencyPredictor
from hat.nn import SuperTransformer
from hat.search import Limit
from hat.space import Architecture
from hat.space.counting import ParameterCount, count_multiply_adds, count_parameters

FLOAT32_BYTES, MEGABYTE = 4, 1e6

Bound = Literal["upper", "expected"]


class DeviceLimit(Section):
    """The highest latency on one more device."""

    predictor: Path
    """Folder of its latency predictor."""
    latency_limit_ms: float = Field(gt=0)
    """Highest latency there. It is predicted, never measured."""


class LimitsConfig(Section):
    """Limits besides ``latency_limit_ms``; all must hold for every candidate. null sets none."""

    parameters: int | None = Field(default=None, gt=0)
    """Most parameters of the model as shipped, embeddings and output projection included."""
    multiply_adds: int | None = Field(default=None, gt=0)
    """Most multiply-adds of one sentence pair, projection to the vocabulary included; half the FLOPs."""
    source_length: int = Field(default=30, gt=0)
    """Source tokens of the pair that multiply-adds are counted for."""
    target_length: int = Field(default=30, gt=0)
    """Its target tokens."""
    size_mb: float | None = Field(default=None, gt=0)
    """Largest weights of the model as shipped in float32, in megabytes of 1,000,000 bytes; the file's header takes some
    kilobytes more."""
    devices: tuple[DeviceLimit, ...] = ()
    """Further devices, so that one network suits several at once."""


def latency_function(predictor: LatencyPredictor, bound: Bound) -> Callable[[Architecture], float]:
    """What a predictor says in milliseconds: the upper end of its interval, if it has one, or the expected latency."""

    def upper_ms(architecture: Architecture) -> float:
        prediction = predictor.predict(architecture)
        return prediction.latency_ms if prediction.high_ms is None else prediction.high_ms

    return upper_ms if bound == "upper" else predictor.predict_ms


def limits_of(config: LimitsConfig, model: SuperTransformer, bound: Bound) -> tuple[Limit, ...]:
    """The limits that are set.

    Args:
        config: the settings.
        model: whose SubTransformers are searched; gives vocabulary and embeddings.
        bound: what of a predicted latency must keep its limit.

    Raises:
        ConfigError, DataError: if a device's predictor cannot be used.
    """

    def parameters(architecture: Architecture) -> ParameterCount:
        sizes = model.source_vocab_size, model.target_vocab_size
        return count_parameters(architecture, *sizes, model.options.share_embeddings, model.options.pre_norm)

    def multiply_adds(architecture: Architecture) -> float:
        lengths = config.source_length, config.target_length
        return count_multiply_adds(architecture, *lengths, model.target_vocab_size).total

    functions: tuple[tuple[str, str, float | None, Callable[[Architecture], float]], ...] = (
        ("parameters", "", config.parameters, lambda architecture: parameters(architecture).total),
        ("multiply-adds", "", config.multiply_adds, multiply_adds),
        ("size", "MB", config.size_mb, lambda a: parameters(a).total * FLOAT32_BYTES / MEGABYTE),
    )
    counted = tuple(Limit(name, unit, most, value) for name, unit, most, value in functions if most is not None)
    return counted + tuple(_device_limit(device, bound) for device in config.devices)


def check_total(predictor: LatencyPredictor, folder: Path) -> None:
    """Raise ConfigError if it predicts only a part of the latency."""
    if predictor.target != "total":
        raise ConfigError(
            f"{folder}: must predict the total latency, predicts the {predictor.target}'s; train one with "
            "target: total."
        )


def _device_limit(device: DeviceLimit, bound: Bound) -> Limit:
    predictor = LatencyPredictor.load(device.predictor)
    check_total(predictor, device.predictor)
    name = f"latency of {device.predictor}"
    return Limit(name, "ms", device.latency_limit_ms, latency_function(predictor, bound))
