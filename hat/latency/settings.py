"""What exactly is timed, and on what: the settings and the record that travel with every latency. No torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from hat.artifacts import read_json, write_json
from hat.config import Section, Threads, describe_validation_error, first_difference
from hat.errors import DataError
from hat.latency.hardware import Hardware, Session, Software
from hat.space import Architecture
from hat.space.counting import ShareEmbeddings

DEVICE_FILE = "device.json"
DEVICE_FORMAT: Literal["hat.device/4"] = "hat.device/4"


class CallSettings(Section):
    """One translation call as it is timed, whatever the model.

    Both lengths count the end symbol, as sequences of ids do: ``target_length`` is the number of decoder steps. No
    end symbol can shorten a run: it is forbidden before the last step, and forced there.

    Source: HAT (arXiv:2005.14187), section 3.2: N tokens in, N tokens out, 300 runs; N is 30 for WMT, 23 for IWSLT.
    """

    source_length: int = Field(gt=0)
    """Source tokens, the end symbol counting."""
    target_length: int = Field(ge=2)
    """Target tokens, the end symbol counting."""
    beam: int = Field(default=5, gt=0)
    """Hypotheses kept at every step."""
    batch_size: int = Field(default=1, gt=0)
    """Sentences translated at a time; times are those of the whole batch."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU when there is one."""
    backend: Literal["eager", "compile", "onnxruntime"] = "eager"
    """What runs the network: torch as it is, torch.compile, or ONNX Runtime (CPU only; the extra ``export``). The last
    two take some seconds to minutes a network before it is timed, and their times of the encoder contain the decoder's
    projections of what the encoder gives."""
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    """Type of the matrix products; float16 needs a GPU. int8: weights with a scale for each output channel, activations
    quantised as they come (CPU, eager or onnxruntime)."""
    shortlist: int | None = Field(default=None, ge=5)
    """Target tokens that are scored at every step, as with a shortlist that gives so many; null scores all of them.
    ``eager`` only."""
    threads: Threads | None = None
    """CPU threads; null takes torch's choice."""
    warmup_runs: int = Field(default=10, ge=0)
    """Most runs before the timed ones; fewer where their times have settled."""
    runs: int = Field(default=300, gt=0)
    """Most timed runs."""
    least_runs: int = Field(default=8, gt=0)
    """Fewest timed runs, however quickly the latency is known. For ``statistic: p90`` of the predictor set 30: fewer
    tell little of what the slowest tenth takes."""
    relative_error: float | None = Field(default=0.01, gt=0, lt=1)
    """Fewer runs are timed where the latency's standard error is below this part of it; null always takes them all."""


class LatencySettings(CallSettings):
    """The call, and what an architecture does not say about the models that are timed with random weights."""

    source_vocab_size: int = Field(ge=4)
    """Source tokens there are."""
    target_vocab_size: int = Field(ge=4)
    """Target tokens there are."""
    share_embeddings: ShareEmbeddings = "all"
    """As in the model to ship; it changes how much memory is touched."""
    pre_norm: bool = False
    """As in the model to ship."""
    anchor_tolerance: float | None = Field(default=0.2, gt=0)
    """Rows of a data set whose anchor took more or less time than the median of all by more than this part are measured
    anew after the others, twice at most; null keeps them as they are. The anchor tells smaller changes of the machine's
    pace well enough; stretches in which a machine is throttled or loaded lie 22 to 42 % off in the public data sets."""


class DeviceRecord(Section):
    """On what machine, with what software and how latencies were measured: the content of ``device.json``."""

    format: Literal["hat.device/1", "hat.device/2", "hat.device/3", "hat.device/4"] = DEVICE_FORMAT
    """Earlier ones are of code that decoded otherwise; records of the first lack what has a default here."""
    machine: str
    """Processor and how many of its cores may be used."""
    gpu: str | None
    """The GPU's name; null where the CPU was timed."""
    torch: str
    """Version of torch."""
    settings: LatencySettings
    """With the device and the number of threads that were really used."""
    anchor: Architecture | None = None
    """The network that was timed in turn with every other; null where none was."""
    hardware: Hardware | None = None
    software: Software | None = None
    sessions: tuple[Session, ...] = ()
    """What was seen whenever measuring began and ended."""

    def comparable(self, other: "DeviceRecord") -> dict[str, Any]:
        """What must be the same for latencies to be comparable, of what both records say."""
        unknown = {name for name in ("hardware", "software") if None in (getattr(self, name), getattr(other, name))}
        return self.model_dump(mode="json", exclude={"format", "sessions", *unknown})

    def difference(self, other: "DeviceRecord") -> tuple[str, Any, Any] | None:
        """The first of :meth:`comparable` that differs: its key, what it is here and in ``other``; None if none."""
        return first_difference(self.comparable(other), other.comparable(self))

    def lines(self) -> list[str]:
        """The record in a few lines for people."""
        call, hardware, software = self.settings, self.hardware, self.software
        lines = [f"device: {self.gpu or self.machine}; CPU threads: {call.threads}"]
        if hardware is not None:
            caches = ", ".join(f"{name} {size}" for name, size in (hardware.caches or {}).items())
            told = {
                "cores": f"{hardware.physical_cores or '?'} physical, {hardware.logical_cores} logical",
                "caches": caches,
                "governor": hardware.frequency_governor,
                "driver": hardware.gpu_driver,
            }
            lines.append("  " + "; ".join(f"{name} {value}" for name, value in told.items() if value))
        if software is not None:
            has = [name for name, there in (("MKL", software.mkl), ("oneDNN", software.onednn)) if there]
            build = [software.cpu_capability, software.parallel_backend, *has]
            build += [f"CUDA {software.cuda}"] if software.cuda else []
            build += [f"{name} {version}" for name, version in software.packages.items()]
            lines.append(f"  torch {self.torch} ({', '.join(build)})")
            if software.kernels:
                lines.append("  " + "; ".join(f"{weights}: {kernel}" for weights, kernel in software.kernels.items()))
        lines.append(
            f"timed: {call.backend}, {call.dtype}, {call.source_length} tokens to {call.target_length}, "
            f"beam {call.beam}, batch {call.batch_size}"
            + (f", shortlist of {call.shortlist}" if call.shortlist else "")
            + f"; anchor {self.anchor or 'none'}"
        )
        if self.sessions:
            seen = self.sessions[-1].start
            values = {
                "load": seen.load_average, "temperature (°C)": seen.temperature_celsius,
                "frequency (MHz)": seen.frequency_mhz,
            }  # fmt: skip
            told_now = ", ".join(f"{name} {value:g}" for name, value in values.items() if value is not None)
            lines.append(f"now: {told_now or 'nothing known'}")
        return lines

    def write(self, path: str | Path) -> None:
        """Write the record atomically."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: str | Path) -> "DeviceRecord":
        """Read a ``device.json``. Raises DataError naming the file and the key."""
        values = read_json(path, "a device record")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise DataError(f"{path}: {describe_validation_error(cls, error)}.") from None

    @classmethod
    def beside(cls, dataset: str | Path) -> "DeviceRecord | None":
        """The record beside a latency CSV; None when there is none, as with the public sets."""
        path = Path(dataset).with_name(DEVICE_FILE)
        return cls.read(path) if path.exists() else None
