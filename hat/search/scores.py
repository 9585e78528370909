"""Losses that are kept on disk: a search that was interrupted, or one under another limit, need not repeat them."""

import errno
import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hat.artifacts import make_folder, read_text
from hat.errors import ConfigError, DataError
from hat.space import Architecture

logger = logging.getLogger(__name__)


class ScoreFile:
    """The losses of architectures on parts of the validation data, one JSON object a line, added as they come.

    Every line says what its losses depend on; those that depend on something else stay in the file and are not used.

    Args:
        path: the file; made if needed.
        basis: what the losses depend on, in any words.
        sizes: how many sentences each part has.

    Raises:
        DataError: if the file is there, but holds something else.
    """

    def __init__(self, path: Path, basis: str, sizes: Sequence[int]) -> None:
        self.path = path
        self.basis = basis
        self.sizes = tuple(sizes)
        self.losses: dict[tuple[Architecture, int], list[float]] = {}
        """By architecture and number of the part: a sum over the tokens of each sentence, in nats."""
        make_folder(path.parent)
        if not path.exists():
            return
        text = read_text(path, "scores of a search")
        *whole, torn = text.split("\n")  # a power cut can leave the last line without its end
        lines = [line for line in whole if line.strip()]
        left_out = len(lines) - sum(map(self._read, lines))
        if lines and left_out == len(lines):
            raise DataError(f"{path}: must be scores of a search, is something else; choose another file.")
        left_out += bool(torn) and not self._read(torn)
        if left_out:
            total = len(lines) + bool(torn)
            logger.warning("%s: %d of %d lines are no scores and left out (a power cut?)", path, left_out, total)
        if torn:
            self._append("")

    def _read(self, line: str) -> bool:
        """Take over a line; returns whether it holds losses at all."""
        try:
            values = json.loads(line)
            if "score" in values:  # of version 0.1.0 before it knew parts
                return isinstance(values["score"], float)
            basis, part, losses = values["basis"], values["part"], values["losses"]
            if basis != self.basis:
                # Of other data or settings, whose sizes are not known here.
                return isinstance(basis, str) and isinstance(part, int) and _are_numbers(losses)
            architecture = Architecture.from_dict(values["architecture"])
            size = self.sizes[part]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError, ConfigError):
            return False
        if not _are_numbers(losses) or len(losses) != size:
            return False
        self.losses[architecture, part] = losses
        return True

    def add(self, architecture: Architecture, part: int, losses: list[float]) -> None:
        """Keep the losses of one part; what is no number is not kept."""
        if not _are_numbers(losses):
            return
        self.losses[architecture, part] = losses
        values = {"basis": self.basis, "part": part, "losses": losses, "architecture": architecture.to_dict()}
        self._append(json.dumps(values))

    def _append(self, line: str) -> None:
        """Add a line in one piece: other searches may add theirs at the same time."""
        content = line.encode() + b"\n"
        with self.path.open("ab", buffering=0) as file:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, float) and math.isfinite(value) for value in values)
