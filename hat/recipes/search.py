"""Find the best SubTransformer under a latency limit, and measure it before it is reported."""

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from hat.artifacts import RunFolder, alone_in, file_digest, write_json
from hat.config import Section, Seed, Threads
from hat.data.batch import Batch
from hat.data.batching import validation_batches
from hat.data.corpus import ParallelCorpus
from hat.errors import ConfigError
from hat.latency.device import describe
from hat.latency.predictor import LatencyPredictor
from hat.latency.settings import DeviceRecord
from hat.latency.stopwatch import Reading, Stopwatch
from hat.nn import SuperTransformer
from hat.nn.device import choose_device
from hat.recipes.best_measured import search_and_measure
from hat.recipes.training import check_same_symbols, use_threads
from hat.search import Candidate, EvolutionConfig, evolutionary_search, pareto_front
from hat.search.history import SearchHistory
from hat.search.scores import ScoreFile
from hat.space import Architecture
from hat.training.validation import validation_loss
from hat.training.world import World

logger = logging.getLogger(__name__)

_ARCHITECTURE, _PARETO = "architecture.json", "pareto.json"
_OTHER_PACE = 0.1  # of the predictor's pace: farther from it, the user is told


class SearchConfig(Section):
    """Settings of ``hat-search``."""

    output: Path
    """Folder for what is found."""
    supertransformer: Path
    """Folder of the trained SuperTransformer."""
    predictor: Path
    """Folder of the latency predictor."""
    data: Path
    """A folder that hat-prepare made; its validation split gives the scores."""
    split: str = "valid"
    """Name of that split."""
    latency_limit_ms: float = Field(gt=0)
    """Highest latency of the SubTransformer. No default: it is the question being asked."""
    scores: Path | None = None
    """File that keeps every score; null keeps them in the output folder. A search that was interrupted then soon is
    where it was; searches under other limits can share one file. Scores that would differ now stay in it, unused."""
    seed: Seed = 1
    """Decides every random choice of the search."""
    evolution: EvolutionConfig = EvolutionConfig()
    max_tokens: int = Field(default=8192, gt=0)
    """Tokens of a validation batch, padding included."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Of the validation loss."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the matrix products of the scoring."""
    device: str = "auto"
    """Where candidates are scored: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: Threads | None = None
    """CPU threads of the scoring; null leaves torch's choice."""
    measure: bool = True
    """Measure the best candidates on this machine and return the best one that keeps the limit. Set false when the
    latency is another machine's: the result is then predicted only."""
    measured_candidates: int = Field(default=20, gt=0)
    """How many candidates are measured at most before the search gives up."""


def search(config: SearchConfig) -> Path:
    """Search as ``config`` says and return the path of ``architecture.json``.

    Raises:
        SearchError: if no SubTransformer is predicted, or measured, to be within the limit.
        ConfigError, DataError: if files and settings do not fit together.
    """
    use_threads(config.threads)
    device = choose_device(config.device)
    model = SuperTransformer.from_pretrained(config.supertransformer).to(device)
    predictor = LatencyPredictor.load(config.predictor)
    stopwatch = _stopwatch(predictor, config)
    check_same_symbols(config.data, config.supertransformer)
    batches = validation_batches(ParallelCorpus.load(config.data, config.split), config.max_tokens)
    run = RunFolder(config.output, config, "hat-search")
    with alone_in(config.output):
        score = _scorer(model, batches, config, device)
        best, scored, found = _find(config, model, score, predictor, stopwatch)
        front = pareto_front(
            Candidate(candidate.architecture, candidate.score, predictor.predict_ms(candidate.architecture))
            for candidate in scored
        )
        write_json(config.output / _PARETO, [_summary(candidate) for candidate in front])
        path = config.output / _ARCHITECTURE
        best.architecture.to_json(path, found)
        run.log(event="final", **found)
        run.finish(scored=len(scored))
    return path


def _find(
    config: SearchConfig,
    model: SuperTransformer,
    score: Callable[[Architecture], float],
    predictor: LatencyPredictor,
    stopwatch: Stopwatch | None,
) -> tuple[Candidate, list[Candidate], dict[str, Any]]:
    """The best candidate, everything that was scored, and what ``architecture.json`` says about the best one."""
    scored: dict[Architecture, Candidate] = {}
    timed_on = predictor.device if stopwatch is None else stopwatch.device
    found: dict[str, Any] = {"limit_ms": config.latency_limit_ms, "device": timed_on and _name(timed_on)}
    with SearchHistory(config.output, config.evolution.generations) as history:

        def find(latency_ms: Callable[[Architecture], float], known: Sequence[Candidate]) -> list[Candidate]:
            start = [candidate.architecture for candidate in known]
            evolution = config.evolution.shortened() if start else config.evolution
            limits = latency_ms, config.latency_limit_ms
            rng = random.Random(config.seed)
            ranking = evolutionary_search(model.space, score, *limits, evolution, rng, history.add, start)
            scored.update({candidate.architecture: candidate for candidate in ranking})
            return ranking

        if stopwatch is None:
            best = find(predictor.predict_ms, ())[0]
            logger.info("the latency is predicted only: measure: false")
        else:
            best, reading = search_and_measure(
                find,
                predictor.predict_ms,
                # What is measured is what would ship: the extracted network, with the SuperTransformer's vocabulary.
                lambda architecture: stopwatch.read(model.extract(architecture), config.latency_limit_ms),
                config.latency_limit_ms,
                config.measured_candidates,
            )
            found |= _measured(reading, stopwatch, config)
        history.complete()
    prediction = predictor.predict(best.architecture)
    interval = prediction.low_ms, prediction.high_ms
    found |= {
        "predicted_ms": round(prediction.latency_ms, 3),
        "predicted_interval_ms": [None if bound is None else round(bound, 3) for bound in interval],
        "extrapolates": prediction.extrapolates,
        "validation_loss": best.score,
        "scored": len(scored),
    }
    return best, list(scored.values()), found


def _stopwatch(predictor: LatencyPredictor, config: SearchConfig) -> Stopwatch | None:
    """What measures the result; None when it is not measured. Raises ConfigError before any work is done."""
    if predictor.target != "total":
        raise ConfigError(
            f"{config.predictor}: must predict the total latency, predicts the {predictor.target}'s; train one with "
            "target: total."
        )
    if not config.measure:
        return None
    if predictor.device is None:
        raise ConfigError(
            f"{config.predictor}: does not say how its latencies were measured, so they cannot be measured again; "
            "set measure: false for a predicted latency only."
        )
    try:
        here = describe(predictor.device.settings, predictor.device.anchor)
        same = _name(predictor.device) == _name(here)
        stopwatch = Stopwatch(here, predictor.anchor_ms if same else None)
    except ConfigError as error:
        raise ConfigError(
            f"{config.predictor}: its latencies cannot be measured here ({error}); set measure: false for a predicted "
            "latency only."
        ) from None
    if not same:
        logger.warning(
            "the predictor knows another machine (%s) than the one that measures now (%s); set measure=false to search "
            "for that machine", _name(predictor.device), _name(here),
        )  # fmt: skip
    return stopwatch


def _name(device: DeviceRecord) -> str:
    return device.gpu or device.machine


def _scorer(
    model: SuperTransformer, batches: Sequence[Batch], config: SearchConfig, device: torch.device
) -> Callable[[Architecture], float]:
    """Label-smoothed loss per token of a SubTransformer with its inherited weights; what is known is not computed."""
    kept = ScoreFile(config.scores or config.output / "scores.jsonl", _basis(config, device))
    world = World(0, 1, device)

    def score(architecture: Architecture) -> float:
        known = kept.scores.get(architecture)
        if known is not None:
            return known

        def hidden_of(batch: Batch) -> Tensor:
            return model.hidden(batch.source, batch.target_in, architecture)

        result = validation_loss(model, hidden_of, batches, config.label_smoothing, config.precision, world)
        kept.add(architecture, result.loss)
        return result.loss

    return score


def _basis(config: SearchConfig, device: torch.device) -> str:
    """What decides a score besides the architecture."""
    files = config.supertransformer / "model.safetensors", config.data / "meta.json"
    digests = [file_digest(path) for path in files]
    settings = config.split, config.max_tokens, config.label_smoothing, config.precision, device.type
    return " ".join(map(str, (*digests, *settings, torch.__version__)))


def _measured(reading: Reading, stopwatch: Stopwatch, config: SearchConfig) -> dict[str, Any]:
    """What ``found`` says of the measurement; warns where the machine's pace is another than the predictor's."""
    slowdown = stopwatch.slowdown()
    if slowdown is not None and abs(slowdown - 1) > _OTHER_PACE:
        kept = "keeps" if reading.now_ms <= config.latency_limit_ms else "does not keep"
        logger.warning(
            "this machine now takes %.2f times as long as when the predictor's data were measured; the latency is "
            "given as it was then. Now it is %.4g ms, which %s the limit.", slowdown, reading.now_ms, kept,
        )  # fmt: skip
    return {
        "measured_ms": round(reading.latency_ms, 3),
        "measured_upper_ms": round(reading.upper_ms, 3),
        "measured_now_ms": round(reading.now_ms, 3),
        "slowdown": slowdown,
    }


def _summary(candidate: Candidate) -> dict[str, Any]:
    return {
        "predicted_ms": candidate.latency_ms,
        "validation_loss": candidate.score,
        "architecture": candidate.architecture.to_dict(),
    }
