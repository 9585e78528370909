"""Which device each of several processes takes; GPUs are pretended."""

from typing import Any

import pytest
import torch

from hat.errors import ConfigError
from hat.training.world import join_world


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Pretends eight processes and four GPUs; gets the device and the backend that are chosen."""
    chosen: list[Any] = []
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend, **options: chosen.append(backend))
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 6)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 8)
    return chosen


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_process_takes_the_gpu_of_its_number(
    joined: list[Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")  # the third process of the second machine
    with join_world(name) as world:
        assert (world.rank, world.size, world.device) == (6, 8, torch.device("cuda", 2))
    assert joined == [torch.device("cuda", 2), "nccl"]


def test_more_processes_than_gpus(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(ConfigError, match="--nproc-per-node must be at most the number of GPUs, 4, is more"):
        join_world("auto").__enter__()
    assert joined == []


def test_one_gpu_for_several_processes(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match=r"training.device: must be cuda or auto with several processes.* is cuda:1"):
        join_world("cuda:1").__enter__()


def test_processors_need_no_number(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "7")
    with join_world("cpu") as world:
        assert world.device == torch.device("cpu")
    assert joined == ["gloo"]
