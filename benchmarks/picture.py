"""The results as a picture: bars for what is compared, lines for how cost grows."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.targets import Result, best, median_seconds
from hat.report.theme import drawing, light

COLUMNS = 3


def draw(record: dict[str, Any], path: Path) -> None:
    """Write the picture of a record; a group without times has no place in it."""
    groups = [group for group in record["groups"] if any(result.get("seconds") for result in group["results"])]
    rows = max(math.ceil(len(groups) / COLUMNS), 1)
    with drawing():
        figure = Figure(figsize=(5 * COLUMNS, 3.6 * rows), layout="constrained")
        places = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
        for axes, group in zip(places, groups, strict=False):
            (_lines if group["sweep"] else _bars)(axes, group["results"])
            axes.set_title(group["title"])
        for axes in places[len(groups) :]:
            axes.remove()
        figure.savefig(path, dpi=110, facecolor=light("paper"))


def _keys(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    timed = [result for result in results if result.get("seconds")]
    return list(dict.fromkeys((r["case"]["name"], r["peer"], r["variant"].split()[0]) for r in timed))


def _bars(axes: Axes, results: Sequence[Result]) -> None:
    """Each peer at its best, the slowest at the top."""
    keys = _keys(results)
    several = len({case for case, _, _ in keys}) > 1
    names = [f"{peer} {variant}" + (f", {case}" if several else "") for case, peer, variant in keys]
    seconds = [median_seconds(found) for key in keys if (found := best(results, key)) is not None]
    order = sorted(range(len(keys)), key=lambda index: seconds[index])
    bars = axes.barh([names[index] for index in order], [1000 * seconds[index] for index in order])
    for bar, index in zip(bars, order, strict=True):
        bar.set_alpha({"hat": 1.0, "limit": 0.25}.get(keys[index][1], 0.5))
    axes.bar_label(bars, [f"{bar.get_width():,.{0 if bar.get_width() >= 100 else 1}f}" for bar in bars], padding=2)
    axes.margins(x=0.15)
    axes.set_xlabel("ms")


def _lines(axes: Axes, results: Sequence[Result]) -> None:
    """Milliseconds by what is varied, a line for each precision."""
    points: dict[str, list[tuple[float, float]]] = {}
    for key in _keys(results):
        found = best(results, key)
        if found is not None:
            points.setdefault(key[2], []).append((float(key[0].split()[-1]), 1000 * median_seconds(found)))
    for variant, line in points.items():
        axes.plot(*zip(*sorted(line), strict=True), marker="o", label=variant)
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.legend()
