"""Train a latency predictor on a data set: ours or one of the public layout."""

import functools
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator, model_validator

from hat.artifacts import RunFolder, write_json
from hat.config import Section, Seed
from hat.errors import ConfigError, DataError
from hat.latency.accuracy import Accuracy
from hat.latency.cost_model import CostModel, CostModelOptions, adapt_cost_model
from hat.latency.cross_validation import calibrate, choose_kind, cross_validated_errors, left_out_errors
from hat.latency.dataset import IntArray, LatencyDataset, Split, Target
from hat.latency.fitting import FITTERS, MLPOptions
from hat.latency.lint import check_latencies
from hat.latency.mlp import MLP
from hat.latency.predictor import Calibration, LatencyPredictor
from hat.latency.rows import Rows
from hat.latency.settings import DeviceRecord
from hat.latency.statistics import LEAST_RUNS_P90, Statistic
from hat.recipes.predicted import compare, write_predicted

logger = logging.getLogger(__name__)

_LEAST_ROWS = 5  # as many folds has the cross-validation
_LEAST_ADAPT_ROWS = 3  # one is left out in turn


class TrainPredictorConfig(Section):
    """Settings of ``hat-train-predictor``."""

    output: Path
    """Folder of the predictor."""
    dataset: Path
    """A latency CSV."""
    kind: str = "auto"
    """What kind of predictor: ``structured``, a sum of what the parts of a network cost; ``mlp``, the paper's network;
    ``auto`` takes the one that predicts rows better which it was not fitted to."""
    adapt: Path | None = None
    """Folder of a structured predictor of another device or task, to be adapted with the few rows of this data set;
    fewer than ten rows are all trained on, where ``train_rows`` does not say otherwise."""
    target: Target = "total"
    """Which latency is predicted: ``total`` (encoder and decoder), ``encoder`` or ``decoder``."""
    statistic: Statistic = "mean"
    """What of many runs is predicted: ``mean``, trimmed, as the paper has it, or ``p90``, which nine in ten calls keep;
    for the latter the data set must be one of ours."""
    drop_flagged: bool = False
    """Leave rows out of training, validation and test that ``hat-measure-latency --check`` finds to have been measured
    under other conditions than the rest."""
    train_rows: int | None = Field(default=None, gt=0)
    """Rows to train on, 5 or more, with ``adapt`` 3 or more; null takes eight tenths."""
    seed: Seed = 1
    """Of the 8:1:1 split (a permutation of all rows whose last tenth is the test part), weights and batches."""
    structured: CostModelOptions = CostModelOptions()
    mlp: MLPOptions = MLPOptions()

    @model_validator(mode="after")
    def _check(self) -> "TrainPredictorConfig":
        if self.adapt is not None and self.kind not in ("auto", "structured"):
            raise ValueError(f"kind must be left out with adapt, which changes a structured predictor, is {self.kind}")
        return self

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in ("auto", *FITTERS):
            raise ValueError(f"must be one of: auto, {', '.join(FITTERS)}; is '{kind}'")
        return kind


def train_predictor(config: TrainPredictorConfig) -> Path:
    """Train as ``config`` says, test on the rows set aside for it, and return the predictor's folder.

    Raises:
        DataError: if the data set, or the predictor to adapt, is missing, damaged or too small.
        ConfigError: if there are fewer rows than ``train_rows`` asks for, training diverges, or the predictor to adapt
            is of another kind or target.
    """
    data = LatencyDataset.load(config.dataset)
    device = DeviceRecord.beside(config.dataset)
    rows = _rows(data, device, config)
    flagged = _flagged(data) if config.drop_flagged else np.zeros(0, dtype=np.int64)
    split = _split(data, np.setdiff1d(np.arange(len(rows)), flagged), config)
    run = RunFolder(config.output, config, "hat-train-predictor")
    kind, model, calibration = _fit(rows.take(split.train), rows.take(split.valid), config)
    predictor = LatencyPredictor(model, calibration, config.target, device, data.pace, config.statistic)
    predictor.save(config.output)
    predicted_ms = predictor.predict_features_ms(data.features)
    test = Accuracy.of(predicted_ms[split.test], rows.latency_ms[split.test]) if len(split.test) else None
    values = {
        "test": None if test is None else asdict(test),
        "train_rows": len(split.train),
        "valid_rows": len(split.valid),
        "flagged_rows": len(flagged),
        "kind": kind,
        "statistic": config.statistic,
    }
    write_json(config.output / "metrics.json", values)
    told = "no rows left for a test" if test is None else describe(test)
    write_predicted(config.output, predictor, compare(rows.latency_ms, predicted_ms, split, flagged), told)
    run.forget()
    run.log(event="final", **values)
    run.finish()
    if len(flagged):
        logger.info("left out %d of %d rows that were measured under other conditions", len(flagged), len(rows))
    if data.pace is not None:
        logger.info(
            "latencies are at the pace at which the anchor takes %.4g ms; networks of half its time follow %.0f %% of "
            "its changes", data.pace.anchor_ms, 100 * data.pace.exponent(0.5),
        )  # fmt: skip
    of = "" if config.statistic == "mean" else f" of the {config.statistic}"
    logger.info("%s%s, trained on %d rows | %s", kind, of, len(split.train), told)
    return config.output


def _rows(data: LatencyDataset, device: DeviceRecord | None, config: TrainPredictorConfig) -> Rows:
    """All rows with the latency to predict, and the encoder's part where that is one and the encoder's alone.

    Percentiles of the parts do not add up to that of the total, and on other backends than ``eager`` the encoder's time
    holds what the decoder's layers project of its output.
    """
    latency_ms = data.latency_ms(config.target, config.statistic)
    if (zeros := np.flatnonzero(latency_ms <= 0)).size:
        raise DataError(
            f"{config.dataset}: the {config.target} latency ({config.statistic}) must be above 0 in every row to be "
            f"predicted, is {latency_ms[zeros[0]]:g} in row {zeros[0]} (the first is 0)."
        )
    if config.statistic == "p90" and device is not None and device.settings.least_runs < LEAST_RUNS_P90:
        logger.warning(
            "few runs tell little of the 90th percentile: measure with settings.least_runs=%d, it was %d",
            LEAST_RUNS_P90,
            device.settings.least_runs,
        )
    adds_up = (config.target, config.statistic) == ("total", "mean")
    alone = device is None or device.settings.backend == "eager"
    return Rows(data.features, latency_ms, data.encoder_ms if adds_up and alone else None)


def _flagged(data: LatencyDataset) -> IntArray:
    """What ``hat-measure-latency --check`` finds, whatever is predicted."""
    findings = check_latencies(data.features, data.latency_ms(), data.name)
    return np.array(sorted(findings.flagged_rows()), dtype=np.int64)


def _split(data: LatencyDataset, among: IntArray, config: TrainPredictorConfig) -> Split:
    least = _LEAST_ROWS if config.adapt is None else _LEAST_ADAPT_ROWS
    if config.adapt is None or len(among) >= 10:
        return data.split(config.seed, config.train_rows, least, among)
    wanted = len(among) if config.train_rows is None else config.train_rows
    if not least <= wanted <= len(among):
        raise ConfigError(f"train_rows: must be from {least} to {len(among)}, all rows there are, is {wanted}.")
    order = among[np.random.default_rng(config.seed).permutation(len(among))].astype(np.int64)
    return Split(order[:wanted], order[:0], order[wanted:])


def _fit(train: Rows, valid: Rows, config: TrainPredictorConfig) -> tuple[str, MLP | CostModel, Calibration]:
    """The kind that was taken, what was fitted, and how far it can be trusted."""
    if config.adapt is not None:
        source = LatencyPredictor.load(config.adapt)
        wanted = config.target, config.statistic
        if not isinstance(source.model, CostModel) or (source.target, source.statistic) != wanted:
            raise ConfigError(
                f"{config.adapt}: must be a structured predictor of the {config.target} latency "
                f"({config.statistic}), is not."
            )
        adapt = functools.partial(adapt_cost_model, source.model, options=config.structured)
        errors = left_out_errors(adapt, train)
        return "structured", adapt(train), calibrate(train, errors, source.calibration.relative_error_90)
    options = {kind: getattr(config, kind) for kind in FITTERS}
    if config.kind == "auto":
        kind, errors = choose_kind(train, options, config.seed)
    else:
        kind, errors = config.kind, cross_validated_errors(config.kind, train, options[config.kind], config.seed)
    return kind, FITTERS[kind](train, valid, options[kind], config.seed), calibrate(train, errors)


def describe(accuracy: Accuracy) -> str:
    """The test's result in one line."""
    tau = "undefined" if accuracy.kendall_tau is None else f"{accuracy.kendall_tau:.3f}"
    return (
        f"test rows {accuracy.rows} | RMSE {accuracy.rmse_ms:.4g} ms | MAPE {accuracy.mape_percent:.2f} % | "
        f"Kendall tau {tau}"
    )
