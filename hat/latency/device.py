"""The device that is timed: describing it, and how many threads it uses."""

import contextlib
import importlib
import importlib.metadata
from collections.abc import Iterator
from typing import TypeVar

import torch

from hat.artifacts import machine_name
from hat.backends import BACKENDS
from hat.backends import problem as backend_problem
from hat.backends.onnx_export import LONGEST
from hat.errors import ConfigError
from hat.latency.hardware import Session, Software, hardware, observe
from hat.latency.settings import CallSettings, DeviceRecord, LatencySettings
from hat.nn.device import choose_device
from hat.nn.packed import kernels
from hat.space import Architecture

Settings = TypeVar("Settings", bound=CallSettings)


def resolve(settings: Settings, section: str = "settings") -> Settings:
    """``settings`` with the device and the number of threads this machine really uses.

    Args:
        settings: the call.
        section: of the config, where the user wrote them.

    Raises:
        ConfigError: if there is no such device here, or ``backend`` is not, or cannot compute with ``dtype``.
    """
    device = choose_device(settings.device, f"{section}.device")
    backend = BACKENDS[settings.backend]
    problem = backend_problem(settings.backend, backend, device.type, settings.dtype, settings.shortlist is not None)
    if problem is not None:
        raise ConfigError(f"{section}.{problem}")
    longest = max(settings.source_length, settings.target_length)
    if settings.backend == "onnxruntime" and longest > LONGEST:
        raise ConfigError(f"{section}.backend: onnxruntime takes lengths of up to {LONGEST}, is given {longest}.")
    threads = settings.threads or torch.get_num_threads()
    return settings.model_copy(update={"device": str(device), "threads": threads})


def describe(settings: LatencySettings, anchor: Architecture | None = None) -> DeviceRecord:
    """The record of measuring with ``settings`` here and now. Raises ConfigError as :func:`resolve` does."""
    settings = resolve(settings)
    device = torch.device(settings.device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    machine = machine_name()
    return DeviceRecord(
        machine=machine,
        gpu=gpu,
        torch=torch.__version__,
        settings=settings,
        anchor=anchor,
        hardware=hardware(machine.rpartition(" (")[0] or machine, _gpu_id(device)),
        software=_software(settings, device),
    )


def is_here(record: DeviceRecord) -> bool:
    """Whether a record is of this machine: of its processor and cores, or of such a GPU in the same place."""
    if record.gpu is None:
        return record.machine == machine_name()
    number = torch.device(record.settings.device).index or 0
    return number < torch.cuda.device_count() and torch.cuda.get_device_name(number) == record.gpu


def begin_session(record: DeviceRecord, before: DeviceRecord | None) -> DeviceRecord:
    """``record`` with the sessions of the record that is continued, and one that begins now."""
    session = Session(start=observe(_gpu_id(torch.device(record.settings.device))))
    return record.model_copy(update={"sessions": (*(before.sessions if before else ()), session)})


def end_session(record: DeviceRecord) -> DeviceRecord:
    """``record`` with its last session ending now."""
    *earlier, last = record.sessions
    seen = observe(_gpu_id(torch.device(record.settings.device)))
    return record.model_copy(update={"sessions": (*earlier, last.model_copy(update={"end": seen}))})


def _gpu_id(device: torch.device) -> str | None:
    """What nvidia-smi calls the GPU; torch may number GPUs otherwise."""
    if device.type != "cuda":
        return None
    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    return f"GPU-{uuid}" if uuid else str(device.index or 0)


def _software(settings: CallSettings, device: torch.device) -> Software:
    parallel = torch.__config__.parallel_info()
    lines = (line.partition(":")[2].strip() for line in parallel.splitlines() if "parallel backend" in line)
    return Software(
        parallel_backend=next(lines, "unknown"),
        mkl=torch.backends.mkl.is_available(),
        onednn=torch.backends.mkldnn.is_available(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cuda=torch.version.cuda if device.type == "cuda" else None,
        kernels=kernels(settings.dtype, device) if settings.backend == "eager" else None,
        packages={name: _version(name) for name in BACKENDS[settings.backend].packages},
    )


def _version(module: str) -> str:
    """Of an installed module; some come in packages of other names, such as onnxruntime-gpu."""
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(module), "__version__", "unknown"))


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
