"""The record of a search: one line a generation."""

import json
import logging
import sys
from pathlib import Path

from tqdm import tqdm

from hat.artifacts import write_text
from hat.search.candidate import Generation

HISTORY_FILE, PARTIAL_FILE, PARETO_FILE = "history.jsonl", "history.partial.jsonl", "pareto.json"

logger = logging.getLogger(__name__)


class SearchHistory:
    """Writes ``history.jsonl``, one line a generation, and shows progress.

    The file is called ``history.partial.jsonl`` until the search is complete: what an earlier search found is replaced
    as a whole or, by a search that fails or is stopped, not at all.
    """

    def __init__(self, folder: Path, generations: int) -> None:
        self.partial = folder / PARTIAL_FILE
        self.number = 0
        self.bar = tqdm(total=generations + 1, unit="generation", disable=not sys.stderr.isatty())

    def __enter__(self) -> "SearchHistory":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def add(self, generation: Generation) -> None:
        """Write a line about a generation."""
        best = generation.best
        line = {
            "generation": self.number,
            "best_loss": best.score,
            "best_predicted_ms": best.latency_ms,
            "mean_loss": generation.mean_score,
            "newly_scored": generation.newly_scored,
            "sentence_evaluations": generation.sentences,
            "best": best.architecture.to_dict(),
        }
        if self.number == 0:
            write_text(self.partial, "")
        with self.partial.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        text = f"best loss {best.score:.4f} at {best.latency_ms:.4g} ms, mean {generation.mean_score:.4f}"
        if self.bar.disable:
            new, sentences = generation.newly_scored, f"{generation.sentences:,}"
            logger.info("generation %d | %s | %d new | %s sentences so far", self.number, text, new, sentences)
        self.number += 1
        self.bar.set_postfix_str(text)
        self.bar.update()

    def complete(self) -> None:
        """Give the file its final name."""
        self.partial.replace(self.partial.with_name(HISTORY_FILE))
