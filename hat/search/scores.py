"""Scores that are kept on disk: a search that was interrupted, or one under another limit, need not repeat them."""

import json
import math
import os
from pathlib import Path

from hat.artifacts import make_folder, read_text, write_text
from hat.errors import DataError
from hat.space import Architecture

_FORMAT = "hat.scores/1"


class ScoreFile:
    """Architectures and their scores, one JSON object a line, added as they come.

    The first line says what the scores depend on. Where that has changed, the file is begun anew.

    Args:
        path: the file; made if needed.
        basis: what the scores depend on, in any words.

    Raises:
        DataError: if the file is there, but holds something else.
    """

    def __init__(self, path: Path, basis: str) -> None:
        self.path = path
        self.scores: dict[Architecture, float] = {}
        make_folder(path.parent)
        head = json.dumps({"format": _FORMAT, "basis": basis})
        lines = read_text(path, "scores of a search").split("\n") if path.exists() else [""]
        if lines[0] and not lines[0].startswith('{"format": "hat.scores/'):
            raise DataError(f"{path}: must be scores of a search, is something else; choose another file.")
        if lines[0] != head:
            write_text(path, head + "\n")
            return
        for number, line in enumerate(lines[1:-1], 2):
            self._read(line, f"{path}, line {number}")
        torn = len(lines[-1].encode())  # by a power cut
        if torn:
            os.truncate(path, path.stat().st_size - torn)

    def _read(self, line: str, where: str) -> None:
        try:
            values = json.loads(line)
            score = values["score"]
            architecture = Architecture.from_dict(values["architecture"], where=where)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError(f"{where}: must be a score, is damaged; remove the file.") from None
        if not isinstance(score, float) or not math.isfinite(score):
            raise DataError(f"{where}: the score must be a number, is not; remove the file.")
        self.scores[architecture] = score

    def add(self, architecture: Architecture, score: float) -> None:
        """Keep a score; what is no number is not kept."""
        if not math.isfinite(score):
            return
        self.scores[architecture] = score
        line = json.dumps({"score": score, "architecture": architecture.to_dict()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
