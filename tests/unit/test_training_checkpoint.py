import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hat.errors import ConfigError, DataError
from hat.nn.files import read_weights
from hat.training.checkpoint import CheckpointFolder, average_weights, remove_leftovers
from hat.training.recipe import check_same_recipe

RECIPE = {"seed": 1, "training": {"max_tokens": 60, "max_updates": 10}}


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints", 3, RECIPE)


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((2, 3), value), "b": torch.tensor([value])}


def save(folder: CheckpointFolder, *updates: int) -> None:
    for update in updates:
        folder.save(update, weights(update), {"update": update, "weights": weights(update)})


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir())


def test_a_state_comes_back(folder: CheckpointFolder) -> None:
    assert folder.load_state() is None
    save(folder, 5)
    state = folder.load_state()
    assert state is not None and state["update"] == 5
    assert torch.equal(state["weights"]["a"], torch.full((2, 3), 5.0))


def test_only_the_last_weights_stay(folder: CheckpointFolder) -> None:
    save(folder, 2, 4, 6, 8, 10)
    files = [f"update_{update:08d}.safetensors" for update in (6, 8, 10)]
    assert names(folder) == ["resume.pt", *files]
    assert [path.name for path in folder.last_weights(10)] == files
    assert torch.equal(load_file(folder.path / files[0])["b"], torch.tensor([6.0]))


def test_going_back_neither_removes_nor_counts_later_weights(folder: CheckpointFolder) -> None:
    # A run was killed after writing the weights of update 8 and before its state: it goes on from 6.
    save(folder, 2, 4, 6, 8)
    save(folder, 7)
    assert [path.name[7:15] for path in folder.last_weights(7)] == ["00000004", "00000006", "00000007"]
    save(folder, 8)
    assert [path.name[7:15] for path in folder.last_weights(8)] == ["00000006", "00000007", "00000008"]


def test_a_state_alone_is_no_checkpoint(folder: CheckpointFolder) -> None:
    save(folder, 2)
    folder.save_state({"update": 3})
    assert names(folder) == ["resume.pt", "update_00000002.safetensors"]
    state = folder.load_state()
    assert state is not None and state["update"] == 3


def test_clear_and_leftovers(folder: CheckpointFolder) -> None:
    folder.clear()  # a folder that does not exist is no error
    remove_leftovers(folder.path)
    save(folder, 2)
    folder.save_best(weights(1.0))
    (folder.path / ".resume.pt.0a1b2c3d").write_bytes(b"half of a state")
    (folder.path / ".notes").mkdir()  # not ours
    remove_leftovers(folder.path)
    assert names(folder) == [".notes", "best.safetensors", "resume.pt", "update_00000002.safetensors"]
    (folder.path / ".notes").rmdir()
    folder.clear()
    assert names(folder) == []
    assert folder.load_state() is None


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_truncated_states_are_reported_in_one_line(folder: CheckpointFolder, kept: float) -> None:
    save(folder, 2)
    whole = folder.state_file.read_bytes()
    folder.state_file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=r"resume\.pt: cannot be read as a checkpoint.*--restart") as caught:
        folder.load_state()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"garbage" * 100, b"PK\x03\x04" + bytes(500), b"\x80\x02."])
def test_garbage_is_reported_in_one_line(folder: CheckpointFolder, content: bytes) -> None:
    folder.path.mkdir()
    folder.state_file.write_bytes(content)
    with pytest.raises(DataError, match=r"resume\.pt: cannot be read as a checkpoint"):
        folder.load_state()


@pytest.mark.parametrize("value", [[1, 2], {}, {"update": 3}, {"recipe": RECIPE}, {"recipe": 1, "update": 3}])
def test_other_content_is_refused(folder: CheckpointFolder, value: object) -> None:
    folder.path.mkdir()
    torch.save(value, folder.state_file)
    with pytest.raises(DataError, match="must hold the state of a training run"):
        folder.load_state()


class _Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "run")


def test_nothing_in_a_hostile_state_is_run(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.path.mkdir()
    trace = tmp_path / "trace"
    hostile = _Hostile(trace)
    torch.save({"update": 1, "recipe": RECIPE, "weights": hostile}, folder.state_file)
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        folder.load_state()
    folder.state_file.write_bytes(pickle.dumps(hostile))
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        folder.load_state()
    assert not trace.exists()
    pickle.loads(pickle.dumps(hostile))  # safe: made four lines above, to show that it would have worked
    assert trace.exists()


def test_average_is_the_mean(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = [{"a": torch.randn(4, 5, generator=generator), "b": torch.randn(3, generator=generator)} for _ in range(7)]
    paths = [tmp_path / f"{index}.safetensors" for index in range(7)]
    for path, item in zip(paths, drawn, strict=True):
        save_file(item, path)
    mean = average_weights(paths)
    assert set(mean) == {"a", "b"}
    for name, value in mean.items():
        assert value.dtype == torch.float32
        expected = torch.stack([item[name].double() for item in drawn]).mean(0).float()
        torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-7)  # one rounding, to float32


def test_the_average_of_one_file_is_the_file(tmp_path: Path) -> None:
    save_file(weights(0.1), tmp_path / "x.safetensors")
    assert all(
        torch.equal(value, weights(0.1)[name]) for name, value in average_weights([tmp_path / "x.safetensors"]).items()
    )


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(DataError, match="no checkpoint to average"):
        average_weights([])
    with pytest.raises(DataError, match=r"x\.safetensors: no such file"):
        read_weights(path)
    save_file(weights(1.0), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"x\.safetensors: cannot be read as weights"):
        average_weights([path])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 2}, "seed 1, now it is 2"),
        ({"training": {"max_tokens": 61, "max_updates": 10}}, r"training\.max_tokens 60, now it is 61"),
        ({"model": {"dropout": 0.1}}, r"model\.dropout null, now it is 0\.1"),
        ({"training": {}}, r"training\.max_tokens 60, now it is null"),
    ],
)
def test_a_changed_recipe_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: this run was started with {key};.*--restart"):
        check_same_recipe(RECIPE, RECIPE | changes, where="here")


def test_the_length_of_a_run_may_change(folder: CheckpointFolder) -> None:
    save(folder, 2)
    longer = {"seed": 1, "training": {"max_tokens": 60, "max_updates": 20, "keep_last": 4}, "output": "elsewhere"}
    assert CheckpointFolder(folder.path, 4, longer).load_state() is not None
    with pytest.raises(ConfigError, match=r"resume\.pt: this run was started with seed 1"):
        CheckpointFolder(folder.path, 3, RECIPE | {"seed": 3}).load_state()
