"""Train a latency predictor on a data set: ours or one of the public layout."""

import logging
from dataclasses import asdict
from pathlib import Path

from pydantic import Field, field_validator

from hat.artifacts import RunFolder, atomic_path, write_json
from hat.config import Section, Seed
from hat.latency.accuracy import Accuracy
from hat.latency.cost_model import CostModelOptions
from hat.latency.cross_validation import calibrate, choose_kind, cross_validated_errors
from hat.latency.dataset import LatencyDataset, Split, Target
from hat.latency.fitting import FITTERS, MLPOptions
from hat.latency.mlp import FloatArray
from hat.latency.predictor import LatencyPredictor
from hat.latency.settings import DeviceRecord

logger = logging.getLogger(__name__)


class TrainPredictorConfig(Section):
    """Settings of ``hat-train-predictor``."""

    output: Path
    """Folder of the predictor."""
    dataset: Path
    """A latency CSV."""
    kind: str = "auto"
    """What kind of predictor: ``structured``, a sum of what the parts of a network cost; ``mlp``, the paper's network;
    ``auto`` takes the one that predicts rows better which it was not fitted to."""
    target: Target = "total"
    """Which latency is predicted: ``total`` (encoder and decoder), ``encoder`` or ``decoder``."""
    train_rows: int | None = Field(default=None, gt=0)
    """Rows to train on; null takes eight tenths."""
    seed: Seed = 1
    """Of the 8:1:1 split (a permutation of all rows whose last tenth is the test part), weights and batches."""
    structured: CostModelOptions = CostModelOptions()
    mlp: MLPOptions = MLPOptions()

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in ("auto", *FITTERS):
            raise ValueError(f"must be one of: auto, {', '.join(FITTERS)}; is '{kind}'")
        return kind


def train_predictor(config: TrainPredictorConfig) -> Path:
    """Train as ``config`` says, test on the rows set aside for it, and return the predictor's folder.

    Raises:
        DataError: if the data set is missing, damaged or too small.
        ConfigError: if it has fewer rows than ``train_rows`` asks for, or training diverges.
    """
    data = LatencyDataset.load(config.dataset)
    device = DeviceRecord.beside(config.dataset)
    split = data.split(config.seed, config.train_rows)
    latency_ms = data.latency_ms(config.target)
    run = RunFolder(config.output, config, "hat-train-predictor")
    train, valid = ((data.features[rows], latency_ms[rows]) for rows in (split.train, split.valid))
    options = {kind: getattr(config, kind) for kind in FITTERS}
    if config.kind == "auto":
        kind, errors = choose_kind(train, options, config.seed)
    else:
        kind, errors = config.kind, cross_validated_errors(config.kind, train, options[config.kind], config.seed)
    model = FITTERS[kind](train, valid, options[kind], config.seed)
    predictor = LatencyPredictor(model, calibrate(train, errors), config.target, device, data.median_anchor_ms)
    predictor.save(config.output)
    predicted_ms = predictor.predict_features_ms(data.features)
    accuracy = Accuracy.of(predicted_ms[split.test], latency_ms[split.test])
    counts = {"train_rows": len(split.train), "valid_rows": len(split.valid)}
    write_json(config.output / "metrics.json", {"test": asdict(accuracy), **counts, "kind": kind})
    _draw(predicted_ms, latency_ms, split, accuracy, config.output / "predicted_vs_measured.png")
    run.log(event="final", test=asdict(accuracy), **counts, kind=kind)
    run.finish()
    logger.info("%s, trained on %d rows | %s", kind, len(split.train), describe(accuracy))
    return config.output


def describe(accuracy: Accuracy) -> str:
    """The test's result in one line."""
    tau = "undefined" if accuracy.kendall_tau is None else f"{accuracy.kendall_tau:.3f}"
    return (
        f"test rows {accuracy.rows} | RMSE {accuracy.rmse_ms:.4g} ms | MAPE {accuracy.mape_percent:.2f} % | "
        f"Kendall tau {tau}"
    )


def _draw(predicted_ms: FloatArray, measured_ms: FloatArray, split: Split, accuracy: Accuracy, path: Path) -> None:
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
    axes.set_title(f"test: MAPE {accuracy.mape_percent:.1f} %, RMSE {accuracy.rmse_ms:.3g} ms")
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
