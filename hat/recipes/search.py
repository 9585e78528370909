"""Find the best SubTransformer under a latency limit, and measure it before it is reported."""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hat.artifacts import RunFolder, alone_in, file_digest, write_json
from hat.errors import InfeasibleError
from hat.latency.predictor import LatencyPredictor
from hat.latency.stopwatch import Reading, Stopwatch
from hat.nn import SuperTransformer, Transformer
from hat.recipes.best_measured import (
    Find,
    device_name,
    measured_facts,
    predicted_facts,
    search_and_measure,
    stopwatch_for,
)
from hat.recipes.search_config import SearchConfig
from hat.recipes.search_front import front_as_json, pick, read_front
from hat.recipes.search_limits import check_same_call, check_total, latency_function, limits_of
from hat.recipes.search_losses import Evaluator, SharedLosses, serve, served
from hat.recipes.training import check_same_symbols, use_threads
from hat.search import ALGORITHMS, Candidate, EvolutionConfig, Limit, Scoreboard, Task, pareto_front
from hat.search.candidate import by_score
from hat.search.feasible import feasible_member
from hat.search.history import PARETO_FILE, SearchHistory
from hat.search.nsga2 import check_pymoo
from hat.search.scores import ScoreFile
from hat.space import Architecture
from hat.training.world import World, join_world

Read = Callable[[Transformer, float, float], Reading]
"""Measures a standalone model; looks until it is sure on which side of the limit in milliseconds it is, with the
confidence that is its third argument, near 1."""


def search(config: SearchConfig, front: Path | None = None, read: Read | None = None) -> Path:
    """Search as ``config`` says and return the path of ``architecture.json``.

    Several processes, as ``torchrun`` starts them, score candidates together; only the main one does anything else.

    Args:
        config: the settings.
        front: a ``pareto.json`` of an earlier search to pick from, instead of a search.
        read: measures what is found, instead of this machine's stopwatch.

    Raises:
        SearchError: if no SubTransformer is predicted, or measured, to be within the limits.
        ConfigError, DataError: if files and settings do not fit together.
    """
    use_threads(config.threads)
    with join_world(config.device, "device", objects_only=True) as world:
        if not world.is_main:
            serve(lambda: Evaluator(config, world.device), world)
            return config.output
        with served(world):
            return _search(config, world, read) if front is None else _pick_from(front, config, read)


@dataclass(frozen=True)
class _Ready:
    """What a search needs, loaded and checked before anything is written."""

    config: SearchConfig
    predictor: LatencyPredictor
    stopwatch: Stopwatch | None
    read: Read | None
    model: SuperTransformer
    limits: tuple[Limit, ...]
    origin: str
    """Tells this SuperTransformer from others."""

    def task(self, latency_ms: Callable[[Architecture], float], limit_ms: float) -> Task:
        """Where to look and what must hold, with these latencies."""
        return Task(self.model.space, latency_ms, limit_ms, self.limits)

    def front(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Of these, the ones that no other beats in both loss and predicted latency."""
        predict_ms = self.predictor.predict_ms
        return pareto_front(Candidate(c.architecture, c.score, predict_ms(c.architecture)) for c in candidates)


def _get_ready(config: SearchConfig, load: Callable[[], SuperTransformer], read: Read | None) -> _Ready:
    predictor = LatencyPredictor.load(config.predictor)
    check_total(predictor, config.predictor)
    stopwatch = stopwatch_for(predictor, config.predictor) if config.measure and read is None else None
    if not config.measure:
        read = None
    elif stopwatch is not None:
        read = stopwatch.read
    check_same_symbols(config.data, config.supertransformer)
    model = load()
    check_same_call(predictor, config.predictor, model)
    limits = limits_of(config.limits, model, config.predicted_limit)
    origin = file_digest(config.supertransformer / "model.safetensors")
    return _Ready(config, predictor, stopwatch, read, model, limits, origin)


def _pick_from(path: Path, config: SearchConfig, read: Read | None) -> Path:
    """The best network of the front in a file that keeps the limits; nothing is scored."""
    ready = _get_ready(config, lambda: SuperTransformer.from_pretrained(config.supertransformer), read)
    front = read_front(path, ready.model.space, ready.origin, ready.predictor.predict_ms)
    run = RunFolder(config.output, config, "hat-search")
    with alone_in(config.output):
        best, facts, readings = _best_measured(
            ready, lambda latency_ms, known: pick(front, ready.task(latency_ms, config.latency_limit_ms))
        )
        return _write(ready, run, best, {**facts, "front": str(path)}, readings)


def _search(config: SearchConfig, world: World, read: Read | None) -> Path:
    """The best network that the algorithm finds."""
    if config.algorithm == "nsga2":
        check_pymoo()
    evaluator = Evaluator(config, world.device)
    ready = _get_ready(config, lambda: evaluator.model, read)
    run = RunFolder(config.output, config, "hat-search")
    with alone_in(config.output):
        sizes = [len(part) for part in evaluator.tokens]
        kept = ScoreFile(config.scores or config.output / "scores.jsonl", evaluator.basis(), sizes)
        scores = Scoreboard(SharedLosses(evaluator, world, kept), evaluator.tokens, config.scoring)
        with SearchHistory(config.output, config.evolution.generations) as history:
            finder = _Finder(ready, scores, history)
            best, facts, readings = _best_measured(ready, finder.find)
            finder.write_front()
            history.complete()
        counts = {"scored": scores.scored, "sentence_evaluations": scores.sentences}
        return _write(ready, run, best, {**facts, "algorithm": config.algorithm, **counts}, readings)


class _Finder:
    """Searches as often as measurements change what is known of latencies, with one scoreboard."""

    def __init__(self, ready: _Ready, scores: Scoreboard, history: SearchHistory) -> None:
        self._ready = ready
        self._scores = scores
        self._history = history
        self._scored: dict[Architecture, Candidate] = {}

    def find(self, latency_ms: Callable[[Architecture], float], known: Sequence[Candidate]) -> list[Candidate]:
        """Candidates within the limits, best first."""
        config, ready = self._ready.config, self._ready
        task = ready.task(latency_ms, config.latency_limit_ms)
        start = [candidate.architecture for candidate in known]
        if config.algorithm != "nsga2":
            return self._run(config.algorithm, task, start, config.evolution.shortened() if known else config.evolution)
        if not known:  # one search is for all limits, whatever is measured
            feasible = feasible_member(task, random.Random(config.seed))  # or it ends here, not hours later
            everywhere = ready.task(ready.predictor.predict_ms, math.inf)
            first = dict.fromkeys([feasible.architecture, ready.model.space.smallest()])
            self._run("nsga2", everywhere, [*first], config.evolution)
            self.write_front()  # now: it is for all limits, whatever becomes of this one
        try:
            return pick(self.front(), task)
        except InfeasibleError:  # of the front; between its networks there are others
            return self._run("evolution", task, self._best_first(), config.evolution.shortened())

    def _best_first(self) -> list[Architecture]:
        return [candidate.architecture for candidate in sorted(self._scored.values(), key=by_score)]

    def front(self) -> list[Candidate]:
        """The front of what was scored on all sentences."""
        return self._ready.front(self._scored.values())

    def write_front(self) -> None:
        """Write ``pareto.json``."""
        write_json(self._ready.config.output / PARETO_FILE, front_as_json(self.front(), self._ready.origin))

    def _run(
        self, algorithm: str, task: Task, start: Sequence[Architecture], sizes: EvolutionConfig
    ) -> list[Candidate]:
        rng = random.Random(self._ready.config.seed)
        ranking = ALGORITHMS[algorithm](task, self._scores, sizes, rng, self._history.add, start)
        self._scored.update((candidate.architecture, candidate) for candidate in ranking if candidate.complete)
        return ranking


_Readings = list[tuple[Architecture, Reading]]


def _best_measured(ready: _Ready, find: Find) -> tuple[Candidate, dict[str, Any], _Readings]:
    """The best candidate that ``find`` leads to, what ``found`` says of its latency, and all that was measured."""
    config, read, stopwatch = ready.config, ready.read, ready.stopwatch
    limit_ms = config.latency_limit_ms
    if read is None:
        best = find(latency_function(ready.predictor, config.predicted_limit, config.predictor), ())[0]
        return best, predicted_facts(ready.predictor, best.architecture), []
    readings: _Readings = []

    def read_extracted(architecture: Architecture, confidence: float) -> Reading:
        # What is measured is what would ship: the extracted network, with the SuperTransformer's vocabulary.
        readings.append((architecture, read(ready.model.extract(architecture), limit_ms, confidence)))
        return readings[-1][1]

    predict_ms = ready.predictor.predict_ms
    best, reading = search_and_measure(find, predict_ms, read_extracted, limit_ms, config.measured_candidates)
    device = None if stopwatch is None else device_name(stopwatch.device)
    return best, {"device": device, **measured_facts(reading, limit_ms)}, readings


def _write(ready: _Ready, run: RunFolder, best: Candidate, facts: Mapping[str, Any], readings: _Readings) -> Path:
    """Write ``architecture.json`` and the run's records."""
    config = ready.config
    prediction = ready.predictor.predict(best.architecture)
    interval = prediction.low_ms, prediction.high_ms
    found = {
        "limit_ms": config.latency_limit_ms,
        "statistic": ready.predictor.statistic,
        **facts,
        "predicted_ms": round(prediction.latency_ms, 3),
        "predicted_interval_ms": [None if bound is None else round(bound, 3) for bound in interval],
        "extrapolates": prediction.extrapolates,
        "validation_loss": best.score,
    }
    if ready.limits:
        found["limits"] = {
            limit.name: {"limit": limit.most, "value": round(limit.value(best.architecture), 3)}
            for limit in ready.limits
        }
    path = config.output / "architecture.json"
    best.architecture.to_json(path, found)
    run.forget()
    for architecture, reading in readings:
        run.log(event="measured", architecture=architecture.to_dict(), **asdict(reading))
    run.log(event="final", **found)
    run.finish(**{name: found[name] for name in ("scored", "sentence_evaluations") if name in found})
    return path
