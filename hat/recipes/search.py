"""Find the best SubTransformer under a latency limit, and measure it before it is reported."""

import json
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from tqdm import tqdm

from hat.artifacts import RunFolder, write_json, write_text
from hat.config import Section, Seed, Threads
from hat.data.batch import Batch
from hat.data.batching import validation_batches
from hat.data.corpus import ParallelCorpus
from hat.errors import ConfigError, SearchError
from hat.latency.device import describe
from hat.latency.predictor import LatencyPredictor
from hat.latency.settings import DeviceRecord
from hat.latency.stopwatch import Reading, Stopwatch
from hat.nn import SuperTransformer
from hat.nn.device import choose_device
from hat.recipes.training import check_same_symbols, use_threads
from hat.search import Candidate, EvolutionConfig, Generation, evolutionary_search, pareto_front
from hat.space import Architecture
from hat.training.validation import validation_loss
from hat.training.world import World

logger = logging.getLogger(__name__)

_ARCHITECTURE, _PARETO, _HISTORY = "architecture.json", "pareto.json", "history.jsonl"
_READINGS = 2  # of a candidate: copies of one network may lie better or worse in memory
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
    with _History(config.output, config.evolution.generations) as history:
        ranking = evolutionary_search(
            model.space,
            lambda architecture: _validation_loss(model, architecture, batches, config, device),
            predictor.predict_ms,
            config.latency_limit_ms,
            config.evolution,
            random.Random(config.seed),
            history.add,
        )
    timed_on = predictor.device if stopwatch is None else stopwatch.device
    device_name = None if timed_on is None else _name(timed_on)
    found: dict[str, Any] = {"limit_ms": config.latency_limit_ms, "device": device_name}
    if stopwatch is None:
        best = ranking[0]
        logger.info("the latency is predicted only: measure: false")
    else:
        best, reading = _best_measured(model, ranking, stopwatch, config)
        found |= {
            "measured_ms": round(reading.latency_ms, 3),
            "measured_upper_ms": round(reading.upper_ms, 3),
            "measured_now_ms": round(reading.now_ms, 3),
        }
        found["slowdown"] = stopwatch.slowdown()
        _tell_pace(stopwatch.slowdown(), reading, config)
    prediction = predictor.predict(best.architecture)
    interval = prediction.low_ms, prediction.high_ms
    found |= {
        "predicted_ms": round(prediction.latency_ms, 3),
        "predicted_interval_ms": [None if bound is None else round(bound, 3) for bound in interval],
        "extrapolates": prediction.extrapolates,
        "validation_loss": best.score,
        "scored": len(ranking),
    }
    history.complete()
    write_json(config.output / _PARETO, [_summary(candidate) for candidate in pareto_front(ranking)])
    path = config.output / _ARCHITECTURE
    best.architecture.to_json(path, found)
    run.log(event="final", **found)
    run.finish(scored=len(ranking))
    return path


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


def _validation_loss(
    model: SuperTransformer,
    architecture: Architecture,
    batches: Sequence[Batch],
    config: SearchConfig,
    device: torch.device,
) -> float:
    """Label-smoothed loss per token of one SubTransformer with its inherited weights."""
    return validation_loss(
        model,
        lambda batch: model.hidden(batch.source, batch.target_in, architecture),
        batches,
        config.label_smoothing,
        config.precision,
        World(0, 1, device),
    ).loss


def _best_measured(
    model: SuperTransformer, ranking: Sequence[Candidate], stopwatch: Stopwatch, config: SearchConfig
) -> tuple[Candidate, Reading]:
    """The best candidate whose latency, measured here the way the predictor's data were, surely keeps the limit.

    What is measured is what would ship: the extracted network, with the SuperTransformer's own vocabulary.
    Where a candidate may be slower than predicted, all later predictions are raised by the same ratio, so that few
    measurements are wasted on its like.
    """
    ratio, tried = 1.0, 0
    for candidate in ranking:
        if candidate.latency_ms * ratio > config.latency_limit_ms:
            continue
        net = model.extract(candidate.architecture)
        reading = max((stopwatch.read(net) for _ in range(_READINGS)), key=lambda reading: reading.upper_ms)
        tried += 1
        logger.info(
            "measured %.2f ms, surely below %.2f ms (predicted %.2f ms), loss %.4f, %s", reading.latency_ms,
            reading.upper_ms, candidate.latency_ms, candidate.score, candidate.architecture,
        )  # fmt: skip
        if reading.upper_ms <= config.latency_limit_ms:
            return candidate, reading
        ratio = max(ratio, reading.upper_ms / candidate.latency_ms)
        if tried == config.measured_candidates:
            break
    raise SearchError(
        f"none of the {tried} best candidates surely ran within {config.latency_limit_ms:.4g} ms when measured here, "
        f"up to {ratio:.2f} times slower than predicted; is the machine busy? Measure a new data set, or lower the "
        "limit."
    )


def _tell_pace(slowdown: float | None, reading: Reading, config: SearchConfig) -> None:
    """Warn where the machine's pace is another than the predictor's."""
    if slowdown is None or abs(slowdown - 1) <= _OTHER_PACE:
        return
    kept = "keeps" if reading.now_ms <= config.latency_limit_ms else "does not keep"
    logger.warning(
        "this machine now takes %.2f times as long as when the predictor's data were measured; the latency is given as "
        "it was then. Now it is %.4g ms, which %s the limit.", slowdown, reading.now_ms, kept,
    )  # fmt: skip


def _summary(candidate: Candidate) -> dict[str, Any]:
    return {
        "predicted_ms": candidate.latency_ms,
        "validation_loss": candidate.score,
        "architecture": candidate.architecture.to_dict(),
    }


class _History:
    """Writes ``history.jsonl``, one line a generation, and shows progress.

    The file is called ``history.partial.jsonl`` until the search is complete: what an earlier search found is replaced
    as a whole or, by a search that fails or is stopped, not at all.
    """

    def __init__(self, folder: Path, generations: int) -> None:
        self.partial = folder / "history.partial.jsonl"
        self.bar = tqdm(total=generations + 1, unit="generation", disable=not sys.stderr.isatty())

    def __enter__(self) -> "_History":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def add(self, generation: Generation) -> None:
        best = generation.best
        line = {
            "generation": generation.number,
            "best_loss": best.score,
            "best_predicted_ms": best.latency_ms,
            "mean_loss": generation.mean_score,
            "newly_scored": generation.newly_scored,
            "best": best.architecture.to_dict(),
        }
        if generation.number == 0:
            write_text(self.partial, "")
        with self.partial.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        text = f"best loss {best.score:.4f} at {best.latency_ms:.4g} ms, mean {generation.mean_score:.4f}"
        if self.bar.disable:
            logger.info("generation %d | %s | %d new", generation.number, text, generation.newly_scored)
        self.bar.set_postfix_str(text)
        self.bar.update()

    def complete(self) -> None:
        """Give the file its final name."""
        self.partial.replace(self.partial.with_name(_HISTORY))
