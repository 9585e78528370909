"""The picture of an experiment: how its searches went on, and what quality its models reach at which latency."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Point(NamedTuple):
    """One trained model."""

    name: str
    latency_ms: float
    bleu: float


def draw(path: Path, searches: Mapping[Path, float], points: Sequence[Point], test_set: str) -> None:
    """Write the picture.

    Args:
        path: the file, by its ending PNG, SVG or PDF.
        searches: the latency limit in milliseconds of every folder that hat-search made.
        points: the models.
        test_set: on what their BLEU is.
    """
    import matplotlib

    matplotlib.use("Agg")  # no screen is needed
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for number, (folder, limit_ms) in enumerate(searches.items()):
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        numbers = [line["generation"] for line in history]
        color = f"C{number}"
        left.plot(numbers, [line["best_loss"] for line in history], "o-", color=color, label=f"best, {limit_ms:g} ms")
        left.plot(numbers, [line["mean_loss"] for line in history], ".:", color=color, label="mean of the population")
        right.axvline(limit_ms, color=color, linestyle="--", label=f"limit {limit_ms:g} ms")
    left.set(xlabel="generation", ylabel="validation loss (nats per token)", title="Search")
    left.legend()
    for point in points:
        right.scatter(point.latency_ms, point.bleu, color="black", zorder=3)
        right.annotate(point.name, point[1:], xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    right.margins(x=0.25, y=0.2)
    right.set(xlabel="measured latency (ms)", ylabel="BLEU (tokenised)", title=f"Models, {test_set}")
    right.legend(loc="lower right")
    figure.savefig(path, dpi=120)
