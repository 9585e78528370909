"""What a backend is: something that runs a network's encoder and decoder steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from hat.decoding import DecodingNetwork
from hat.nn import Transformer
from hat.nn.packed import DType


@dataclass(frozen=True)
class Placement:
    """Where and how a network is to run."""

    device: torch.device
    dtype: DType
    """Type of the matrix products."""
    threads: int
    """CPU threads."""
    shortlist: int | None = None
    """Target tokens it chooses among, any; None for all."""


Renew = Callable[[], DecodingNetwork]
"""Makes a new copy of a network in memory, ready to decode."""


@dataclass(frozen=True)
class Backend:
    """One way of running networks."""

    dtypes: Mapping[str, Sequence[str]]
    """What it computes with, by the type of the device; it runs on no others."""
    missing: Callable[[str], str | None]
    """What this machine lacks for it on a type of device, as the end of a sentence; None when nothing is missing."""
    prepare: Callable[[Transformer, Placement], Renew]
    """Does what is done once for a network, such as compiling it. The network itself is not changed."""
    shortlists: bool = False
    """Whether it can choose among some target tokens only."""
    packages: Sequence[str] = ()
    """Python packages whose versions decide how fast it is, besides torch."""


def problem(name: str, backend: Backend, device_type: str, dtype: str, shortlist: bool = False) -> str | None:
    """Why this backend, called ``name``, cannot run here so, beginning with the setting to change; None when it can."""
    if device_type not in backend.dtypes:
        able = " or ".join(backend.dtypes)
        return f"backend: {name} runs on {able} only, device is {device_type}; set device to {able}."
    able = ", ".join(backend.dtypes[device_type])
    if dtype not in backend.dtypes[device_type]:
        return f"dtype: must be one of {able} for backend {name} on {device_type}, is {dtype}."
    if shortlist and not backend.shortlists:
        return f"shortlist: backend {name} has none; use eager, or no shortlist."
    lacking = backend.missing(device_type)
    return None if lacking is None else f"backend: {name} {lacking}"
