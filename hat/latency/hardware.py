"""What the system tells of the machine that is timed: what stays, and what may change at any moment. No torch.

Everything a system does not tell is null: a virtual machine has no thermometer, and not every one names its caches.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from hat.artifacts import timestamp
from hat.config import Section

_CPU = Path("/sys/devices/system/cpu")


class Hardware(Section):
    """What stays as it is, unless somebody changes it."""

    cpu: str
    """The processor's or the board's name."""
    instruction_set: str
    """``x86_64``, ``aarch64``, …"""
    logical_cores: int
    """All of the machine's."""
    physical_cores: int | None
    """All of the machine's."""
    affinity: tuple[int, ...] | None
    """Numbers of the logical cores that may be used."""
    caches: dict[str, str] | None
    """Size of each cache of the first core, such as ``{"L1 data": "32K", "L2": "512K"}``."""
    frequency_governor: str | None
    """How the system chooses the processor's frequency."""
    gpu_driver: str | None = None
    """Version of the GPU's driver; null where the CPU was timed."""


class Software(Section):
    """How torch was built, and what else decides how fast it is."""

    parallel_backend: str
    """What torch's CPU threads come from."""
    mkl: bool
    """Whether torch was built with Intel's MKL."""
    onednn: bool
    """Whether torch was built with oneDNN (MKL-DNN)."""
    cpu_capability: str
    """The vector instructions torch uses."""
    cuda: str | None
    """Version of CUDA; null where the CPU was timed."""
    packages: dict[str, str]
    """Versions of the backend's own packages."""
    kernels: dict[str, str] | None = None
    """What multiplies small and large weights on the backend ``eager``; null for others, and in older records."""


class Observation(Section):
    """What was seen at one moment and may change; it never stops a run from going on."""

    time: str
    """UTC."""
    load_average: float | None
    """Of the last minute: processes that ran or waited to."""
    temperature_celsius: float | None
    """Of the hottest sensor of the processor, or of the GPU that is timed."""
    frequency_mhz: float | None
    """The mean over the cores, or the GPU's."""


class Session(Section):
    """What was seen at both ends of an uninterrupted stretch of measuring."""

    start: Observation
    end: Observation | None = None
    """Null while it measures, and where it was cut off without a warning."""


def hardware(cpu: str, gpu: str | None) -> Hardware:
    """What this machine is.

    Args:
        cpu: the processor's name.
        gpu: which GPU is timed, as nvidia-smi's ``--id`` takes it; None for the CPU.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return Hardware(
        cpu=cpu,
        instruction_set=platform.machine(),
        logical_cores=os.cpu_count() or 1,
        physical_cores=_physical_cores(),
        affinity=None if usable is None else tuple(usable),
        caches=_caches(),
        frequency_governor=_read(_CPU / "cpu0/cpufreq/scaling_governor"),
        gpu_driver=None if gpu is None else _nvidia_smi(gpu, "driver_version"),
    )


def observe(gpu: str | None) -> Observation:
    """What is to be seen now."""
    now = timestamp(time.time())
    load = None
    with contextlib.suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 2)
    if gpu is not None:
        temperature, frequency = (_number(_nvidia_smi(gpu, name)) for name in ("temperature.gpu", "clocks.sm"))
    else:
        temperature, frequency = _temperature(), _frequency()
    return Observation(time=now, load_average=load, temperature_celsius=temperature, frequency_mhz=frequency)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip("\0\n ") or None
    except (OSError, UnicodeDecodeError):
        return None


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _physical_cores() -> int | None:
    """Cores are the same where their siblings are."""
    siblings = {_read(path) for path in _CPU.glob("cpu[0-9]*/topology/thread_siblings_list")} - {None}
    return len(siblings) or None


def _caches() -> dict[str, str] | None:
    found = {}
    for folder in sorted((_CPU / "cpu0/cache").glob("index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found[f"L{level}" if kind == "Unified" else f"L{level} {kind.lower()}"] = size
    return found or None


def _temperature() -> float | None:
    zones = [_number(_read(path)) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    return max((round(zone / 1000, 1) for zone in zones if zone is not None), default=None)


def _frequency() -> float | None:
    khz = [_number(_read(path)) for path in _CPU.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    mhz = [value / 1000 for value in khz if value is not None]
    if not mhz:
        lines = (_read(Path("/proc/cpuinfo")) or "").splitlines()
        told = (_number(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz"))
        mhz = [value for value in told if value is not None]
    return round(sum(mhz) / len(mhz), 1) if mhz else None


def _nvidia_smi(gpu: str, name: str) -> str | None:
    """One value that nvidia-smi tells of a GPU; None where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--id={gpu}", f"--query-gpu={name}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None
