"""Trimmed means, percentiles, and how predictions are compared with measurements: closed forms."""

import math

import numpy as np
import pytest

from hat.latency.accuracy import Accuracy, kendall_tau
from hat.latency.statistics import (
    LatencySample,
    TimeStatistics,
    median_error,
    relative_mean_error,
    relative_median_error,
    trim,
)


@pytest.mark.parametrize(("runs", "kept"), [(1, 1), (9, 9), (10, 8), (19, 17), (20, 16), (300, 240)])
def test_a_tenth_is_dropped_at_either_end_rounded_down(runs: int, kept: int) -> None:
    times = [float(number) for number in range(runs)]
    dropped = (runs - kept) // 2
    assert trim(times[::-1]) == times[dropped : runs - dropped]


def test_outliers_reach_neither_mean_nor_deviation() -> None:
    statistics = TimeStatistics.of([5.0] * 9 + [1e9])
    assert (statistics.mean_ms, statistics.std_ms, statistics.median_ms) == (5.0, 0.0, 5.0)


def test_closed_forms() -> None:
    statistics = TimeStatistics.of([float(number) for number in range(10, 0, -1)])  # 10 ... 1; 2 ... 9 are kept
    assert statistics.mean_ms == 5.5
    assert statistics.std_ms == pytest.approx((63 / 12) ** 0.5)  # of n numbers in a row: (n² - 1) / 12
    assert statistics.median_ms == 5.5
    assert statistics.p90_ms == pytest.approx((10 + 1 / 3) * 0.9 + 1 / 3)  # of equal steps, the rank itself


@pytest.mark.parametrize("runs", [9, 30])
def test_the_90th_percentile_is_as_often_too_high_as_too_low(runs: int) -> None:
    generator = np.random.default_rng(1)
    samples = generator.lognormal(0, 0.3, (4000, runs))
    true = math.exp(0.3 * 1.2815515655)
    above = np.mean([TimeStatistics.of(sample.tolist()).p90_ms > true for sample in samples])
    assert above == pytest.approx(0.5, abs=0.03)


def test_the_standard_error_is_that_of_a_trimmed_mean() -> None:
    generator = np.random.default_rng(1)
    samples = [TimeStatistics.of(generator.laplace(50, 5, 40).tolist()) for _ in range(3000)]
    spread = float(np.std([sample.mean_ms for sample in samples]))
    errors = [sample.standard_error_ms for sample in samples if sample.standard_error_ms is not None]
    assert np.mean(errors) == pytest.approx(spread, rel=0.07)
    assert TimeStatistics.of([3.0]).standard_error_ms is None


def test_one_run_of_eight_that_takes_three_times_as_long_is_not_known_to_a_percent() -> None:
    """Their median is; but what is reported is the mean, and of eight runs none is dropped."""
    times = [9.98, 9.99, 10.0, 10.0, 10.01, 10.02, 10.03, 30.0]
    median_error, mean_error = relative_median_error(times), relative_mean_error(times)
    assert median_error is not None and mean_error is not None and median_error < 0.01 < 0.1 < mean_error
    assert mean_error == LatencySample.of_runs([(1.0, time) for time in times]).relative_error
    assert relative_mean_error(times[:7]) is None


def test_the_error_of_a_median() -> None:
    generator = np.random.default_rng(1)
    samples = [generator.normal(50, 5, 40).tolist() for _ in range(3000)]
    spread = float(np.std([np.median(sample) for sample in samples]))
    assert np.mean([median_error(sample) for sample in samples]) == pytest.approx(spread, rel=0.07)


def test_no_runs_is_an_error() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        TimeStatistics.of([])


def test_the_decoder_is_the_rest_run_by_run() -> None:
    sample = LatencySample.of_runs([(1.0, 10.0), (2.0, 20.0), (3.0, 40.0)])
    assert sample.decoder == TimeStatistics.of([9.0, 18.0, 37.0])
    assert sample.encoder.mean_ms + sample.decoder.mean_ms == pytest.approx(sample.total.mean_ms)
    assert sample.runs == 3
    assert sample.to_dict()["total"] == {
        "mean_ms": pytest.approx(70 / 3),
        "std_ms": pytest.approx((1400 / 9) ** 0.5),
        "median_ms": 20.0,
        "p90_ms": 40.0,
        "p99_ms": 40.0,
        "standard_error_ms": pytest.approx((1400 / 9 / 2) ** 0.5),
    }


@pytest.mark.parametrize(
    ("a", "b", "tau"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3], [1, 3, 2], 1 / 3),
        ([1, 2, 2, 3], [1, 2, 3, 4], 5 / 30**0.5),  # one pair of six is tied in a
        ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
    ],
)
def test_kendall_tau_b(a: list[float], b: list[float], tau: float) -> None:
    assert kendall_tau(np.array(a, float), np.array(b, float)) == pytest.approx(tau)
    assert kendall_tau(np.array(b, float), np.array(a, float)) == pytest.approx(tau)


def test_kendall_tau_of_equal_values_is_undefined() -> None:
    assert kendall_tau(np.ones(3), np.arange(3.0)) is None
    assert kendall_tau(np.ones(1), np.ones(1)) is None


def test_accuracy() -> None:
    accuracy = Accuracy.of(np.array([11.0, 18.0, 30.0]), np.array([10.0, 20.0, 30.0]))
    assert accuracy.rows == 3
    assert accuracy.rmse_ms == pytest.approx((5 / 3) ** 0.5)
    assert accuracy.mape_percent == pytest.approx(20 / 3)
    assert accuracy.r2 == pytest.approx(1 - 5 / 200)
    assert accuracy.kendall_tau == pytest.approx(1.0)
    constant = Accuracy.of(np.array([1.0, 2.0]), np.array([2.0, 2.0]))
    assert (constant.r2, constant.kendall_tau) == (None, None)
