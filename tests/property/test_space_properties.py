"""What must hold for every search space, architecture and gene."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_spaces import random_space

from hat.config import to_yaml
from hat.space import Architecture, SearchSpace
from hat.space.counting import count_multiply_adds, count_parameters
from hat.space.encoding import FEATURE_NAMES, Gene, architecture_of, features, gene_choices, gene_of

PROPERTY = settings(max_examples=500, derandomize=True, deadline=None, database=None)
SEEDS = st.integers(0, 2**32 - 1)
KNOBS = {
    "encoder": ("ffn_dim", "self_attn_heads"),
    "decoder": ("ffn_dim", "self_attn_heads", "cross_attn_heads", "attended_encoder_layers"),
}


def space_of(seed: int) -> tuple[SearchSpace, random.Random]:
    rng = random.Random(seed)
    return random_space(rng), rng


def random_gene(space: SearchSpace, rng: random.Random) -> Gene:
    return tuple(rng.choice(choices) for choices in gene_choices(space))


def inactive_positions(space: SearchSpace, gene: Gene) -> list[int]:
    """Where a gene speaks of layers that its depths leave out, told from the documented order alone."""
    layers = [
        (stack, index)
        for stack in KNOBS
        for index in range(max(getattr(space, stack).num_layers))
        for _ in KNOBS[stack]
    ]
    depth = {"encoder": gene[2], "decoder": gene[3]}
    return [4 + place for place, (stack, index) in enumerate(layers) if index >= depth[stack]]


def choices_of(space: SearchSpace, stack: str, knob: str, layer: int) -> tuple[int, ...]:
    choices = getattr(getattr(space, stack), knob)
    return choices[layer] if isinstance(choices[0], tuple) else choices


@PROPERTY
@given(SEEDS)
def test_architecture_to_gene_and_back_is_the_identity(seed: int) -> None:
    space, rng = space_of(seed)
    architecture = space.sample(rng)
    gene = gene_of(space, architecture)
    assert architecture_of(space, gene) == architecture
    assert all(value in choices for value, choices in zip(gene, gene_choices(space), strict=True))


@PROPERTY
@given(SEEDS)
def test_every_gene_is_a_member_and_has_one_canonical_form(seed: int) -> None:
    space, rng = space_of(seed)
    gene = random_gene(space, rng)
    architecture = architecture_of(space, gene)
    assert space.why_not(architecture) is None
    assert (architecture.encoder.embed_dim, architecture.decoder.embed_dim) == gene[:2]
    assert (len(architecture.encoder.layers), len(architecture.decoder.layers)) == gene[2:4]
    canonical = gene_of(space, architecture)
    assert architecture_of(space, canonical) == architecture
    assert gene_of(space, architecture_of(space, canonical)) == canonical


@PROPERTY
@given(SEEDS)
def test_genes_of_inactive_layers_change_nothing(seed: int) -> None:
    space, rng = space_of(seed)
    gene = random_gene(space, rng)
    positions = inactive_positions(space, gene)
    assume(positions)
    changed = list(gene)
    for position in positions:
        changed[position] = rng.choice(gene_choices(space)[position])
    architecture, same = architecture_of(space, gene), architecture_of(space, tuple(changed))
    assert same == architecture
    assert hash(same) == hash(architecture)
    assert features(same) == features(architecture)
    assert gene_of(space, same) == gene_of(space, architecture)


@PROPERTY
@given(SEEDS)
def test_each_active_gene_sets_its_own_knob(seed: int) -> None:
    space, rng = space_of(seed)
    gene = random_gene(space, rng)
    architecture = architecture_of(space, gene)
    values = iter(gene[4:])
    for stack, knobs in KNOBS.items():
        layers = getattr(architecture, stack).layers
        for index in range(max(getattr(space, stack).num_layers)):
            for knob in knobs:
                value = next(values)
                if index >= len(layers):
                    continue
                if knob == "attended_encoder_layers" and value > len(architecture.encoder.layers):
                    allowed = [
                        c for c in choices_of(space, stack, knob, index) if c <= len(architecture.encoder.layers)
                    ]
                    value = max(allowed)
                assert getattr(layers[index], knob) == value


@PROPERTY
@given(SEEDS)
def test_samples_the_largest_and_the_smallest_are_members(seed: int) -> None:
    space, rng = space_of(seed)
    smallest, sample, largest = space.smallest(), space.sample(rng), space.largest()
    for architecture in (smallest, sample, largest):
        assert architecture in space
    for count in (lambda a: count_parameters(a, 7, 7).total, lambda a: count_multiply_adds(a, 3, 5, 7).total):
        assert count(smallest) <= count(sample) <= count(largest)
    for pick, architecture in ((min, smallest), (max, largest)):
        depth = pick(space.encoder.num_layers)
        assert len(architecture.encoder.layers) == depth
        assert len(architecture.decoder.layers) == pick(space.decoder.num_layers)
        for stack, knobs in KNOBS.items():
            assert getattr(architecture, stack).embed_dim == pick(getattr(space, stack).embed_dim)
            for index, layer in enumerate(getattr(architecture, stack).layers):
                for knob in knobs:
                    choices = choices_of(space, stack, knob, index)
                    if knob == "attended_encoder_layers":
                        choices = [choice for choice in choices if choice <= depth]
                    assert getattr(layer, knob) == pick(choices)


@PROPERTY
@given(SEEDS)
def test_one_value_outside_its_choices_makes_no_member(seed: int) -> None:
    space, rng = space_of(seed)
    values = space.sample(rng).to_dict()
    stack = rng.choice(sorted(KNOBS))
    knob = rng.choice(("embed_dim", *KNOBS[stack]))
    if knob == "embed_dim":
        values[stack][knob] = 31
    else:
        layer = rng.randrange(len(values[stack]["layers"]))
        depth = len(values["encoder"]["layers"])
        outside = {"ffn_dim": [41], "attended_encoder_layers": range(1, depth + 1)}.get(knob, [24])
        outside = [value for value in outside if value not in choices_of(space, stack, knob, layer)]
        assume(outside)
        values[stack]["layers"][layer][knob] = outside[0]
    problem = space.why_not(Architecture.from_dict(values))
    assert problem is not None
    assert problem.startswith(stack)
    assert knob in problem


@PROPERTY
@given(SEEDS)
def test_json_and_yaml_round_trips(seed: int) -> None:
    space, rng = space_of(seed)
    assert SearchSpace.model_validate(yaml.safe_load(to_yaml(space))) == space
    architecture = space.sample(rng)
    text = json.dumps(architecture.to_dict(found={"latency_ms": 1.5}))
    again = Architecture.from_dict(json.loads(text))
    assert again == architecture
    assert hash(again) == hash(architecture)


@PROPERTY
@given(SEEDS)
def test_features_are_the_means_over_active_layers(seed: int) -> None:
    space, rng = space_of(seed)
    architecture = space.sample(rng)
    expected: list[float] = []
    for stack, knobs in KNOBS.items():
        part = getattr(architecture, stack)
        expected += [part.embed_dim, len(part.layers)]
        expected += [sum(getattr(layer, knob) for layer in part.layers) / len(part.layers) for knob in knobs]
    assert features(architecture) == tuple(expected)
    assert len(FEATURE_NAMES) == len(expected)


def networks(space: SearchSpace) -> Iterator[Architecture]:
    """Every network of a space, put together by hand from its choices."""
    for depth_e, depth_d in itertools.product(space.encoder.num_layers, space.decoder.num_layers):
        for dim_e, dim_d in itertools.product(space.encoder.embed_dim, space.decoder.embed_dim):
            stacks = []
            for stack, depth in (("encoder", depth_e), ("decoder", depth_d)):
                layers = [
                    [dict(zip(KNOBS[stack], values, strict=True))
                     for values in itertools.product(*(choices_of(space, stack, k, i) for k in KNOBS[stack]))
                     if stack == "encoder" or values[-1] <= depth_e]
                    for i in range(depth)
                ]  # fmt: skip
                stacks.append(list(itertools.product(*layers)))
            for encoder, decoder in itertools.product(*stacks):
                values = {
                    "format": "hat.architecture/1",
                    "qkv_dim": space.qkv_dim,
                    "encoder": {"embed_dim": dim_e, "layers": list(encoder)},
                    "decoder": {"embed_dim": dim_d, "layers": list(decoder)},
                }
                yield Architecture.from_dict(values)


@settings(PROPERTY, max_examples=100)
@given(SEEDS)
def test_size_counts_every_network_once(seed: int) -> None:
    space = random_space(random.Random(seed), max_depth=2, max_choices=2)
    assume(space.size() <= 1000)
    everything = list(networks(space))
    assert len(set(everything)) == len(everything) == space.size()
    assert all(architecture in space for architecture in everything)
    assert len({gene_of(space, architecture) for architecture in everything}) == space.size()


def test_samples_reach_every_network_of_a_small_space() -> None:
    space = SearchSpace.model_validate(SMALL)
    rng = random.Random(0)
    assert {space.sample(rng) for _ in range(5000)} == set(networks(space))
    positions = gene_choices(space)
    assert {architecture_of(space, gene) for gene in itertools.product(*positions)} == set(networks(space))


SMALL = {
    "qkv_dim": 8,
    "encoder": {"embed_dim": [4], "num_layers": [1, 2], "ffn_dim": [5, 6], "self_attn_heads": 2},
    "decoder": {
        "embed_dim": [4, 6], "num_layers": [1, 2], "ffn_dim": 3, "self_attn_heads": [1, 2], "cross_attn_heads": [4],
        "attended_encoder_layers": [1, 2],
    },
}  # fmt: skip

# Chi-square values that a fair draw exceeds once in 10,000, by degrees of freedom.
CRITICAL = {1: 15.14, 2: 18.42, 4: 23.51, 5: 25.74}


def assert_uniform(counts: Counter, choices: tuple[int, ...]) -> None:
    assert set(counts) == set(choices)
    expected = sum(counts.values()) / len(choices)
    assert sum((counts[c] - expected) ** 2 / expected for c in choices) < CRITICAL[len(choices) - 1], counts


@pytest.fixture(scope="module")
def draws() -> tuple[SearchSpace, list[Architecture]]:
    space = SearchSpace.from_yaml(Path(__file__).parents[2] / "configs/space/multi30k.yaml")
    rng = random.Random(20)
    return space, [space.sample(rng) for _ in range(6000)]


def test_every_knob_is_drawn_uniformly(draws: tuple[SearchSpace, list[Architecture]]) -> None:
    space, sample = draws
    for stack, knobs in KNOBS.items():
        section, parts = getattr(space, stack), [getattr(architecture, stack) for architecture in sample]
        assert_uniform(Counter(part.embed_dim for part in parts), section.embed_dim)
        assert_uniform(Counter(len(part.layers) for part in parts), section.num_layers)
        for knob in knobs[:3]:  # attended layers depend on the encoder's depth: below
            for index in range(max(section.num_layers)):
                layers = [part.layers[index] for part in parts if len(part.layers) > index]
                assert_uniform(Counter(getattr(layer, knob) for layer in layers), getattr(section, knob))


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_attended_layers_are_uniform_over_what_the_encoder_has(
    draws: tuple[SearchSpace, list[Architecture]], depth: int
) -> None:
    sample = [architecture for architecture in draws[1] if len(architecture.encoder.layers) == depth]
    layers = [layer for architecture in sample for layer in architecture.decoder.layers]
    assert_uniform(Counter(layer.attended_encoder_layers for layer in layers), tuple(range(1, min(depth, 3) + 1)))


def test_knobs_are_drawn_independently(draws: tuple[SearchSpace, list[Architecture]]) -> None:
    """Encoder against decoder width, and first against second decoder layer: pairs are uniform too."""
    pairs = Counter((a.encoder.embed_dim, a.decoder.embed_dim) for a in draws[1])
    expected = len(draws[1]) / 9
    assert sum((count - expected) ** 2 / expected for count in pairs.values()) < 31.83  # 8 degrees of freedom
    deep = [a.decoder.layers for a in draws[1] if len(a.decoder.layers) > 1]
    pairs = Counter((layers[0].ffn_dim, layers[1].ffn_dim) for layers in deep)
    expected = len(deep) / 9
    assert sum((count - expected) ** 2 / expected for count in pairs.values()) < 31.83


def test_sampling_follows_the_generator_alone() -> None:
    space = SearchSpace.model_validate(SMALL)
    state = random.getstate()
    first = [space.sample(random.Random(seed)) for seed in range(20)]
    random.seed(99)
    assert [space.sample(random.Random(seed)) for seed in range(20)] == first
    random.setstate(state)
