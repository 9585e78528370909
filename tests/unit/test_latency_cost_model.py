"""The structured predictor: what it must find exactly, what must not disturb it, and how far it says it is off."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from hat.errors import ConfigError, DataError
from hat.latency.accuracy import Accuracy
from hat.latency.cost_model import TERM_NAMES, CostModel, CostModelOptions, adapt_cost_model, cost_terms, fit_cost_model
from hat.latency.cross_validation import calibrate, choose_kind, conformal_bound, cross_validated_errors
from hat.latency.fitting import MLPOptions
from hat.latency.predictor import Calibration, LatencyPredictor
from hat.latency.rows import FloatArray, Rows
from hat.space import Architecture, SearchSpace
from hat.space.encoding import features

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs/space/wmt_latency.yaml")
OPTIONS = CostModelOptions()


def some_architectures(number: int, seed: int) -> list[Architecture]:
    rng = random.Random(seed)
    return [SPACE.sample(rng) for _ in range(number)]


def table_of(architectures: list[Architecture]) -> FloatArray:
    return np.array([features(architecture) for architecture in architectures])


def layer_by_layer_ms(architecture: Architecture) -> float:
    """A latency added up over the layers themselves."""
    encoder, decoder = architecture.encoder, architecture.decoder
    total = 3.0 + 0.01 * decoder.embed_dim
    for layer in encoder.layers:
        total += 0.5 + 2e-6 * encoder.embed_dim * layer.ffn_dim
    for layer in decoder.layers:
        total += 4.0 + 1e-5 * decoder.embed_dim * layer.ffn_dim + 0.2 * layer.self_attn_heads
        total += 0.1 * layer.cross_attn_heads + layer.attended_encoder_layers * (0.3 + 5e-4 * encoder.embed_dim)
    return total


def rows_of(number: int, seed: int) -> Rows:
    architectures = some_architectures(number, seed)
    latency_ms = np.array([layer_by_layer_ms(architecture) for architecture in architectures])
    return Rows(table_of(architectures), latency_ms)


def table_and_ms(number: int, seed: int) -> tuple[FloatArray, FloatArray]:
    rows = rows_of(number, seed)
    return rows.features, rows.latency_ms


@pytest.mark.parametrize("rows", [40, 400])
def test_costs_of_single_layers_are_found_though_only_averages_are_seen(rows: int) -> None:
    model = fit_cost_model(rows_of(rows, 1), OPTIONS)
    table, latency_ms = table_and_ms(300, 2)
    assert Accuracy.of(model.predict_ms(table), latency_ms).mape_percent < 0.02


def test_terms() -> None:
    values = [512, 6, 1024, 8, 640, 3, 2048, 4, 2, 1.5]
    terms = dict(zip(TERM_NAMES, cost_terms(np.array([values]))[0].tolist(), strict=True))
    assert terms == {
        "constant": 1, "encoder width": 512, "encoder layers": 6, "encoder layers x width": 6 * 512,
        "encoder layers x width x ffn": 6 * 512 * 1024, "encoder self-attention heads": 48, "decoder width": 640,
        "decoder layers": 3, "decoder layers x width": 1920, "decoder layers x width x ffn": 1920 * 2048,
        "decoder self-attention heads": 12, "decoder cross-attention heads": 6, "attended encoder layers": 4.5,
        "attended encoder layers x encoder width": 4.5 * 512, "decoder layers squared": 9,
    }  # fmt: skip


def test_the_order_of_rows_and_the_unit_of_time_change_nothing() -> None:
    table, latency_ms = table_and_ms(60, 1)
    noisy = latency_ms * np.random.default_rng(1).uniform(0.9, 1.1, 60)
    order = np.random.default_rng(2).permutation(60)
    predicted = fit_cost_model(Rows(table, noisy), OPTIONS).predict_ms(table)
    assert fit_cost_model(Rows(table[order], noisy[order]), OPTIONS).predict_ms(table) == pytest.approx(
        predicted, rel=1e-6
    )
    thousandfold = fit_cost_model(Rows(table, 1000 * noisy), OPTIONS).predict_ms(table)
    assert thousandfold == pytest.approx(1000 * predicted, rel=1e-6)


def test_rows_measured_while_the_machine_did_something_else_hardly_matter() -> None:
    table, latency_ms = table_and_ms(100, 1)
    noise = np.random.default_rng(1).normal(1, 0.01, 100)
    disturbed = latency_ms * noise
    disturbed[:25] *= 1.4
    test_table, test_ms = table_and_ms(300, 2)
    calm = Accuracy.of(fit_cost_model(Rows(table, latency_ms * noise), OPTIONS).predict_ms(test_table), test_ms)
    model = fit_cost_model(Rows(table, disturbed), OPTIONS)
    least_squares = fit_cost_model(Rows(table, disturbed), CostModelOptions(degrees_of_freedom=1e6))
    assert calm.mape_percent < 1
    assert Accuracy.of(model.predict_ms(test_table), test_ms).mape_percent < 3
    assert Accuracy.of(least_squares.predict_ms(test_table), test_ms).mape_percent > 5


def test_what_never_varied_costs_nothing_and_is_in_the_constant() -> None:
    table, latency_ms = table_and_ms(80, 1)
    table[:, 0], table[:, 1] = 512, 6
    latency_ms = 10 + 4 * table[:, 5]
    model = fit_cost_model(Rows(table, latency_ms), OPTIONS)
    costs = dict(zip(TERM_NAMES, model.costs_ms, strict=True))
    assert costs["encoder width"] == costs["encoder layers"] == costs["encoder layers x width"] == 0
    assert model.predict_ms(table) == pytest.approx(latency_ms, rel=1e-3)
    same = np.repeat(table[:1], 5, axis=0)
    constant = fit_cost_model(Rows(same, np.full(5, 7.0)), OPTIONS)
    assert constant.predict_ms(same) == pytest.approx(np.full(5, 7.0), rel=1e-6)


def test_what_the_encoder_took_is_known_better_without_the_decoders_noise() -> None:
    table, _ = table_and_ms(60, 1)
    test_table, _ = table_and_ms(300, 2)
    encoder_ms, test_encoder_ms = (10 + 1e-5 * x[:, 0] * x[:, 1] * x[:, 2] for x in (table, test_table))
    decoder_ms, test_decoder_ms = (40 * x[:, 5] for x in (table, test_table))
    noisy_ms = decoder_ms * np.exp(np.random.default_rng(1).normal(0, 0.1, 60))
    rows = Rows(table, encoder_ms + noisy_ms, encoder_ms)
    apart, together = (fit_cost_model(given, OPTIONS) for given in (rows, Rows(table, rows.latency_ms)))
    errors = [
        Accuracy.of(model.predict_ms(test_table), test_encoder_ms + test_decoder_ms).mape_percent
        for model in (apart, together)
    ]
    assert errors[0] < errors[1]
    without = fit_cost_model(Rows(table, rows.latency_ms, np.zeros(60)), OPTIONS)  # a part that took no time
    assert without == together


def test_no_latency_below_the_lowest() -> None:
    model = CostModel((-5.0, *(0.0,) * 14), lowest_ms=0.25)
    assert model.predict_ms(np.ones((2, 10))).tolist() == [0.25, 0.25]


def test_too_few_rows() -> None:
    table, latency_ms = table_and_ms(2, 1)
    with pytest.raises(ConfigError, match="train_rows: must be at least 3 for kind structured, is 2"):
        fit_cost_model(Rows(table, latency_ms), OPTIONS)


def test_a_device_that_is_twice_as_slow_is_known_from_two_rows() -> None:
    source = fit_cost_model(rows_of(200, 1), OPTIONS)
    table, latency_ms = table_and_ms(100, 2)
    adapted = adapt_cost_model(source, Rows(table[:2], 2 * latency_ms[:2]), OPTIONS)
    assert adapted.predict_ms(table) == pytest.approx(2 * latency_ms, rel=1e-3)
    assert adapted.lowest_ms == pytest.approx(2 * latency_ms[:2].mean() / 100)


def test_what_differs_by_more_than_a_factor_is_learnt_from_more_rows() -> None:
    source = fit_cost_model(rows_of(200, 1), OPTIONS)
    table, latency_ms = table_and_ms(400, 2)
    other_ms = latency_ms + 8 * table[:, 5]  # a decoder layer costs three times as much
    few, many = (adapt_cost_model(source, Rows(table[:rows], other_ms[:rows]), OPTIONS) for rows in (5, 100))
    errors = [Accuracy.of(model.predict_ms(table[100:]), other_ms[100:]).mape_percent for model in (few, many)]
    assert errors[1] < 1.5 < errors[0] < 10


def test_too_few_rows_to_adapt() -> None:
    source = fit_cost_model(rows_of(200, 1), OPTIONS)
    with pytest.raises(ConfigError, match="train_rows: must be at least 2 to adapt a predictor, is 1"):
        adapt_cost_model(source, rows_of(1, 1), OPTIONS)


def test_saved_and_loaded_it_predicts_the_same_to_the_last_bit(tmp_path: Path) -> None:
    rows = rows_of(30, 1)
    calibration = Calibration(
        None, tuple(rows.features.min(axis=0).tolist()), tuple(rows.features.max(axis=0).tolist())
    )
    predictor = LatencyPredictor(fit_cost_model(rows, OPTIONS), calibration)
    predictor.save(tmp_path)
    loaded = LatencyPredictor.load(tmp_path)
    assert loaded.predict_features_ms(rows.features).tolist() == predictor.predict_features_ms(rows.features).tolist()
    assert loaded.calibration == calibration
    prediction = loaded.predict(some_architectures(30, 1)[7])
    assert (prediction.low_ms, prediction.high_ms, prediction.extrapolates) == (None, None, False)
    path = tmp_path / "predictor.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["structured"]["costs_ms"]["constant"]
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(DataError, match=r"predictor.json: structured.costs_ms must have a cost for each of: constant,"):
        LatencyPredictor.load(tmp_path)


@pytest.mark.parametrize(("errors", "bound"), [(8, None), (9, 9.0), (19, 18.0), (99, 90.0), (100, 91.0)])
def test_conformal_bound(errors: int, bound: float | None) -> None:
    values = np.random.default_rng(1).permutation(np.arange(1.0, errors + 1))
    assert conformal_bound(values) == bound


def test_nine_in_ten_new_measurements_are_within_the_bound() -> None:
    covered = []
    for seed in range(20):
        noise = np.random.default_rng(seed)
        table, latency_ms = table_and_ms(100, seed)
        rows = Rows(table, latency_ms * np.exp(noise.normal(0, 0.05, 100)))
        errors = cross_validated_errors("structured", rows, OPTIONS, seed)
        calibration = calibrate(rows, errors)
        assert calibration.relative_error_90 is not None and len(errors) == 100
        new_table, new_ms = table_and_ms(200, 1000 + seed)
        predicted = fit_cost_model(rows, OPTIONS).predict_ms(new_table)
        new_errors = np.abs(new_ms * np.exp(noise.normal(0, 0.05, 200)) / predicted - 1)
        covered.append(np.mean(new_errors <= calibration.relative_error_90))
    assert 0.88 < np.mean(covered) < 0.95


def test_the_better_kind_is_chosen_by_rows_it_was_not_fitted_to() -> None:
    options = {"structured": OPTIONS, "mlp": MLPOptions(hidden_dims=(8,), steps=20)}
    kind, errors = choose_kind(rows_of(40, 1), options, seed=1)
    assert kind == "structured" and errors.max() < 0.01
    assert errors.tolist() == cross_validated_errors("structured", rows_of(40, 1), OPTIONS, seed=1).tolist()


def test_few_errors_of_an_adapted_predictor_bound_it_by_the_largest_and_by_what_was_known_before() -> None:
    rows = Rows(np.ones((5, 10)), np.ones(5))
    errors = np.array([0.1, 0.1, 0.5, 0.1, 0.1])
    assert calibrate(rows, errors, before=0.2).relative_error_90 == 0.5
    assert calibrate(rows, errors, before=0.7).relative_error_90 == 0.7
    assert calibrate(rows, errors).relative_error_90 is None
    assert calibrate(rows.take(np.arange(4)), errors[:4], before=0.2).relative_error_90 is None
    nine = np.linspace(0.1, 0.9, 9)  # enough for a bound of their own
    assert calibrate(Rows(np.ones((9, 10)), np.ones(9)), nine, before=2.0).relative_error_90 == 0.9
