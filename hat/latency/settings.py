"""What exactly is timed, and on what: the settings and the record that travel with every latency. No torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from hat.artifacts import read_json, write_json
from hat.config import Section, Threads, describe_validation_error
from hat.errors import DataError
from hat.space import Architecture

DEVICE_FILE = "device.json"


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
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    """Type of the matrix products; float16 needs a GPU, int8 a CPU."""
    threads: Threads | None = None
    """CPU threads; null takes torch's choice."""
    warmup_runs: int = Field(default=10, ge=0)
    """Most runs before the timed ones; fewer where their times have settled."""
    runs: int = Field(default=300, gt=0)
    """Most timed runs."""
    relative_error: float | None = Field(default=0.01, gt=0, lt=1)
    """Fewer runs are timed where the latency's standard error is below this part of it; null always takes them all."""


class LatencySettings(CallSettings):
    """The call, and what an architecture does not say about the models that are timed with random weights."""

    source_vocab_size: int = Field(ge=4)
    """Source tokens there are."""
    target_vocab_size: int = Field(ge=4)
    """Target tokens there are."""
    share_embeddings: Literal["all", "decoder", "none"] = "all"
    """As in the model to ship; it changes how much memory is touched."""
    pre_norm: bool = False
    """As in the model to ship."""


class DeviceRecord(Section):
    """On what machine, with what software and how latencies were measured: the content of ``device.json``."""

    format: Literal["hat.device/1"] = "hat.device/1"
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
