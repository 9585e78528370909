"""Scores that are kept on disk: a search that was interrupted, or one under another limit, need not repeat them."""

import json
import math
from pathlib import Path

from hat.artifacts import make_folder, read_text
from hat.errors import DataError
from hat.space import Architecture

_START = '{"basis": '  # of every line


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
        for number, line in enumerate(text.split("\n"), 1):
            if not _is_torn(line):
                self._read(line, f"{path}, line {number}")
        if text and not text.endswith("\n"):
            self._append("")

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
        self._append(json.dumps({"basis": self.basis, "score": score, "architecture": architecture.to_dict()}))

    def _append(self, line: str) -> None:
        """Add a line in one piece: other searches may add theirs at the same time."""
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")


def _is_torn(line: str) -> bool:
    """Whether a line may be what a power cut left of one, or nothing."""
    if not line.startswith(_START[: len(line)]):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False
