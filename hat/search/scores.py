"""Scores that are kept on disk: a search that was interrupted, or one under another limit, need not repeat them."""

import json
import math
import os
from pathlib import Path

from hat.artifacts import make_folder, read_text
from hat.errors import DataError
from hat.space import Architecture


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
        *lines, torn = read_text(path, "scores of a search").split("\n")
        for number, line in enumerate(lines, 1):
            self._read(line, f"{path}, line {number}")
        if torn and not lines:
            raise DataError(f"{path}: must be scores of a search, is something else; choose another file.")
        if torn:  # by a power cut
            os.truncate(path, path.stat().st_size - len(torn.encode()))

    def _read(self, line: str, where: str) -> None:
        try:
            values = json.loads(line)
            basis, score = values["basis"], values["score"]
            architecture = Architecture.from_dict(values["architecture"], where=where)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError(f"{where}: must be a score of a search, is not; choose another file.") from None
        if not isinstance(score, float) or not math.isfinite(score):
            raise DataError(f"{where}: the score must be a number, is not; choose another file.")
        if basis == self.basis:
            self.scores[architecture] = score

    def add(self, architecture: Architecture, score: float) -> None:
        """Keep a score; what is no number is not kept."""
        if not math.isfinite(score):
            return
        self.scores[architecture] = score
        line = json.dumps({"basis": self.basis, "score": score, "architecture": architecture.to_dict()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
