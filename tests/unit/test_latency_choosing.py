"""Informative architectures: what a pick must be, and that a longer list goes on where a shorter one ended."""

import random
from pathlib import Path

import numpy as np
import pytest

from hat.errors import ConfigError
from hat.latency.choosing import InformativeChoice, choose_informative
from hat.latency.cost_model import cost_terms
from hat.latency.rows import FloatArray
from hat.recipes.measure_latency import draw_architectures
from hat.space import SearchSpace
from hat.space.encoding import features

SPACE = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs/space/wmt_latency.yaml")


def table_of(rows: int, seed: int = 1) -> FloatArray:
    rng = random.Random(seed)
    return np.array([features(SPACE.sample(rng)) for _ in range(rows)])


def information(table: FloatArray, picked: list[int]) -> FloatArray:
    """The information matrix of the standardised terms, added up from its definition; the prior is 0.1."""
    terms = cost_terms(table)
    varies = terms.std(axis=0) > 1e-9
    rows = np.where(varies, (terms - terms.mean(axis=0)) / np.where(varies, terms.std(axis=0), 1), 0)
    rows[:, 0] = 1
    return 0.1 * np.eye(rows.shape[1]) + rows[picked].T @ rows[picked]


def test_each_pick_adds_the_most_to_the_determinant() -> None:
    table = table_of(40)
    picked = InformativeChoice(table).pick(table, 12)
    for number in range(12):
        before = picked[:number]
        rest = [row for row in range(40) if row not in before]
        gains = {row: np.linalg.slogdet(information(table, [*before, row]))[1] for row in rest}
        assert gains[picked[number]] == pytest.approx(max(gains.values()), rel=1e-9)


def test_picks_are_different_and_no_more_than_there_are() -> None:
    table = table_of(20)
    assert sorted(InformativeChoice(table).pick(table, 50)) == list(range(20))
    assert InformativeChoice(table).pick(table, 5, first=[7, 3])[:2] == [7, 3]


def test_a_pick_continues_what_an_earlier_call_began() -> None:
    table = table_of(60)
    choice = InformativeChoice(table)
    first = choice.pick(table, 10)
    rest = [row for row in range(60) if row not in first]
    then = [rest[row] for row in choice.pick(table[rest], 10)]
    assert first + then == InformativeChoice(table).pick(table, 20)


def test_costs_are_known_better_than_from_random_members() -> None:
    table = table_of(600)
    picked = InformativeChoice(table).pick(table, 30)
    at_random = list(range(30))
    assert np.linalg.slogdet(information(table, picked))[1] > np.linalg.slogdet(information(table, at_random))[1] + 5


def test_a_larger_number_of_samples_goes_on_where_a_smaller_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hat.latency.choosing._POOL", 100)
    monkeypatch.setattr("hat.latency.choosing._PICKS", 10)  # so that several pools are drawn
    drawn = draw_architectures(SPACE, 45, 1, "informative")
    assert drawn[:2] == [SPACE.smallest(), SPACE.largest()]
    assert len(set(drawn)) == 45
    assert all(architecture in SPACE for architecture in drawn)
    for samples in (1, 2, 3, 12, 30):
        assert draw_architectures(SPACE, samples, 1, "informative") == drawn[:samples]
    assert draw_architectures(SPACE, 45, 2, "informative")[2:] != drawn[2:]
    assert draw_architectures(SPACE, 45, 1, "random") != drawn


def test_a_small_space_is_chosen_whole_and_no_more_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = {"embed_dim": [8], "num_layers": [1], "ffn_dim": [8, 16, 24], "self_attn_heads": [1, 2]}
    decoder = choices | {"ffn_dim": [8], "cross_attn_heads": [1, 2], "attended_encoder_layers": [1]}
    space = SearchSpace.model_validate({"qkv_dim": 8, "encoder": choices, "decoder": decoder})
    assert len(set(choose_informative(space, 24, seed=1))) == space.size() == 24
    with pytest.raises(ConfigError, match="samples: must be at most 24, as many as the space holds, is 25"):
        draw_architectures(space, 25, 1, "informative")
    monkeypatch.setattr(SearchSpace, "sample", lambda self, rng: space.smallest())
    with pytest.raises(ConfigError, match="samples: this space gives only 2 different architectures"):
        choose_informative(space, 3, seed=1)
