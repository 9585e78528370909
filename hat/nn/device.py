"""The device a model runs on, by the name it has in settings."""

import torch

from hat.errors import ConfigError


def choose_device(name: str, setting: str = "device") -> torch.device:
    """The device called ``name``: ``auto`` takes a CUDA device when there is one.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        setting: what errors call the setting.

    Raises:
        ConfigError: if it is no such name, or torch sees no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"{setting}: must be auto, cpu, cuda or cuda:N, is '{name}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigError(f"{setting}: '{name}' is not here, torch sees {count} CUDA devices; use cpu.")
    return device
