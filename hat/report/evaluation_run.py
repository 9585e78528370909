"""What hat-evaluate leaves, read for a report, and at which latency the evaluated models run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hat.artifacts import file_digest, read_json
from hat.report.predictor_run import PredictorRun
from hat.report.records import number, section
from hat.report.runs import Run, of_kind
from hat.report.search_run import SearchRun
from hat.report.wording import printable
from hat.space import Architecture

EVALUATION_FILE = "evaluation.json"
MEASURED, FOUND, PREDICTED = "measured with it", "measured by the search", "predicted"
"""Where a model's latency is from."""


@dataclass(frozen=True)
class Evaluation:
    """One ``evaluation.json``."""

    run: Run
    values: dict[str, Any]
    name: str
    """Of the model."""
    test_set: str
    architecture: Architecture | None
    """None where the model is not there any more, or another one in its place."""
    latency_ms: float | None
    latency_source: str

    @property
    def where(self) -> Path:
        """The file."""
        return self.run.path / EVALUATION_FILE

    def bleu(self, kind: str) -> float | None:
        """One of the BLEU scores."""
        scores = section(self.values, "bleu", self.where)
        return number(scores, kind, f"{self.where}: bleu")

    def sacrebleu(self) -> dict[str, Any]:
        """Score and signature."""
        return section(section(self.values, "bleu", self.where), "sacrebleu", f"{self.where}: bleu")


def read_evaluations(
    runs: Sequence[Run], searches: Sequence[SearchRun], predictors: Sequence[PredictorRun]
) -> list[Evaluation]:
    """The results of all evaluations that came to their end.

    Args:
        runs: of the report.
        searches: its searches, which have measured what they found.
        predictors: its predictors, for the latency of what nobody has measured.

    Raises:
        DataError, ConfigError: when a file is damaged.
    """
    latencies = _Latencies(searches, predictors)
    found = []
    for run in of_kind(runs, "evaluation"):
        path = run.path / EVALUATION_FILE
        if not path.exists():
            continue
        values = read_json(path, "an evaluation")
        measured = section(section(values, "latency", path), "total", f"{path}: latency")
        latency_ms, source = number(measured, "mean_ms", f"{path}: latency.total"), MEASURED
        replaced = _is_replaced(run, values)
        architecture = None if replaced else _architecture(run)
        if latency_ms is None:
            latency_ms, source = latencies.of(architecture)
        name = _model_name(run, values, runs) + (", an earlier one" if replaced else "")
        found.append(Evaluation(run, values, name, _test_set(run), architecture, latency_ms, source))
    return found


class _Latencies:
    """What the report knows of the mean latency of architectures that were not timed when they were evaluated.

    Only where there is no doubt of which device and call: nothing says which one a model is for. So what searches with
    several predictors measured is left out, and nothing is predicted where the report has several predictors.
    """

    def __init__(self, searches: Sequence[SearchRun], predictors: Sequence[PredictorRun]) -> None:
        by_predictor: dict[Architecture, dict[str, float]] = {}
        for search in searches:
            found, predictor = search.found, printable(search.run.config.get("predictor"))
            measured_ms = None if found is None or found.statistic != "mean" else found.number("measured_ms")
            if found is not None and measured_ms is not None:
                by_predictor.setdefault(found.architecture, {})[predictor] = measured_ms
        self.measured_ms = {
            architecture: next(iter(measured.values())) if len(measured) == 1 else None
            for architecture, measured in by_predictor.items()
        }
        known = [trained.predictor for trained in predictors]
        means = [one for one in known if (one.target, one.statistic) == ("total", "mean")]
        self.predictor = means[0] if len(means) == 1 else None

    def of(self, architecture: Architecture | None) -> tuple[float | None, str]:
        """Milliseconds, and where they are from."""
        if architecture is None:
            return None, PREDICTED
        if architecture in self.measured_ms:
            return self.measured_ms[architecture], FOUND
        return None if self.predictor is None else self.predictor.predict_ms(architecture), PREDICTED


def model_architecture(folder: Path) -> Architecture | None:
    """That of the standalone model in ``folder``; None where there is none. Raises ConfigError when it is damaged."""
    path = folder / "config.json"
    values = read_json(path, "a model's config.json") if path.is_file() else {}
    if "architecture" not in values:
        return None
    return Architecture.from_dict(values["architecture"], where=f"{path}: architecture")


def _is_replaced(run: Run, values: dict[str, Any]) -> bool:
    """Whether another model is now where the evaluated one was, or another architecture in its file."""
    for key, digest in section(values, "digests", run.path / EVALUATION_FILE).items():
        place = run.locate(key)
        path = place / "model.safetensors" if place is not None and place.is_dir() else place
        if path is not None and path.is_file() and file_digest(path) != digest:
            return True
    return False


def _architecture(run: Run) -> Architecture | None:
    chosen, model = run.locate("architecture"), run.locate("model")
    if chosen is not None:
        return Architecture.from_json(chosen)
    return None if model is None else model_architecture(model)


def _model_name(run: Run, values: dict[str, Any], runs: Sequence[Run]) -> str:
    """As the report calls the model's own run, if that is part of it; else the path that was evaluated."""
    model = run.locate("model")
    names = {other.path.resolve(): other.name for other in of_kind(runs, "super", "sub")}
    name = None if model is None else names.get(model.resolve())
    chosen = run.config.get("architecture")
    shown = printable(values.get("model")) if name is None else name
    return f"{shown} ({printable(chosen)})" if isinstance(chosen, str) else shown


def _test_set(run: Run) -> str:
    data, source = run.config.get("data"), run.config.get("source")
    if isinstance(data, str):
        return printable(f"{Path(data).name} {run.config.get('split')}")
    return printable(Path(source).name) if isinstance(source, str) else "test"
