import math

import pytest
import torch

from hat.nn.dropout import dropout

COUNT = 1 << 18
PROBABILITIES = [0.001, 0.1, 0.3, 0.5, 0.9]


def seeded(probability: float, x: torch.Tensor, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return dropout(x, probability)


def test_zero_is_the_identity_itself() -> None:
    x = torch.randn(3, 5)
    assert dropout(x, 0.0) is x


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_rate_and_mean(probability: float) -> None:
    y = seeded(probability, torch.ones(COUNT))
    dropped = int((y == 0).sum())
    # Five standard deviations of a binomial: one right implementation in two million fails for an unlucky seed.
    spread = math.sqrt(COUNT * probability * (1 - probability))
    assert abs(dropped - COUNT * probability) <= 5 * spread
    kept = y[y != 0]
    assert bool((kept == kept[0]).all())
    # The probability is rounded to 1/65,536, and the scale follows the rounded one.
    assert kept[0].item() == pytest.approx(1 / (1 - probability), abs=1 / 65_536 / (1 - probability) ** 2)
    assert y.mean().item() == pytest.approx(1.0, abs=5 * spread / COUNT / (1 - probability) + 1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1023])
def test_every_element_can_be_kept_and_dropped(size: int) -> None:
    torch.manual_seed(1)
    draws = torch.stack([dropout(torch.ones(size), 0.5) for _ in range(100)])
    assert draws.shape == (100, size)
    assert bool((draws == 0).any(0).all()) and bool((draws == 2).any(0).all())


def test_elements_of_one_random_number_are_independent() -> None:
    kept = seeded(0.5, torch.ones(COUNT)).ne(0).double().view(-1, 4)
    correlation = torch.corrcoef(kept.t()) - torch.eye(4)
    assert float(correlation.abs().max()) < 5 / math.sqrt(COUNT / 4)


def test_a_seed_decides_everything() -> None:
    x = torch.randn(7, 11)
    assert torch.equal(seeded(0.3, x), seeded(0.3, x))
    assert not torch.equal(seeded(0.3, x), seeded(0.3, x, seed=2))


def test_gradient_is_the_mask_times_the_scale() -> None:
    x = torch.randn(50, 50).requires_grad_()
    y = seeded(0.4, x)
    y.sum().backward()
    mask = seeded(0.4, torch.ones(50, 50))
    assert torch.equal(x.grad, mask)
    assert torch.equal(y, x * mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_type_stays(dtype: torch.dtype) -> None:
    y = seeded(0.25, torch.ones(400, dtype=dtype))
    assert y.dtype == dtype
    assert y.unique().tolist() == [0.0, pytest.approx(4 / 3, rel=1 / 256)]


@pytest.mark.parametrize("probability", [1e-7, 0.999999])
def test_probabilities_next_to_the_limits_work(probability: float) -> None:
    y = seeded(probability, torch.ones(1000))
    assert bool(y.isfinite().all())
    assert y.sum().item() == (1000 if probability < 0.5 else 0)


def test_nothing_to_drop() -> None:
    assert dropout(torch.empty(0, 4), 0.5).shape == (0, 4)
