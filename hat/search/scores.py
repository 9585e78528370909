"""Scores that are kept on disk: a search that was interrupted, or one under another limit, need not repeat them."""

import errno
import json
import logging
import math
import os
from pathlib import Path

from hat.artifacts import make_folder, read_text
from hat.errors import ConfigError, DataError
from hat.space import Architecture

logger = logging.getLogger(__name__)


class ScoreFile:
    """Architectures and their scores, one JSON object a line, added as they come.

    Every line says what its score depends on; scores that depend on something else stay in the file and are not used.

    Args:
        path: the file; made if needed.
        basis: what the scores depend on, in any words.

    Raises:
        DataError: if the file is there, but holds something else.
    """

    def __init__(self, path: Path, basis: str) -> None:
        self.path = path
        self.basis = basis
        self.scores: dict[Architecture, float] = {}
        make_folder(path.parent)
        if not path.exists():
            return
        text = read_text(path, "scores of a search")
        lines = [line for line in text.split("\n") if line.strip()]
        left_out = len(lines) - sum(map(self._read, lines))
        if lines and left_out == len(lines):
            raise DataError(f"{path}: must be scores of a search, is something else; choose another file.")
        if left_out:
            logger.warning("%s: %d of %d lines are no scores and left out (a power cut?)", path, left_out, len(lines))
        if not text.endswith("\n"):
            self._append("")

    def _read(self, line: str) -> bool:
        """Take over a line; returns whether it is a score at all."""
        try:
            values = json.loads(line)
            basis, score = values["basis"], values["score"]
            architecture = Architecture.from_dict(values["architecture"])
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError):
            return False
        if not isinstance(score, float) or not math.isfinite(score):
            return False
        if basis == self.basis:
            self.scores[architecture] = score
        return True

    def add(self, architecture: Architecture, score: float) -> None:
        """Keep a score; what is no number is not kept."""
        if not math.isfinite(score):
            return
        self.scores[architecture] = score
        self._append(json.dumps({"basis": self.basis, "score": score, "architecture": architecture.to_dict()}))

    def _append(self, line: str) -> None:
        """Add a line in one piece: other searches may add theirs at the same time."""
        content = line.encode() + b"\n"
        with self.path.open("ab", buffering=0) as file:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
