import random
from collections import Counter

from tiny_task import SPACE

from hat.space import SearchSpace
from hat.training.sampling import UniformSampler

SPACE_ = SearchSpace.model_validate(SPACE)


def test_depends_on_seed_and_update_only() -> None:
    first, second = UniformSampler(SPACE_, 7), UniformSampler(SPACE_, 7)
    forward = [first(update) for update in range(50)]
    random.seed(5)
    assert [second(update) for update in reversed(range(50))] == forward[::-1]
    assert first(3) == forward[3]
    assert [UniformSampler(SPACE_, 8)(update) for update in range(50)] != forward


def test_leaves_the_global_generator_alone() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    UniformSampler(SPACE_, 7)(0)
    assert random.random() == expected


def test_every_knob_is_uniform() -> None:
    sampler = UniformSampler(SPACE_, 1)
    drawn = [sampler(update) for update in range(2000)]
    assert all(architecture in SPACE_ for architecture in drawn)
    for counts in (
        Counter(architecture.encoder.embed_dim for architecture in drawn),
        Counter(len(architecture.decoder.layers) for architecture in drawn),
        Counter(architecture.decoder.layers[0].cross_attn_heads for architecture in drawn),
    ):
        # Two choices: 1000 each, standard deviation 22.
        assert len(counts) == 2 and all(abs(count - 1000) < 112 for count in counts.values())


def test_validated_architectures_stay_the_same() -> None:
    sampler = UniformSampler(SPACE_, 1)
    members = sampler.validation_architectures(3)
    assert list(members) == ["smallest", "largest", "random_0", "random_1", "random_2"]
    assert members["smallest"] == SPACE_.smallest() and members["largest"] == SPACE_.largest()
    assert UniformSampler(SPACE_, 1).validation_architectures(3) == members
    assert len(set(members.values())) == 5
