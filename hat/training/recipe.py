"""What must stay the same between a training run and its continuation."""

from collections.abc import Mapping
from typing import Any

from hat.config import first_difference, shorten
from hat.errors import ConfigError

# What may differ: where things are, how the run is shown and kept, and how long it is. None of it changes an update
# already made, except that a cosine schedule would have fallen more slowly towards a later end.
_MAY_CHANGE = {"output", "random_architectures"} | {
    f"training.{name}"
    for name in (
        "max_updates", "log_every", "validate_every", "checkpoint_every", "keep_last", "final", "tensorboard",
        "device", "threads",
    )
}  # fmt: skip


def check_same_recipe(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Compare the nested settings of a run with those of its continuation.

    Args:
        saved: settings the run was started with.
        now: settings of the continuation.
        where: starts the message.

    Raises:
        ConfigError: naming the first setting that differs and must not.
    """
    different = first_difference(saved, now, leave_out=_MAY_CHANGE)
    if different is not None:
        key, before, after = different
        raise ConfigError(
            f"{where}: this run was started with {key} {shorten(before)}, now it is {shorten(after)}; go on with the "
            "same, choose another output folder, or start again with --restart."
        )
