"""Drawings of the networks of a report, side by side and at one scale."""

from collections.abc import Sequence

from hat.report.document import Gallery, Picture, Section
from hat.report.drawing import architecture_figure
from hat.report.evaluation import model_architecture
from hat.report.runs import Run, of_kind
from hat.report.search import read_found
from hat.report.theme import drawing, svg_of
from hat.report.wording import milliseconds
from hat.space import Architecture


def architectures_section(runs: Sequence[Run]) -> Section | None:
    """What searches found, and what else was trained; None when there is nothing."""
    names: dict[Architecture, list[str]] = {}
    for run in of_kind(runs, "search"):
        found = read_found(run)
        if found is not None:
            limit_ms = found.number("limit_ms")
            limit = "" if limit_ms is None else f" (limit {milliseconds(limit_ms)} ms)"
            names.setdefault(found.architecture, []).append(f"{run.name}{limit}")
    for run in of_kind(runs, "sub"):
        architecture = model_architecture(run.path)
        if architecture is not None:
            names.setdefault(architecture, []).append(run.name)
    if not names:
        return None
    pictures = tuple(
        _drawn(f"architecture-{number}", architecture, used, tuple(names))
        for number, (architecture, used) in enumerate(names.items(), 1)
    )
    return Section("Architectures", (Gallery(pictures),))


def _drawn(name: str, architecture: Architecture, names: Sequence[str], beside: Sequence[Architecture]) -> Picture:
    with drawing():
        svg = svg_of(architecture_figure(architecture, beside=beside))
    encoder, decoder = architecture.encoder, architecture.decoder
    description = (
        f"{architecture}: {len(encoder.layers)} encoder layers of width {encoder.embed_dim}, {len(decoder.layers)} "
        f"decoder layers of width {decoder.embed_dim}."
    )
    return Picture(name, svg, description, f"{architecture}: {', '.join(names)}")
