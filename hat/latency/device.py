"""The device that is timed: describing it, and how many threads it uses."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import torch

from hat.artifacts import machine_name
from hat.errors import ConfigError
from hat.latency.settings import CallSettings, DeviceRecord, LatencySettings
from hat.nn.device import choose_device
from hat.nn.packed import why_not
from hat.space import Architecture

Settings = TypeVar("Settings", bound=CallSettings)


def resolve(settings: Settings, section: str = "settings") -> Settings:
    """``settings`` with the device and the number of threads this machine really uses.

    Args:
        settings: the call.
        section: of the config, where the user wrote them.

    Raises:
        ConfigError: if there is no such device here, or it cannot compute with ``dtype``.
    """
    device = choose_device(settings.device, f"{section}.device")
    if (problem := why_not(settings.dtype, device)) is not None:
        raise ConfigError(f"{section}.dtype: {problem}.")
    threads = settings.threads or torch.get_num_threads()
    return settings.model_copy(update={"device": str(device), "threads": threads})


def describe(settings: LatencySettings, anchor: Architecture | None = None) -> DeviceRecord:
    """The record of measuring with ``settings`` here and now. Raises ConfigError as :func:`resolve` does."""
    settings = resolve(settings)
    device = torch.device(settings.device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return DeviceRecord(machine=machine_name(), gpu=gpu, torch=torch.__version__, settings=settings, anchor=anchor)


@contextlib.contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Compute with this many CPU threads inside the block; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
