"""Train a latency predictor on a data set: ours or one of the public layout."""

import functools
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator, model_validator

from hat.artifacts import RunFolder, atomic_path, write_json
from hat.config import Section, Seed
from hat.errors import ConfigError
from hat.latency.accuracy import Accuracy
from hat.latency.cost_model import CostModel, CostModelOptions, adapt_cost_model
from hat.latency.cross_validation import calibrate, choose_kind, cross_validated_errors, left_out_errors
from hat.latency.dataset import LatencyDataset, Split, Target
from hat.latency.fitting import FITTERS, MLPOptions, Rows
from hat.latency.mlp import MLP, FloatArray
from hat.latency.predictor import Calibration, LatencyPredictor
from hat.latency.settings import DeviceRecord

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
    split = _split(data, config)
    latency_ms = data.latency_ms(config.target)
    run = RunFolder(config.output, config, "hat-train-predictor")
    train, valid = ((data.features[rows], latency_ms[rows]) for rows in (split.train, split.valid))
    kind, model, calibration = _fit(train, valid, config)
    predictor = LatencyPredictor(model, calibration, config.target, device, data.median_anchor_ms)
    predictor.save(config.output)
    predicted_ms = predictor.predict_features_ms(data.features)
    test = Accuracy.of(predicted_ms[split.test], latency_ms[split.test]) if len(split.test) else None
    values = {
        "test": None if test is None else asdict(test),
        "train_rows": len(split.train),
        "valid_rows": len(split.valid),
        "kind": kind,
    }
    write_json(config.output / "metrics.json", values)
    told = "no rows left for a test" if test is None else describe(test)
    _draw(predicted_ms, latency_ms, split, told, config.output / "predicted_vs_measured.png")
    run.log(event="final", **values)
    run.finish()
    logger.info("%s, trained on %d rows | %s", kind, len(split.train), told)
    return config.output


def _split(data: LatencyDataset, config: TrainPredictorConfig) -> Split:
    least = _LEAST_ROWS if config.adapt is None else _LEAST_ADAPT_ROWS
    if config.adapt is None or len(data) >= 10:
        return data.split(config.seed, config.train_rows, least)
    wanted = len(data) if config.train_rows is None else config.train_rows
    if not least <= wanted <= len(data):
        raise ConfigError(f"train_rows: must be from {least} to {len(data)}, all rows there are, is {wanted}.")
    order = np.random.default_rng(config.seed).permutation(len(data)).astype(np.int64)
    return Split(order[:wanted], order[:0], order[wanted:])


def _fit(train: Rows, valid: Rows, config: TrainPredictorConfig) -> tuple[str, MLP | CostModel, Calibration]:
    """The kind that was taken, what was fitted, and how far it can be trusted."""
    if config.adapt is not None:
        source = LatencyPredictor.load(config.adapt)
        if not isinstance(source.model, CostModel) or source.target != config.target:
            raise ConfigError(f"{config.adapt}: must be a structured predictor of the {config.target} latency, is not.")
        adapt = functools.partial(adapt_cost_model, source.model, options=config.structured)
        return "structured", adapt(train), calibrate(train, left_out_errors(adapt, train))
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


def _draw(predicted_ms: FloatArray, measured_ms: FloatArray, split: Split, title: str, path: Path) -> None:
    """A picture of predicted against measured latency, as the paper's Figure 6, if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.info("no picture: matplotlib is not installed (pip install 'hat[report]')")
        return
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for name, rows, size in (("train", split.train, 4), ("test", split.test, 12)):
        axes.scatter(measured_ms[rows], predicted_ms[rows], s=size, label=f"{name} ({len(rows)} rows)")
    low, high = float(measured_ms.min()), float(measured_ms.max())
    axes.plot([low, high], [low, high], color="black", linewidth=0.8)
    axes.set(xlabel="measured latency (ms)", ylabel="predicted latency (ms)", aspect="equal")
    axes.set_title(title, fontsize="small")
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
