"""Drawings of the networks of a report, side by side and at one scale."""

from collections.abc import Sequence

from hat.report.document import Gallery, Picture, Section
from hat.report.drawing import architecture_figure
from hat.report.evaluation_run import model_architecture
from hat.report.runs import Run, of_kind
from hat.report.search_run import SearchRun
from hat.report.theme import drawing, svg_of
from hat.space import Architecture


def architectures_section(runs: Sequence[Run], searches: Sequence[SearchRun]) -> Section | None:
    """What searches found, and what else was trained; None when there is nothing."""
    names: dict[Architecture, list[str]] = {}
    for search in searches:
        if search.found is not None:
            limit = f" ({search.found.limit})" if search.found.limit else ""
            names.setdefault(search.found.architecture, []).append(f"{search.run.name}{limit}")
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
