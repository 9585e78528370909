import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from hat.training.optimizer import OptimizerConfig, ScheduleConfig, learning_rate, make_optimizer


def schedule(kind: str, **changes: float) -> ScheduleConfig:
    values = {"kind": kind, "peak": 1e-3, "warmup_updates": 100, "warmup_start": 1e-6, "minimum": 1e-5}
    return ScheduleConfig.model_validate(values | changes)


@pytest.mark.parametrize("kind", ["inverse_sqrt", "cosine", "constant"])
def test_warm_up_is_a_line_that_meets_the_peak(kind: str) -> None:
    rates = [learning_rate(schedule(kind), update, 1000) for update in range(101)]
    assert rates[0] == 1e-6
    assert rates[100] == 1e-3
    steps = [after - before for before, after in pairwise(rates)]
    assert steps == pytest.approx([(1e-3 - 1e-6) / 100] * 100)


@pytest.mark.parametrize("kind", ["inverse_sqrt", "cosine"])
def test_decays_and_never_below_the_minimum(kind: str) -> None:
    rates = [learning_rate(schedule(kind), update, 1000) for update in range(100, 2_000_000, 997)]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) == 1e-5


def test_decays_in_closed_form() -> None:
    assert learning_rate(schedule("inverse_sqrt"), 400, 1000) == pytest.approx(5e-4)
    assert learning_rate(schedule("cosine"), 550, 1000) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(schedule("cosine"), 1000, 1000) == 1e-5
    assert learning_rate(schedule("constant"), 999, 1000) == 1e-3


@pytest.mark.parametrize("kind", ["inverse_sqrt", "cosine", "constant"])
def test_without_warm_up(kind: str) -> None:
    rates = [learning_rate(schedule(kind, warmup_updates=0), update, 10) for update in range(11)]
    assert rates[0] == 1e-3
    assert all(math.isfinite(rate) and 0 < rate <= 1e-3 for rate in rates)


@pytest.mark.parametrize("kind", ["inverse_sqrt", "cosine", "constant"])
def test_warm_up_longer_than_the_run(kind: str) -> None:
    assert learning_rate(schedule(kind), 9, 10) == pytest.approx(1e-6 + (1e-3 - 1e-6) * 0.09)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="minimum must be at most peak"):
        schedule("cosine", minimum=0.1)
    for betas in [(1.0, 0.98), (0.9, -0.1), (0.9,)]:
        with pytest.raises(ValidationError):
            OptimizerConfig.model_validate({"betas": betas})


def one_step(kind: str, weight: float, gradient: float, decay: float) -> float:
    parameter = nn.Parameter(torch.tensor([weight]))
    config = OptimizerConfig.model_validate({"kind": kind, "weight_decay": decay})
    optimizer = make_optimizer(config, [parameter])
    parameter.grad = torch.tensor([gradient])
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    return parameter.item()


def test_first_steps_in_closed_form() -> None:
    # Adam's first step is the learning rate times the gradient's sign.
    assert one_step("adam", 2.0, 0.3, 0.0) == pytest.approx(1.9)
    assert one_step("adam", 2.0, -0.3, 0.0) == pytest.approx(2.1)
    # Coupled decay turns the sign of the gradient here; decoupled decay takes lr · decay · weight off besides.
    assert one_step("adam", 2.0, -0.3, 0.5) == pytest.approx(1.9)
    assert one_step("adamw", 2.0, -0.3, 0.5) == pytest.approx(2.0 * (1 - 0.05) + 0.1)


def test_a_parameter_left_out_of_an_update_stays() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = make_optimizer(OptimizerConfig(kind="adamw", weight_decay=0.1), [used, unused])
    optimizer.param_groups[0]["lr"] = 0.1
    for parameter in (used, unused):
        parameter.grad = torch.ones(2)
    optimizer.step()
    before = unused.detach().clone()
    moments = {name: value.clone() for name, value in optimizer.state[unused].items()}
    unused.grad = None
    optimizer.step()
    assert torch.equal(unused, before)
    assert all(torch.equal(value, moments[name]) for name, value in optimizer.state[unused].items())
