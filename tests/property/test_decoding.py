"""Beam search against slow implementations of what it must find: random spaces, options and weights, all seeded."""

import copy
import itertools
import random
from collections.abc import Callable

import pytest
import torch
from random_models import random_batch, random_model, randomize
from torch import Tensor

from hat.decoding import BeamOptions, DecodingNetwork, Hypothesis, beam_search
from hat.nn import SuperTransformer, Transformer
from hat.nn.packed import pack
from hat.space import SearchSpace
from hat.special_ids import EOS_ID, PAD_ID


def random_net(seed: int) -> tuple[Transformer, random.Random]:
    """A SubTransformer that is wide enough for no two translations to score the same."""
    for attempt in itertools.count():
        model, rng = random_model(1000 * attempt + seed)
        architecture = model.space.sample(rng)
        if min(architecture.encoder.embed_dim, architecture.decoder.embed_dim) > 3:
            return model.extract(architecture), rng
    raise AssertionError


def random_options(rng: random.Random, beam: int) -> BeamOptions:
    return BeamOptions(
        beam=beam,
        length_penalty=rng.choice([0.0, 0.6, 1.0, 1.4]),
        max_length_ratio=rng.choice([0.0, 0.5, 1.5]),
        max_length_offset=rng.randint(2, 6),
        min_length=rng.randint(0, 2),
    )


def limit(options: BeamOptions, source: Tensor) -> int:
    tokens = int(source.ne(PAD_ID).sum())
    return max(int(options.max_length_ratio * tokens + options.max_length_offset), options.min_length, 1)


def log_probs(net: Transformer, source: Tensor, written: list[int], options: BeamOptions) -> Tensor:
    """Log-probabilities of the token after ``written``, forbidden ones at -inf, from a full forward pass."""
    with torch.inference_mode():
        scores = torch.log_softmax(net(source[None], torch.tensor([[EOS_ID, *written]]))[0, -1], dim=-1)
    scores = scores.clone()
    scores[PAD_ID] = float("-inf")
    if len(written) < options.min_length:
        scores[EOS_ID] = float("-inf")
    if len(written) >= limit(options, source):
        ending = float(scores[EOS_ID])
        scores[:] = float("-inf")
        scores[EOS_ID] = ending
    return scores


def check_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        assert ours.token_scores == pytest.approx(theirs.token_scores, abs=1e-4)


@pytest.mark.parametrize("seed", range(500))
def test_step_by_step_equals_all_at_once(seed: int) -> None:
    net, rng = random_net(seed)
    source, target_in = random_batch(rng, net)
    with torch.inference_mode():
        expected = net(source, target_in)
        state = net.start(net.encode(source), beam=1)
        for position in range(target_in.size(1)):
            logits = net.step(target_in[:, position, None], state)
            torch.testing.assert_close(logits[:, 0], expected[:, position], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [lambda net: net, pack], ids=["plain", "packed"])
@pytest.mark.parametrize("seed", range(40))
def test_steps_follow_their_hypotheses(seed: int, form: Callable[[Transformer], DecodingNetwork]) -> None:
    """Hypotheses of a sentence take each other's place, and sentences leave, at random."""
    net, rng = random_net(seed)
    stepped = form(net)
    source, beam = random_batch(rng, net, size=3)[0], rng.randint(1, 4)
    sentences = [0, 1, 2]
    with torch.inference_mode():
        state = stepped.start(stepped.encode(source), beam)
        written = [[[EOS_ID] for _ in range(beam)] for _ in sentences]
        for _ in range(5):
            logits = stepped.step(torch.tensor([[row[-1] for row in rows] for rows in written]), state)
            for sentence, rows, found in zip(sentences, written, logits, strict=True):
                target_in = torch.tensor(rows)
                expected = net(source[sentence].expand(beam, -1), target_in)[:, -1]
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
            kept = sorted(rng.sample(range(len(sentences)), rng.randint(max(len(sentences) - 1, 1), len(sentences))))
            parents = [[rng.randrange(beam) for _ in range(beam)] for _ in kept]
            state.follow(torch.tensor(parents), torch.tensor(kept) if len(kept) < len(sentences) else None)
            sentences = [sentences[row] for row in kept]
            written = [
                [[*written[row][parent], rng.randrange(3, net.target_vocab_size)] for parent in rows]
                for row, rows in zip(kept, parents, strict=True)
            ]


@pytest.mark.parametrize("seed", range(500))
def test_a_batch_equals_its_sentences(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net, size=5)[0], random_options(rng, beam=rng.randint(1, 5))
    together = beam_search(net, source, options)
    wider = beam_search(net, torch.nn.functional.pad(source, (0, 3), value=PAD_ID), options)
    for row, found in enumerate(together):
        alone = beam_search(net, source[row][source[row].ne(PAD_ID)][None], options)[0]
        check_same(found, alone)
        check_same(wider[row], alone)


@pytest.mark.parametrize("seed", range(500))
def test_beam_of_one_is_greedy(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net)[0], random_options(rng, beam=1)
    for row, found in zip(source, beam_search(net, source, options), strict=True):
        tokens = row[row.ne(PAD_ID)]
        written: list[int] = []
        while EOS_ID not in written:
            written.append(int(log_probs(net, tokens, written, options).argmax()))
        assert [list(hypothesis.tokens) for hypothesis in found] == [written]


@pytest.mark.parametrize("seed", range(30))
def test_hypotheses_are_what_they_claim(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net)[0], random_options(rng, beam=rng.randint(2, 6))
    for row, found in zip(source, beam_search(net, source, options), strict=True):
        tokens = row[row.ne(PAD_ID)]
        assert 1 <= len(found) <= options.beam
        assert len({hypothesis.tokens for hypothesis in found}) == len(found)
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for hypothesis in found:
            *words, end = hypothesis.tokens
            assert end == EOS_ID and EOS_ID not in words and PAD_ID not in words
            assert options.min_length <= len(words) <= limit(options, tokens)
            scores = [
                float(log_probs(net, tokens, list(hypothesis.tokens[:number]), options)[token])
                for number, token in enumerate(hypothesis.tokens)
            ]
            assert hypothesis.token_scores == pytest.approx(scores, abs=1e-4)
            expected = sum(scores) / len(hypothesis.tokens) ** options.length_penalty
            assert hypothesis.score == pytest.approx(expected, abs=1e-4)


SMALL = SearchSpace.model_validate(
    {
        "qkv_dim": 8,
        "encoder": {"embed_dim": 8, "num_layers": [2], "ffn_dim": 8, "self_attn_heads": [2]},
        "decoder": {
            "embed_dim": 6, "num_layers": [2], "ffn_dim": 8, "self_attn_heads": [2], "cross_attn_heads": [4],
            "attended_encoder_layers": [2],
        },
    }
)  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_best_of_all(seed: int) -> None:
    """With room for every hypothesis, the search is exhaustive: all translations of up to three of three words."""
    model = SuperTransformer(SMALL, source_vocab_size=6, target_vocab_size=6).eval()
    randomize(model, torch.Generator().manual_seed(seed))
    net = model.extract(SMALL.largest())
    words, longest = (0, 3, 4, 5), 3
    options = BeamOptions(
        beam=len(words) ** longest * 2, length_penalty=0.7, max_length_ratio=0.0, max_length_offset=longest
    )
    source = torch.tensor([3, 5, 4, EOS_ID])
    scored = {}
    for length in range(1, longest + 1):
        for chosen in itertools.product(words, repeat=length):
            tokens = (*chosen, EOS_ID)
            total = sum(
                float(log_probs(net, source, list(tokens[:number]), options)[token])
                for number, token in enumerate(tokens)
            )
            scored[tokens] = total / len(tokens) ** 0.7
    found = beam_search(net, source[None], options)[0]
    assert {hypothesis.tokens: pytest.approx(hypothesis.score, abs=1e-4) for hypothesis in found} == scored
    assert found[0].tokens == max(scored, key=scored.__getitem__)


def slow_beam_search(net: Transformer, source: Tensor, options: BeamOptions) -> list[Hypothesis]:
    """One sentence, plain lists, a full forward pass for every hypothesis: the rules as they are written down."""
    alive: list[tuple[list[int], list[float]]] = [([], [])]
    finished: list[Hypothesis] = []
    while len(finished) < options.beam and len(alive[0][0]) <= limit(options, source):
        candidates = []
        for written, scores in alive:
            for token, score in enumerate(log_probs(net, source, written, options).tolist()):
                candidates.append(([*written, token], [*scores, score]))
        candidates.sort(key=lambda candidate: -sum(candidate[1]))
        candidates = [candidate for candidate in candidates[: 2 * options.beam] if sum(candidate[1]) > float("-inf")]
        for tokens, scores in candidates[: options.beam]:
            if tokens[-1] == EOS_ID and len(finished) < options.beam:
                score = sum(scores) / len(tokens) ** options.length_penalty
                finished.append(Hypothesis(tuple(tokens), score, tuple(scores)))
        alive = [candidate for candidate in candidates if candidate[0][-1] != EOS_ID][: options.beam]
        if not alive:
            break
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)


@pytest.mark.parametrize("seed", range(40))
def test_beam_search_follows_its_rules(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net, size=2)[0], random_options(rng, beam=rng.randint(2, 5))
    for row, found in zip(source, beam_search(net, source, options), strict=True):
        check_same(found, slow_beam_search(net, row[row.ne(PAD_ID)], options))


@pytest.mark.parametrize("seed", range(10))
def test_search_leaves_the_model_as_it_is(seed: int) -> None:
    net, rng = random_net(seed)
    source, options = random_batch(rng, net)[0], random_options(rng, beam=3)
    before = copy.deepcopy(net.state_dict())
    first = beam_search(net, source, options)
    beam_search(net, random_batch(rng, net, size=1)[0], options)
    assert beam_search(net, source, options) == first
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("form", [lambda net: net, pack], ids=["plain", "packed"])
@pytest.mark.parametrize("seed", range(5))
def test_hypotheses_outgrow_the_first_caches(seed: int, form: Callable[[Transformer], DecodingNetwork]) -> None:
    net, rng = random_net(seed)
    source = random_batch(rng, net)[0]
    options = BeamOptions(beam=3, max_length_ratio=0, max_length_offset=75, min_length=70)
    found = beam_search(form(net), source, options)
    for row, hypotheses in zip(source, found, strict=True):
        check_same(hypotheses, slow_beam_search(net, row[row.ne(PAD_ID)], options))


@pytest.mark.parametrize("form", [lambda net: net, pack], ids=["plain", "packed"])
@pytest.mark.parametrize("length", [1, 1100])
def test_very_short_and_very_long(length: int, form: Callable[[Transformer], DecodingNetwork]) -> None:
    """One token, and more positions than the table of positions has."""
    model = SuperTransformer(SMALL, source_vocab_size=6, target_vocab_size=6).eval()
    randomize(model, torch.Generator().manual_seed(0))
    net = model.extract(SMALL.largest())
    options = BeamOptions(beam=1, max_length_ratio=1.0, max_length_offset=0, min_length=length)
    source = torch.full((1, length), 4)
    source[0, -1] = EOS_ID
    tokens = beam_search(form(net), source, options)[0][0].tokens
    assert len(tokens) == length + 1
    with torch.inference_mode():
        logits = net(source, torch.tensor([[EOS_ID, *tokens[:-1]]]))[0].clone()
        logits[:, [PAD_ID, EOS_ID]] = float("-inf")
    greedy = logits[:-1].argmax(1).tolist()
    assert sum(ours != theirs for ours, theirs in zip(tokens[:-1], greedy, strict=True)) <= length // 500
