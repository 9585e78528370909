"""Checkpoints: the weights of the last few and the best update, and everything a resumed run needs.

``checkpoints/update_00001000.safetensors`` are weights alone; ``checkpoints/resume.pt`` is the whole state of training
at the last checkpoint or interruption. All are written atomically, so a run killed at any moment goes on from there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hat.artifacts import atomic_path, make_folder
from hat.errors import DataError
from hat.nn.files import read_weights, write_weights
from hat.training.recipe import check_same_recipe


class CheckpointFolder:
    """The ``checkpoints`` folder of one run.

    Args:
        path: the folder.
        keep_last: how many files of weights stay; older ones are removed.
        recipe: the settings of the run as plain nested values; a state that other settings made is not continued.
    """

    def __init__(self, path: Path, keep_last: int, recipe: Mapping[str, Any]) -> None:
        self.path = path
        self.keep_last = keep_last
        self.recipe = dict(recipe)

    @property
    def state_file(self) -> Path:
        """Where the state of training is."""
        return self.path / "resume.pt"

    def save(self, update: int, weights: dict[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write the weights and the state after ``update`` updates, then remove what is too old."""
        make_folder(self.path)
        write_weights(self.path / f"update_{update:08d}.safetensors", weights)
        self.save_state(state)
        for old in self.last_weights(update)[: -self.keep_last]:
            old.unlink(missing_ok=True)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state alone: an interruption is no checkpoint, and must not count among the last ones."""
        make_folder(self.path)
        with atomic_path(self.state_file) as temporary:
            torch.save({**state, "recipe": self.recipe}, temporary)

    def save_best(self, weights: dict[str, Tensor]) -> None:
        """Write the weights of the best validation so far."""
        make_folder(self.path)
        write_weights(self.path / "best.safetensors", weights)

    def load_state(self) -> dict[str, Any] | None:
        """The state that was saved last, or None.

        Raises:
            DataError: if the file is damaged.
            ConfigError: if the run was started with other settings.
        """
        path = self.state_file
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{path}: cannot be read as a checkpoint (damaged or truncated?): {problem}; start again with "
                "--restart."
            ) from None
        kinds = {"recipe": dict, "update": int}
        if not isinstance(state, dict) or not all(isinstance(state.get(key), kind) for key, kind in kinds.items()):
            raise DataError(f"{path}: must hold the state of a training run, does not; start again with --restart.")
        check_same_recipe(state["recipe"], self.recipe, where=str(path))
        return state

    def last_weights(self, update: int) -> list[Path]:
        """Files of weights up to ``update``, oldest first."""
        return [path for path in sorted(self.path.glob("update_*.safetensors")) if _update_of(path) <= update]

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in [*self.path.glob("*.safetensors"), self.state_file]:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of a run that was killed while it wrote weights or its state; they may be large."""
    for kind in ("safetensors", "pt"):
        for path in folder.glob(f".*.{kind}.*"):
            path.unlink(missing_ok=True)


def _update_of(path: Path) -> int:
    digits = path.stem.removeprefix("update_")
    return int(digits) if digits.isdigit() else 0


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of several files of weights, added up in double precision."""
    if not paths:
        raise DataError("no checkpoint to average; train at least until the first checkpoint.")
    sums: dict[str, Tensor] = {}
    for path in paths:
        for name, weight in read_weights(path).items():
            sums[name] = sums[name] + weight.double() if name in sums else weight.double()
    return {name: (total / len(paths)).float() for name, total in sums.items()}
