"""The processes that train together, as ``torchrun`` starts them; one process alone needs nothing."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from hat.errors import ConfigError
from hat.nn.device import choose_device

StateType = TypeVar("StateType")


@dataclass(frozen=True)
class World:
    """This process among all, and the device it uses."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def sum_gradients(self, gradients: Sequence[Tensor], extra: Tensor) -> Tensor:
        """Add ``gradients`` up over all processes, in place; returns the sum of the vector ``extra``.

        One collective call for everything. Which weights have a gradient depends on the SubTransformer of the update,
        the same on every process, so the processes always agree on the buffer's layout; this is why the gradients are
        added here and not by ``DistributedDataParallel``, which would have to search the graph for unused weights.
        """
        if self.size == 1:
            return extra
        buffer = torch.cat([gradient.flatten() for gradient in gradients] + [extra.to(gradients[0].dtype)])
        dist.all_reduce(buffer)
        sizes = [gradient.numel() for gradient in gradients]
        *parts, total = buffer.split([*sizes, extra.numel()])
        torch._foreach_copy_(list(gradients), [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])
        return total

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the main one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def sum(self, values: Tensor) -> Tensor:
        """``values`` added up over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def share(self, value: StateType) -> StateType:
        """The main process's ``value``, on every process."""
        if self.size == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]

    def gather(self, value: StateType) -> list[StateType]:
        """The values of all processes by rank, for the main one; the others get an empty list."""
        if self.size == 1:
            return [value]
        values: list[StateType] = [value] * self.size if self.is_main else []
        dist.gather_object(value, values if self.is_main else None, dst=0)
        return values

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true on any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def join_world(device_name: str, setting: str = "training.device", objects_only: bool = False) -> Iterator[World]:
    """The world this process belongs to, left again at the end.

    ``torchrun`` sets RANK, WORLD_SIZE, LOCAL_RANK and the address of the main process; without them the process is
    alone. GPUs talk through nccl, CPUs through gloo.

    Args:
        device_name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        setting: what errors call the setting that says so.
        objects_only: GPUs use gloo, too. They then wait for each other without computing, and as long as it takes; only
            :meth:`World.share` and :meth:`World.gather` are for them.

    Raises:
        ConfigError: if there is no such device, or not one GPU for each process of this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device(device_name, setting)
    if size == 1:
        yield World(0, 1, device)
        return
    if device.type == "cuda":
        device = _own_gpu(device, setting)
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" and not objects_only else "gloo"
    dist.init_process_group(backend, timeout=timedelta(days=7) if objects_only else timedelta(minutes=30))
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def _own_gpu(device: torch.device, setting: str) -> torch.device:
    """The GPU of this process: each of a machine's processes takes the one of its own number."""
    if device.index is not None:
        raise ConfigError(
            f"{setting}: must be cuda or auto with several processes, each takes a GPU of its own, is {device}."
        )
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            f"torchrun: --nproc-per-node must be at most the number of GPUs, {count}, is more; or set {setting}=cpu."
        )
    return torch.device("cuda", number)
