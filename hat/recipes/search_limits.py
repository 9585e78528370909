"""What a SubTransformer must keep besides the latency on the device that measures."""

import logging
import math
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

logger = logging.getLogger(__name__)

FLOAT32_BYTES, MEGABYTE = 4, 1e6
_SAME_SIZE = 0.1  # vocabularies that differ by this part take about as long

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


def latency_function(predictor: LatencyPredictor, bound: Bound, folder: Path) -> Callable[[Architecture], float]:
    """What a predictor says in milliseconds: the upper end of its interval, if it has one, or the expected latency.

    Args:
        predictor: the predictor.
        bound: which of them; without an interval the log says that it is the expected latency.
        folder: of the predictor, for the log.
    """
    if bound == "upper" and predictor.calibration.relative_error_90 is None:
        logger.warning("%s: was fitted to too few rows for an interval; expected latencies keep the limit", folder)
        return predictor.predict_ms

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
    return counted + tuple(_device_limit(device, bound, model) for device in config.devices)


def check_total(predictor: LatencyPredictor, folder: Path) -> None:
    """Raise ConfigError if it predicts only a part of the latency."""
    if predictor.target != "total":
        raise ConfigError(
            f"{folder}: must predict the total latency, predicts the {predictor.target}'s; train one with "
            "target: total."
        )


def check_same_call(predictor: LatencyPredictor, folder: Path, model: SuperTransformer) -> None:
    """Warn where the networks whose latencies are predicted differ from ``model``'s in what is not searched for."""
    if predictor.device is None:
        return
    measured = predictor.device.settings
    sizes = (measured.source_vocab_size, model.source_vocab_size), (measured.target_vocab_size, model.target_vocab_size)
    close = all(math.isclose(then, now, rel_tol=_SAME_SIZE) for then, now in sizes)
    options = model.options.share_embeddings, model.options.pre_norm
    if not close or options != (measured.share_embeddings, measured.pre_norm):
        logger.warning(
            "%s: was measured with %d and %d source and target tokens, share_embeddings %s and pre_norm %s, the "
            "SuperTransformer has %d and %d, %s and %s: predicted latencies may be off", folder,
            measured.source_vocab_size, measured.target_vocab_size, measured.share_embeddings, measured.pre_norm,
            model.source_vocab_size, model.target_vocab_size, *options,
        )  # fmt: skip


def _device_limit(device: DeviceLimit, bound: Bound, model: SuperTransformer) -> Limit:
    predictor = LatencyPredictor.load(device.predictor)
    check_total(predictor, device.predictor)
    check_same_call(predictor, device.predictor, model)
    name = f"latency of {device.predictor}"
    return Limit(name, "ms", device.latency_limit_ms, latency_function(predictor, bound, device.predictor))
