"""The picture of an experiment: how its searches went on, and what quality its models reach at which latency."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from hat.report.evaluation import Point, draw_quality
from hat.report.runs import find_runs
from hat.report.search import draw_convergence
from hat.report.search_run import read_searches
from hat.report.theme import drawing, light


def draw(path: Path, searches: Mapping[Path, float], points: Sequence[Point], test_set: str) -> None:
    """Write the picture.

    Args:
        path: the file, by its ending PNG, SVG or PDF.
        searches: the latency limit in milliseconds of every folder that hat-search made.
        points: the models.
        test_set: on what their BLEU is.
    """
    found = read_searches(find_runs(list(searches)))
    curves = [search.convergence for search in found if search.convergence is not None]
    with drawing():
        figure = Figure(figsize=(10, 4))
        left, right = figure.subplots(1, 2)
        draw_convergence(left, curves)
        draw_quality(right, points, {f"limit {limit_ms:g} ms": limit_ms for limit_ms in searches.values()})
        left.set_title("Search")
        right.set_title(f"Models, {test_set}")
        figure.savefig(path, dpi=120, facecolor=light("paper"))
