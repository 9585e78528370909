"""How trainings went: losses, validation of the SubTransformers, speed."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hat.report.document import Block, Gallery, Note, Picture, Section, Table
from hat.report.records import any_finite, number, plottable, section
from hat.report.runs import Run, of_kind, record
from hat.report.theme import chart, label, light, series_colour
from hat.report.wording import NONE, decimal, duration, printable, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_POINTS = 1000

Curve = tuple[list[float], list[float]]
"""Updates, and a value at each."""


def training_section(runs: Sequence[Run]) -> Section | None:
    """All trainings of the report; None when there are none."""
    trainings = of_kind(runs, "super", "sub")
    if not trainings:
        return None
    blocks: list[Block] = [] if len(trainings) < 2 else _comparison(trainings)
    return Section("Training", (*blocks, *(_one(run) for run in trainings)))


def _comparison(trainings: Sequence[Run]) -> list[Block]:
    """The SubTransformers' validation losses in one picture, and all trainings in one table."""
    rows = []
    for run in trainings:
        where, logged = f"{run.path}/metrics.jsonl", run.named("train")
        last = logged[-1] if logged else {}
        speed = [value for line in logged if (value := number(line, "target_tokens_per_s", where)) is not None]
        losses = final_losses(run)
        named = next((losses[name] for name in ("valid", "largest") if name in losses), {})
        rows.append(
            (
                run.name,
                {"super": "SuperTransformer", "sub": "SubTransformer"}[run.kind],
                whole(number(last, "update", where)),
                whole(float(np.median(speed)) if speed else None),
                duration(number(run.info, "training_seconds", f"{run.path}/run.json")),
                _loss(named.get("loss"), named),
            )
        )
    columns = ("training", "of a", "updates", "target tokens/s (median)", "time", "validation loss")
    blocks: list[Block] = [Table(columns, tuple(rows), text_columns=2)]
    curves = {run.name: curve for run in of_kind(trainings, "sub") if (curve := _validated(run).get("valid"))}
    if len(curves) > 1 and any_finite(*(losses for _, losses in curves.values())):
        description = f"Validation loss by update of {len(curves)} SubTransformers."
        picture = chart(
            "validation",
            "SubTransformers",
            description,
            lambda axes: _draw_curves(axes, curves, "validation loss (nats per token)"),
            "Validation loss of every SubTransformer that was trained on its own.",
        )
        blocks.append(Gallery((picture,)))
    return blocks


def _one(run: Run) -> Section:
    where = f"{run.path}/metrics.jsonl"
    trained = run.named("train")
    updates = _numbers(trained, "update", where)
    blocks: list[Block] = []
    if not run.finished:
        most = number(section(run.config, "training", f"{run.path}/config.yaml"), "max_updates", run.path)
        blocks.append(Note(f"Not finished: at update {whole(updates[-1] if updates else 0)} of {whole(most)}."))
    losses = _numbers(trained, "loss", where)
    pictures = []
    if any_finite(losses) or _validated(run):
        pictures.append(_losses_picture(run, (updates, losses)))
    speed = _numbers(trained, "target_tokens_per_s", where)
    if any_finite(speed):
        pictures.append(_speed_picture(run, (updates, speed)))
    if pictures:
        blocks.append(Gallery(tuple(pictures)))
    rows = tuple(
        (printable(name), *(_loss(values.get(kind), values) for kind in ("loss", "nll")), _perplexity(values))
        for name, values in final_losses(run).items()
    )
    if rows:
        blocks.append(Table(("validated", "loss", "nll", "perplexity"), rows))
    return Section(run.name, (*blocks, *record(run)))


def _losses_picture(run: Run, trained: Curve) -> Picture:
    validated = _validated(run)

    def draw(axes: "Axes") -> None:
        axes.plot(*_thinned(trained), color=light("muted"), linewidth=0.9, alpha=0.7, label="training batches")
        _draw_curves(axes, validated, "loss (nats per token)")
        everything = [
            value for values in (trained[1], *(losses for _, losses in validated.values())) for value in values
        ]
        finite = [value for value in everything if math.isfinite(value)]
        if len(finite) > 20:  # the first updates of a training would flatten all that comes after
            low, high = min(finite), float(np.quantile(finite, 0.97))
            axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low) if high > low else None)

    caption = "Label-smoothed cross-entropy. " + (
        "Every update trains another SubTransformer, so the grey line is a mixture of small and large ones."
        if run.kind == "super"
        else "Training is with dropout, validation without."
    )
    description = f"Training and validation loss by update of {run.name}."
    return chart(f"loss-{run.key}", "Loss", description, draw, caption)


def _speed_picture(run: Run, speed: Curve) -> Picture:
    def draw(axes: "Axes") -> None:
        updates, values = _thinned(speed)
        axes.plot(updates, [value / 1000 for value in values], color=light("teal"), linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="update", ylabel="target tokens per second (thousands)")

    median = float(np.nanmedian(speed[1]))
    description = f"Training speed of {run.name} by update; the median is {whole(median)} target tokens a second."
    return chart(f"speed-{run.key}", "Speed", description, draw, f"Median {whole(median)} target tokens a second.")


def _draw_curves(axes: "Axes", curves: dict[str, Curve], quantity: str) -> None:
    for index, (name, curve) in enumerate(curves.items()):
        marker = "o" if len(curve[0]) <= 40 else ""
        style = "-" if index < 6 else "--"
        axes.plot(
            *_thinned(curve), style, marker=marker, color=series_colour(index), label=label(name.replace("_", " "))
        )
    axes.set(xlabel="update", ylabel=quantity)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()


def final_losses(run: Run) -> dict[str, dict[str, float | None]]:
    """The last validation by name: ``loss`` and ``nll`` each. Missing numbers are left out, null is None."""
    where = f"{run.path}/metrics.jsonl"
    found = {str(event.get("name")): event for event in run.named("valid")}
    for final in run.named("final"):
        if "loss" in final:
            found["valid"] = final
        found |= {name: values for name, values in final.items() if isinstance(values, dict) and "loss" in values}
    return {
        name: {kind: number(values, kind, where) for kind in ("loss", "nll") if kind in values}
        for name, values in found.items()
    }


def _validated(run: Run) -> dict[str, Curve]:
    """The curve of everything that was validated, by name."""
    where = f"{run.path}/metrics.jsonl"
    events: dict[str, list[dict[str, Any]]] = {}
    for event in run.named("valid"):
        events.setdefault(str(event.get("name")), []).append(event)
    return {name: (_numbers(lines, "update", where), _numbers(lines, "loss", where)) for name, lines in events.items()}


def _numbers(events: Sequence[dict[str, Any]], key: str, where: str) -> list[float]:
    return plottable([number(event, key, where) for event in events])


def _thinned(curve: Curve) -> Curve:
    """A curve with no more points than one can see."""
    step = max(1, math.ceil(len(curve[0]) / _MOST_POINTS))
    return curve[0][::step], curve[1][::step]


def _loss(value: float | None, values: dict[str, float | None]) -> str:
    """A loss; null is how a run writes one that is no finite number."""
    return decimal(value, 4) if value is not None else "not finite" if values else NONE


def _perplexity(values: dict[str, float | None]) -> str:
    nll = values.get("nll")
    return NONE if nll is None else decimal(math.exp(nll) if nll < 700 else math.inf)
