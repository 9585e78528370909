"""The predictor: what it learns, that it is the same everywhere, and what damaged files are told."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hat.errors import ConfigError, DataError
from hat.latency.accuracy import Accuracy
from hat.latency.fitting import MLPOptions, fit_mlp
from hat.latency.mlp import MLP, PAPER_FEATURE_SCALE, Normalisation
from hat.latency.pace import Pace
from hat.latency.predictor import Calibration, LatencyPredictor
from hat.latency.rows import FloatArray, Rows
from hat.latency.settings import DeviceRecord, LatencySettings
from hat.space import Architecture, SearchSpace
from hat.space.encoding import features

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs/space/wmt_latency.yaml")
QUICK = MLPOptions(hidden_dims=(32, 32), steps=150, learning_rate=0.005)
CALIBRATION = Calibration(0.05, (1.0,) * 10, (4000.0,) * 10)


def some_data(rows: int, seed: int, latency: Callable[[FloatArray], FloatArray]) -> tuple[list[Architecture], Rows]:
    rng = random.Random(seed)
    architectures = [SPACE.sample(rng) for _ in range(rows)]
    table = np.array([features(architecture) for architecture in architectures])
    return architectures, Rows(table, latency(table))


def linear(table: FloatArray) -> FloatArray:
    return 20 + 0.01 * table[:, 0] + 30 * table[:, 5] + 0.01 * table[:, 6]


def product(table: FloatArray) -> FloatArray:
    """Depth times the cost of a layer, as the latency of a decoder is."""
    return 20 + table[:, 5] * (10 + 2e-5 * table[:, 4] * table[:, 6] + 3 * table[:, 9])


COSTS = {"costs_ms": {}, "lowest_ms": 1.0}


def some_predictor(seed: int = 1, options: MLPOptions = QUICK) -> LatencyPredictor:
    _, train = some_data(60, 1, linear)
    _, valid = some_data(8, 2, linear)
    return LatencyPredictor(fit_mlp(train, valid, options, seed), CALIBRATION)


@pytest.mark.parametrize(("latency", "mape"), [(linear, 1.5), (product, 4.0)])
def test_it_learns_synthetic_latencies_from_80_rows(latency: Callable[[FloatArray], FloatArray], mape: float) -> None:
    _, train = some_data(80, 1, latency)
    _, valid = some_data(10, 2, latency)
    _, test = some_data(200, 3, latency)
    model = fit_mlp(train, valid, MLPOptions(steps=300), seed=1)
    assert Accuracy.of(model.predict_ms(test.features), test.latency_ms).mape_percent < mape


def test_saved_and_loaded_it_predicts_the_same_to_the_last_bit(tmp_path: Path) -> None:
    settings = LatencySettings(source_length=3, target_length=4, source_vocab_size=9, target_vocab_size=9, threads=1)
    device = DeviceRecord(machine="a machine", gpu="a GPU", torch="2.6", settings=settings, anchor=SPACE.largest())
    predictor = LatencyPredictor(some_predictor().model, CALIBRATION, "decoder", device, Pace(12.3, 0.4, 0.2))
    predictor.save(tmp_path)
    loaded = LatencyPredictor.load(tmp_path)
    architectures, rows = some_data(50, 3, linear)
    assert loaded.predict_ms_batch(architectures) == predictor.predict_ms_batch(architectures)
    assert loaded.predict_features_ms(rows.features).tolist() == predictor.predict_ms_batch(architectures)
    assert (loaded.target, loaded.device, loaded.pace) == ("decoder", device, Pace(12.3, 0.4, 0.2))
    assert loaded.calibration == CALIBRATION
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


def test_no_latency_below_the_lowest() -> None:
    normalisation = Normalisation((0.0,) * 10, (1.0,) * 10, latency_mean_ms=50.0, latency_scale_ms=1.0, lowest_ms=0.5)
    line = np.eye(1, 10)  # the first feature, the encoder's width
    model = MLP(normalisation, ((line, np.array([-800.0])),))
    table = np.array([features(SPACE.smallest()), features(SPACE.largest())])
    assert model.predict_ms(table).tolist() == [0.5] * 2
    assert model.predict_ms(table + 300).tolist() == [table[0, 0] - 450, table[1, 0] - 450]


@pytest.mark.parametrize("normalisation", ["centred", "paper"])
def test_the_lowest_is_one_percent_of_the_mean(normalisation: Literal["centred", "paper"]) -> None:
    _, train = some_data(20, 1, linear)
    model = fit_mlp(train, train, MLPOptions(hidden_dims=(4,), steps=1, normalisation=normalisation), seed=1)
    assert model.normalisation.lowest_ms == train.latency_ms.mean() / 100 > 0


def test_one_by_one_and_all_together_are_equal() -> None:
    predictor = some_predictor(options=MLPOptions(steps=20))
    architectures, _ = some_data(300, 4, linear)
    together = predictor.predict_ms_batch(architectures)
    assert [predictor(architecture) for architecture in architectures] == together
    assert predictor.predict_ms(architectures[0]) == together[0]
    assert predictor.predict_ms_batch([]) == []


def test_the_seed_decides_everything_and_torchs_own_state_nothing() -> None:
    options = QUICK.model_copy(update={"batch_size": 16})
    table = some_data(20, 5, linear)[1].features
    torch.manual_seed(1)
    first = some_predictor(1, options).predict_features_ms(table).tolist()
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    again = some_predictor(1, options).predict_features_ms(table).tolist()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    assert again == first == some_predictor(1, options).predict_features_ms(table).tolist()
    assert some_predictor(2, options).predict_features_ms(table).tolist() != first


def test_a_feature_that_never_varied_changes_no_prediction() -> None:
    predictor = some_predictor()  # all encoders of this space have 6 layers
    table = some_data(5, 6, linear)[1].features
    shallow = table.copy()
    shallow[:, 1] = 2
    assert predictor.predict_features_ms(shallow).tolist() == predictor.predict_features_ms(table).tolist()
    shallow[:, 5] -= 0.5
    assert predictor.predict_features_ms(shallow).tolist() != predictor.predict_features_ms(table).tolist()


def test_normalisation() -> None:
    _, train = some_data(30, 1, linear)
    _, valid = some_data(4, 2, linear)
    centred = fit_mlp(train, valid, MLPOptions(steps=1), 1).normalisation
    assert centred.feature_scale == PAPER_FEATURE_SCALE == (640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2)
    assert np.allclose(centred.inputs(train.features).mean(axis=0), 0)
    assert np.allclose(centred.outputs(train.latency_ms).mean(), 0)
    assert np.allclose(centred.outputs(train.latency_ms).std(), 1)
    assert np.allclose(centred.latency_ms(centred.outputs(train.latency_ms)), train.latency_ms)
    paper = fit_mlp(train, valid, MLPOptions(steps=1, normalisation="paper", latency_scale_ms=200), 1).normalisation
    assert paper == Normalisation((0.0,) * 10, PAPER_FEATURE_SCALE, 0.0, 200, paper.lowest_ms)


def test_early_stopping_keeps_the_weights_that_do_best_on_the_validation_rows() -> None:
    rng = np.random.default_rng(1)
    _, clean = some_data(24, 1, linear)
    train = Rows(
        clean.features, clean.latency_ms * rng.uniform(0.5, 1.5, len(clean))
    )  # noise worth not learning by heart
    _, valid = some_data(30, 2, linear)
    options = QUICK.model_copy(update={"steps": 400})
    stopped = fit_mlp(train, valid, options, 1)
    last = fit_mlp(train, valid, options.model_copy(update={"early_stopping": False}), 1)

    def errors(rows: Rows) -> tuple[float, float]:
        return tuple(Accuracy.of(model.predict_ms(rows.features), rows.latency_ms).rmse_ms for model in (stopped, last))  # type: ignore[return-value]

    assert errors(valid)[0] < 0.9 * errors(valid)[1]
    assert errors(train)[0] > errors(train)[1]


def test_rows_far_off_pull_the_relative_loss_less() -> None:
    _, clean = some_data(80, 1, linear)
    disturbed = np.where(np.arange(80) % 8 == 0, 1.5, 1.0)
    train = Rows(clean.features, clean.latency_ms * disturbed)
    _, test = some_data(200, 3, linear)
    errors = {}
    for loss in ("relative", "squared"):
        model = fit_mlp(train, train, MLPOptions.model_validate(QUICK.model_dump() | {"loss": loss}), 1)
        errors[loss] = Accuracy.of(model.predict_ms(test.features), test.latency_ms).mape_percent
    assert errors["relative"] < 0.7 * errors["squared"]


def test_the_schedule_and_the_paper_recipe_are_settings() -> None:
    recipe = MLPOptions.model_validate(
        {"steps": 30, "learning_rate": 0.00001, "schedule": "constant", "normalisation": "paper"}
        | {"latency_scale_ms": 200, "loss": "squared", "early_stopping": False, "hidden_dims": (8,)}
    )
    table = some_data(20, 5, linear)[1].features
    constant = some_predictor(1, recipe).predict_features_ms(table)
    cosine = some_predictor(1, recipe.model_copy(update={"schedule": "cosine"})).predict_features_ms(table)
    assert constant.tolist() != cosine.tolist()


def test_divergence_is_said() -> None:
    options = {"hidden_dims": (4,), "steps": 10, "normalisation": "paper", "latency_scale_ms": 1e-30, "loss": "squared"}
    for early_stopping in (True, False):
        with pytest.raises(ConfigError, match="mlp: training diverged"):
            some_predictor(1, MLPOptions.model_validate(options | {"early_stopping": early_stopping}))


def with_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "predictor.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        change(values)
        path.write_text(json.dumps(values), encoding="utf-8")

    return edit


def with_weights(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "predictor.json").unlink(), r"predictor.json: no such file"),
        (lambda folder: (folder / "predictor.json").write_text("{"), r"predictor.json: .*not valid JSON"),
        (with_json(lambda values: values.update(kind="magic")), r"predictor.json: kind: must be .*, is 'magic'"),
        (with_json(lambda values: values.update(kind="structured")), r"predictor.json: .*structured must be there"),
        (with_json(lambda values: values.update(format="hat.predictor/9")), r"predictor.json: format"),
        (
            with_json(lambda values: values.update(format="hat.predictor/1", anchor_ms=9)),
            r"predictor.json: was written by an earlier version; train it again with hat-train-predictor",
        ),
        (with_json(lambda values: values.pop("mlp")), r"predictor.json: .*mlp must be there"),
        (
            with_json(lambda values: values.update(structured=COSTS)),
            r"predictor.json: .*mlp must be there for kind mlp, and no other",
        ),
        (with_json(lambda values: values["features"][0].update(lowest=1e9)), r"predictor.json: .*lowest value"),
        (with_json(lambda values: values["mlp"].update(latency_scale_ms=0)), r"predictor.json: mlp.latency_scale_ms"),
        (with_json(lambda values: values["mlp"]["feature_scale"].pop()), r"predictor.json: mlp.feature_scale"),
        (
            with_json(lambda values: values.update(pace={"anchor_ms": -1, "lag": 0, "scatter": 0})),
            r"predictor.json: pace.anchor_ms",
        ),
        (
            with_json(lambda values: values.update(pace={"anchor_ms": 9, "lag": -1, "scatter": 0})),
            r"predictor.json: pace.lag",
        ),
        (with_json(lambda values: values["features"].reverse()), r"predictor.json: features must be"),
        (with_json(lambda values: values["features"].pop()), r"predictor.json: features must be"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model.safetensors: cannot be read"),
        (with_weights(lambda content: content[:-4]), r"model.safetensors: must be the weights that predictor.json"),
        (with_weights(lambda content: content[:-1] + b"\x7f"), r"model.safetensors: must be the weights"),
    ],
)
def test_damaged_predictors(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    some_predictor(options=MLPOptions(hidden_dims=(4,), steps=1)).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        LatencyPredictor.load(tmp_path)


def test_weights_of_another_shape_are_refused() -> None:
    model = some_predictor(options=MLPOptions(hidden_dims=(4, 3), steps=1)).model
    tensors = model.tensors()
    assert type(model).from_tensors(tensors, model.normalisation, "x").tensors().keys() == tensors.keys()
    for name, value in [
        ("layers.0.weight", np.zeros((4, 9), np.float32)),
        ("layers.1.bias", np.zeros(4, np.float32)),
        ("layers.2.weight", np.full((1, 3), np.nan, np.float32)),
        ("extra", np.zeros(1, np.float32)),
    ]:
        with pytest.raises(DataError, match=r"^x: "):
            type(model).from_tensors(tensors | {name: value}, model.normalisation, "x")
    with pytest.raises(DataError, match=r"^x: "):
        type(model).from_tensors({}, model.normalisation, "x")


def test_a_hidden_layer_has_units() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        MLPOptions(hidden_dims=(400, 0))
