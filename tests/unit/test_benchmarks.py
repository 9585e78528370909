"""The arithmetic of the benchmarks, and that plain PyTorch does hat's work in them. Nothing waits for a clock."""

import importlib.util
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks import driver, inputs, worker  # noqa: E402
from benchmarks.__main__ import choose  # noqa: E402
from benchmarks.cases import Case, Configuration, Group, Shape, groups  # noqa: E402
from benchmarks.peers.fairseq_names import fairseq_weights  # noqa: E402
from benchmarks.peers.plain import Plain, batches, loss_of, translate  # noqa: E402
from benchmarks.picture import draw  # noqa: E402
from benchmarks.prepared import Prepared, WrongWork, check_difference, check_hypotheses  # noqa: E402
from benchmarks.roofline import Phase, decoding_phases, training_multiply_adds  # noqa: E402
from benchmarks.table import markdown  # noqa: E402
from benchmarks.targets import TARGETS, best, ratio  # noqa: E402
from hat import Architecture, SearchSpace, SuperTransformer  # noqa: E402
from hat.data.batch import Batch  # noqa: E402
from hat.decoding import beam_search  # noqa: E402
from hat.latency.measure import beam_options  # noqa: E402
from hat.space.counting import count_multiply_adds  # noqa: E402
from hat.special_ids import PAD_ID  # noqa: E402
from hat.training.loss import output_loss  # noqa: E402

SMALL = Shape(width=16, ffn=24, heads=2, encoder_layers=2, decoder_layers=2, vocabulary=40, qkv=8, attended=2)
CASE = Case("small", "decoding", SMALL, sentences=2, length=7, beam=3)


class Scripted:
    """A timer that gives its times in order and notes who was called."""

    def __init__(self, name: str, times: list[float], calls: list[str]) -> None:
        self.name, self.times, self.calls = name, times, calls

    def time(self, round: int) -> float:
        self.calls.append(f"{self.name}{round}")
        if not self.times:
            raise driver.WorkerError("gone")
        return self.times.pop(0)


def test_every_round_goes_through_all_and_every_other_one_backwards() -> None:
    calls: list[str] = []
    timers = {name: Scripted(name, [9.0, 2.0, 3.0, 4.0], calls) for name in "ab"}
    assert driver.interleave(timers, 3, settle_seconds=0) == {"a": [2.0, 3.0, 4.0], "b": [2.0, 3.0, 4.0]}
    assert calls == ["b0", "a0", "a0", "b0", "b1", "a1", "a2", "b2"]  # the first call of each does not count


def test_one_that_fails_keeps_its_times_and_stops_none() -> None:
    calls: list[str] = []
    timers = {"a": Scripted("a", [9.0, 2.0], calls), "b": Scripted("b", [2.0] * 4, calls)}
    assert driver.interleave(timers, 3, settle_seconds=0) == {"a": [2.0], "b": [2.0] * 3}
    assert calls.count("a2") == 0


def test_the_first_of_short_calls_does_not_count() -> None:
    calls: list[str] = []
    assert driver.turn_seconds(Scripted("a", [0.9, 0.11, 0.1], calls), 0) == 0.11  # one more takes TURN_SECONDS
    assert len(calls) == 2
    assert driver.turn_seconds(Scripted("a", [0.1, 5.0, 0.2, 0.3], calls), 0) == 0.3
    assert driver.turn_seconds(Scripted("a", [1.0, 0.2], calls), 0) == 1.0  # long: counts at once


def result(case: str, peer: str, seconds: list[float], **more: Any) -> dict[str, Any]:
    values = Configuration(replace(CASE, name=case), peer, "float32", 1).to_dict()
    return {**values, "seconds": seconds, "units": 14, "unit": "tokens", "parameters": 5, "difference": 1e-6, **more}


def test_ratios_are_taken_round_by_round() -> None:
    # The machine's pace changes fourfold between the rounds; one round of ours is disturbed.
    ours, theirs = result("c", "hat", [1.0, 2.0, 40.0]), result("c", "plain", [2.0, 4.0, 8.0])
    assert ratio(ours, theirs) == 0.5


def test_best_is_the_fastest_number_of_threads_and_setting() -> None:
    rows = [result("c", "hat", [3.0]), result("c", "hat", [2.0], threads=2), result("c", "hat", [], threads=4)]
    rows += [result("c", "hat", [1.0], variant="float32 other"), result("c", "hat", [0.5], variant="int8")]
    assert best(rows, ("c", "hat", "float32")) is rows[3]
    assert best(rows, ("d", "hat", "float32")) is None


def test_every_target_is_timed_within_one_group() -> None:
    assert len(TARGETS) > 20
    rows = [{(c.case.name, c.peer, c.variant.split()[0]) for c in group.configurations} for group in groups()]
    for target in TARGETS:
        assert any({target.ours, target.theirs} <= group for group in rows), target


def test_configurations_have_names_of_their_own_and_survive_json() -> None:
    configurations = [one for group in groups() for one in group.configurations]
    assert len({one.name for one in configurations}) == len(configurations)
    assert all(Configuration.from_dict(one.to_dict()) == one for one in configurations)


def test_quick_times_the_quick_groups_and_only_takes_what_matches_and_the_cores_allow() -> None:
    quick = choose(groups(), None, True, 2)
    assert 0 < len(quick) < len(groups())
    assert {one.threads for _, configurations in quick for one in configurations} == {1, 2}
    assert all(group.quick for group, _ in quick)
    only = choose(groups(), r"tiny, greedy .* hat int8", False, 1)
    assert [one.name for _, configurations in only for one in configurations] == ["tiny, greedy | hat int8 | threads 1"]


def test_the_limit_reads_every_matrix_of_the_model_once() -> None:
    net = inputs.network(CASE)
    matrices = sum(weight.numel() for weight in net.weights().values() if weight.dim() == 2)
    assert sum(phase.weights for phase in decoding_phases(CASE)) == matrices


def test_the_limits_products_are_those_of_the_counting_without_attention() -> None:
    case = replace(CASE, beam=1)
    counted = count_multiply_adds(SMALL.architecture(), case.length, case.length, SMALL.vocabulary).total
    attention = case.length**2 * 8 * (2 * 2 + 2 * (2 + 2 * 2))  # two layers a stack; the decoder's attend two each
    products = sum(phase.times * phase.multiply_adds for phase in decoding_phases(case))
    assert products == case.sentences * (counted - attention)
    assert training_multiply_adds(case, SMALL.architecture()) == 3 * case.sentences * counted


def test_a_phase_takes_the_longer_of_reading_and_computing() -> None:
    phase = Phase(weights=100, multiply_adds=600, times=3)
    assert phase.seconds(4, bytes_per_second=40.0, multiply_adds_per_second=100.0) == 3 * 10.0
    assert phase.seconds(1, bytes_per_second=40.0, multiply_adds_per_second=100.0) == 3 * 6.0


def test_plain_pytorch_finds_hats_hypotheses() -> None:
    net, source = inputs.network(CASE), inputs.sentences(CASE, 1)
    found = beam_search(net.eval(), source, beam_options(inputs.call_settings(CASE)))
    plain = translate(Plain.of(net), source, SMALL.architecture(), CASE.beam, CASE.length)
    assert [[list(one.tokens) for one in sentence] for sentence in found] == plain.tolist()


def small_space() -> SearchSpace:
    stack = {"embed_dim": [16, 12], "num_layers": [2, 1], "ffn_dim": [24, 16], "self_attn_heads": [4, 2]}
    decoder = {**stack, "cross_attn_heads": [4, 2], "attended_encoder_layers": [1, 2]}
    return SearchSpace.model_validate({"qkv_dim": 8, "encoder": {**stack, "num_layers": [2]}, "decoder": decoder})


def padded_batches() -> list[Batch]:
    rng = random.Random(1)
    pairs = [tuple([rng.randrange(4, 40) for _ in range(rng.randint(3, 9))] + [2] for _ in "st") for _ in range(9)]
    return batches(pairs, 30)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_plain_pytorch_has_the_loss_and_gradients_of_any_subtransformer(seed: int) -> None:
    space = small_space()
    active: Architecture = space.sample(random.Random(seed))
    net = SuperTransformer(space, source_vocab_size=40, target_vocab_size=40, share_embeddings="none").eval()
    plain, batch = Plain.of(net), padded_batches()[-1]
    assert bool(batch.source.eq(PAD_ID).any())
    hidden = net.hidden(batch.source, batch.target_in, active)
    weight = net.output_weight(active.decoder.embed_dim)
    ours, _ = output_loss(hidden, weight, batch.target_out, inputs.SMOOTHING, PAD_ID)
    theirs = loss_of(plain, batch, active)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    ours.backward()
    theirs.backward()
    for name, parameter in net.named_parameters():
        own = parameter.grad
        if own is not None:
            torch.testing.assert_close(plain.weights[name].grad, own, rtol=1e-3, atol=1e-4)


def test_plain_batches_hold_every_sentence_once_within_the_limit() -> None:
    made = padded_batches()
    assert sum(batch.num_sentences for batch in made) == 9
    assert all(batch.num_sentences * max(batch.source.size(1), batch.target_in.size(1)) <= 30 for batch in made)


def test_fairseqs_names_hold_all_weights() -> None:
    net = inputs.network(CASE)
    ours, theirs = net.weights(), fairseq_weights(net)
    embedding = ours["source_embedding.weight"].numel()
    assert sum(w.numel() for w in theirs.values()) == sum(w.numel() for w in ours.values()) + embedding
    parts = [theirs[f"decoder.layers.1.encoder_attn.{part}_proj.bias"] for part in "kv"]
    assert torch.equal(torch.cat(parts), ours["decoder.layers.1.cross_attn.kv_proj.bias"])
    assert theirs["encoder.layers.0.fc2.weight"] is not None


def test_other_work_is_refused() -> None:
    check_hypotheses([7, 7], 7)
    with pytest.raises(WrongWork, match=r"must take 7 steps, take \[6, 7\]"):
        check_hypotheses([7, 6], 7)
    other = Prepared(lambda turn: None, 1, "tokens", "1", difference=0.5)
    check_difference(other, "int8")
    with pytest.raises(WrongWork, match=r"are 0\.5 off"):
        check_difference(other, "float32")


def test_a_peer_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ctranslate2" else object())
    assert worker.missing("CTranslate2") == "pip install ctranslate2==4.8.5"
    assert worker.missing("hat") is None


def test_pages_name_targets_limits_and_what_is_missing(tmp_path: Path) -> None:
    case = "base, decoder layers 1"
    results = [
        result(case, "hat", [0.2, 0.2]),
        result(case, "CTranslate2", [0.4, 0.4]),
        result(case, "limit", [0.1, 0.1], parameters=None, difference=None),
        {**Configuration(replace(CASE, name=case), "fairseq", "float32", 1).to_dict(), "missing": "not installed: a|b"},
    ]
    about = {"machine": "m", "torch": "t", "commit": "c", "date": "d", "repeats": 2}
    record = {"about": about, "groups": [{"title": "base", "sweep": None, "results": results}]}
    page = markdown(record)
    assert f"| {case} | hat float32 | CTranslate2 float32 | 0.50 | 0.75 | yes |" in page
    assert f"| {case} | hat float32 | limit float32 | 2.00 | 2.20 | yes |" in page
    assert "| hat float32 | 200 | 70 tokens | 2.00 | 5 | 1e-06 |  |" in page
    assert "| fairseq float32 |  |  |  |  |  | not installed: a/b |" in page
    draw(record, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_processes_answer_and_one_that_fails_stops_none() -> None:
    good = Configuration(replace(CASE, name="good"), "hat", "float32", 1)
    bad = Configuration(replace(CASE, name="bad", shape=replace(SMALL, heads=3)), "plain", "float32", 1)
    group = Group("both", (good, bad))
    timed, failed = driver.run_group(group, group.configurations, 2, {}, profile=True)
    assert len(timed["seconds"]) == 2 and min(timed["seconds"]) > 0
    assert timed["units"] == 14 and timed["difference"] < 1e-4
    assert sum(timed["profile"].values()) == pytest.approx(1.0)
    assert "must divide" in failed["error"] and "seconds" not in failed


@pytest.mark.parametrize("peer", ["hat", "plain"])
@pytest.mark.parametrize("kind", ["training", "scoring"])
def test_steps_and_scores_are_timed(kind: Literal["training", "scoring"], peer: str) -> None:
    case = Case("small", kind, Shape(vocabulary=40), sentences=5, length=6, network="smallest")
    group = Group(kind, (Configuration(case, peer, "float32", 1),))
    (timed,) = driver.run_group(group, group.configurations, 2, {}, profile=False)
    assert "error" not in timed, timed["error"]
    assert len(timed["seconds"]) == 2 and min(timed["seconds"]) > 0
