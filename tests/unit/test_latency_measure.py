"""Measuring: exactly the steps that were asked for, in evaluation and inference mode, and nothing is left changed."""

import gc
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hat.backends import Placement, eager
from hat.decoding import beam_search
from hat.errors import ConfigError
from hat.latency import measure as measure_module
from hat.latency.device import describe, resolve
from hat.latency.measure import RUNS_PER_TURN, AnchoredTimer, beam_options, measure, random_model
from hat.latency.settings import LatencySettings
from hat.latency.statistics import LEAST_VALUES, AnchoredSample
from hat.nn import Transformer
from hat.nn.packed import PackedTransformer
from hat.space import Architecture, SearchSpace
from hat.special_ids import EOS_ID, PAD_ID

SPACE = SearchSpace.model_validate(
    {
        "qkv_dim": 8,
        "encoder": {"embed_dim": [8, 12], "num_layers": [1, 2], "ffn_dim": [8, 16], "self_attn_heads": [1, 2]},
        "decoder": {
            "embed_dim": [8, 12], "num_layers": [1, 2], "ffn_dim": [8, 16], "self_attn_heads": [1, 2],
            "cross_attn_heads": [1, 2], "attended_encoder_layers": [1, 2],
        },
    }
)  # fmt: skip


def some_settings(**changes: Any) -> LatencySettings:
    values = {"source_length": 5, "target_length": 7, "source_vocab_size": 20, "target_vocab_size": 20, "beam": 3}
    values |= {"device": "cpu", "threads": 1, "warmup_runs": 2, "runs": 4, "relative_error": None}
    return LatencySettings.model_validate(values | changes)


def some_net(architecture: Architecture | None = None) -> Transformer:
    torch.manual_seed(3)
    return Transformer(architecture or SPACE.largest(), source_vocab_size=20, target_vocab_size=20)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Watch:
    """Notes every call of the encoder and of a decoder step, and the state they ran in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sources: list[torch.Tensor] = []
        self.rows: list[int] = []
        self.widths: list[int] = []
        self.states: set[tuple[Any, ...]] = set()
        self.dtype = ""
        pack, encode, step = eager.pack, PackedTransformer.encode, PackedTransformer.step

        def watched_pack(net: Transformer, dtype: Any, device: torch.device, shortlists: bool) -> PackedTransformer:
            self.dtype = dtype
            return pack(net, dtype, device, shortlists)

        def watched_encode(net: PackedTransformer, source: torch.Tensor) -> Any:
            self.sources.append(source)
            self.widths.append(net._net.architecture.decoder.embed_dim)
            self.note(net)
            return encode(net, source)

        def watched_step(net: PackedTransformer, tokens: torch.Tensor, state: Any) -> torch.Tensor:
            self.rows.append(tokens.numel())
            self.note(net)
            return step(net, tokens, state)

        monkeypatch.setattr(eager, "pack", watched_pack)
        monkeypatch.setattr(PackedTransformer, "encode", watched_encode)
        monkeypatch.setattr(PackedTransformer, "step", watched_step)

    def note(self, net: PackedTransformer) -> None:
        modes = net._net.training, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), gc.isenabled()
        self.states.add((*modes, torch.get_num_threads(), self.dtype))


@pytest.mark.parametrize(("batch_size", "beam", "target_length"), [(1, 3, 7), (2, 1, 2), (3, 4, 5), (1, 30, 3)])
def test_every_run_takes_exactly_the_steps_asked_for(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, beam: int, target_length: int
) -> None:
    watch = Watch(monkeypatch)
    settings = some_settings(batch_size=batch_size, beam=beam, target_length=target_length)
    sample = measure(random_model(SPACE.sample(random.Random(1)), settings), settings)
    assert len(watch.sources) == 2 + 4
    assert watch.rows == [batch_size * beam] * target_length * (2 + 4)
    assert sample.runs == 4


def test_an_eager_end_symbol_shortens_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    net = some_net()
    with torch.no_grad():  # the decoder's output is all ones, and the end symbol's logit far above the others
        last_norm = net.decoder.layers[-1].ffn_norm
        last_norm.weight.zero_()
        last_norm.bias.fill_(1.0)
        net.output_embedding.weight.clamp_(-0.1, 0.1)
        net.output_embedding.weight[EOS_ID] = 9.0
    source = torch.tensor([[5, 6, EOS_ID]])
    natural = beam_search(net.eval(), source, beam_options(some_settings()).model_copy(update={"min_length": 0}))
    assert natural[0][0].tokens == (EOS_ID,)
    forced = beam_search(net, source, beam_options(some_settings()))
    assert [len(hypothesis.tokens) for hypothesis in forced[0]] == [7, 7, 7]
    watch = Watch(monkeypatch)
    measure(net, some_settings(target_length=9))
    assert len(watch.rows) == 9 * 6


@pytest.mark.usefixtures("two_threads")
def test_evaluation_and_inference_mode_threads_type_and_no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    net = some_net().train()
    before = {name: weight.clone() for name, weight in net.weights().items()}
    measure(net, some_settings(threads=1, dtype="bfloat16"))
    assert watch.states == {(False, False, True, False, 1, "bfloat16")}
    assert net.training
    assert all(torch.equal(weight, before[name]) for name, weight in net.weights().items())
    assert torch.get_num_threads() == 2
    assert gc.isenabled()


@pytest.mark.usefixtures("two_threads")
def test_what_was_changed_is_put_back_after_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure_module, "search_encoded", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(some_net(), some_settings(threads=1))
    assert torch.get_num_threads() == 2
    assert gc.isenabled()


def test_sources_are_random_words_of_the_length_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    for seed in (1, 1, 2):
        measure(some_net(), some_settings(batch_size=4, source_length=6, warmup_runs=0, runs=1), seed)
    first, again, other = watch.sources
    assert first.shape == (4, 6)
    assert first[:, -1].eq(EOS_ID).all()
    assert not (first[:, :-1].eq(PAD_ID) | first[:, :-1].eq(EOS_ID)).any()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_torchs_own_random_numbers_go_on_as_if_nothing_had_been_measured() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    measure(random_model(SPACE.smallest(), some_settings()), some_settings(runs=1))
    assert torch.equal(torch.rand(2), expected)


def test_encoder_total_and_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = itertools.accumulate(itertools.cycle([100.0, 0.002, 0.005]))  # between runs, encoder, decoder; seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(readings))
    sample = measure(some_net(), some_settings())
    assert sample.encoder.mean_ms == pytest.approx(2.0, rel=1e-6)
    assert sample.decoder.mean_ms == pytest.approx(5.0, rel=1e-6)
    assert sample.total.median_ms == pytest.approx(7.0, rel=1e-6)
    assert sample.total.p90_ms == pytest.approx(7.0, rel=1e-6)
    assert sample.total.std_ms == pytest.approx(0.0, abs=1e-6)


def test_the_anchor_is_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    settings = some_settings(runs=2 * RUNS_PER_TURN + 1, beam=1, target_length=2)
    net, timer = some_net(), AnchoredTimer(SPACE.smallest(), settings)
    timed = timer.time(net)
    assert timed.sample.runs == 2 * RUNS_PER_TURN + 1 and len(timed.ratios) == 3
    wide, narrow = net.architecture.decoder.embed_dim, SPACE.smallest().decoder.embed_dim
    turn = [narrow] * (1 + RUNS_PER_TURN) + [wide] * (1 + RUNS_PER_TURN)  # the first of each is not timed
    assert watch.widths == [narrow] * 2 + [wide] * 2 + turn * 2 + [narrow, narrow, wide, wide]


class Pace:
    """Stands for a machine on which ``net`` takes 10 ms and the anchor 4 ms, times a pace that depends on the run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: Callable[[int], float]) -> None:
        self.runs = itertools.count()
        largest = SPACE.largest()

        def run(call: Any) -> tuple[float, float]:
            now = pace(next(self.runs))
            return now, (10.0 if call.architecture == largest else 4.0) * now

        monkeypatch.setattr(measure_module._Call, "run", run)

    def time(self, runs: int, **changes: Any) -> AnchoredSample:
        settings = some_settings(runs=runs, **({"warmup_runs": 0} | changes))
        return AnchoredTimer(SPACE.smallest(), settings).time(some_net())


def test_a_machine_that_becomes_slower_changes_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = Pace(monkeypatch, lambda run: 1 + run / 800).time(300)  # about twice as slow at the end
    assert timed.ratio == pytest.approx(2.5, rel=0.01)
    assert timed.sample.total.mean_ms > 13
    assert timed.anchor_ms == pytest.approx(timed.sample.total.mean_ms / 2.5, rel=0.01)


@pytest.mark.parametrize("disturbed", [range(1, 4), range(17, 30), range(60, 64), (1, 9, 17, 25)])
def test_disturbed_turns_do_not_reach_the_ratio(monkeypatch: pytest.MonkeyPatch, disturbed: Sequence[int]) -> None:
    """Of ten turns of eight runs, up to four with the anchor or the network disturbed."""
    timed = Pace(monkeypatch, lambda run: 9.0 if run in disturbed else 1.0).time(30)
    assert len(timed.ratios) == 10 and len(set(timed.ratios)) > 1
    assert timed.ratio == 2.5


def test_no_more_runs_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    assert len(Pace(monkeypatch, lambda run: 1.0).time(3000, relative_error=0.01).ratios) == LEAST_VALUES
    little = Pace(monkeypatch, lambda run: rng.uniform(0.9, 1.1)).time(3000, relative_error=0.005)
    much = Pace(monkeypatch, lambda run: rng.uniform(0.5, 1.5)).time(3000, relative_error=0.005)
    assert LEAST_VALUES < len(little.ratios) < len(much.ratios) <= 1000
    assert little.ratio == pytest.approx(2.5, rel=0.02) and much.ratio == pytest.approx(2.5, rel=0.05)
    capped = Pace(monkeypatch, lambda run: rng.uniform(0.5, 1.5)).time(60, relative_error=0.001)
    assert capped.sample.runs == 60 and len(capped.ratios) == 20
    Pace(monkeypatch, lambda run: 1.0)
    assert measure(some_net(), some_settings(runs=300, relative_error=0.01)).runs == LEAST_VALUES
    assert measure(some_net(), some_settings(runs=300, relative_error=0.01, least_runs=30)).runs == 30
    assert Pace(monkeypatch, lambda run: 1.0).time(3000, relative_error=0.01, least_runs=30).sample.runs == 30
    assert measure(some_net(), some_settings(runs=300)).runs == 300


def test_warm_up_ends_when_times_have_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    def warmup_runs(pace: Callable[[int], float], most: int) -> int:
        machine = Pace(monkeypatch, pace)
        machine.time(RUNS_PER_TURN, warmup_runs=most)
        return next(machine.runs) - 2 * (1 + RUNS_PER_TURN)

    # Of the anchor, then of the network.
    assert warmup_runs(lambda run: 1.0, most=50) == 6 + 6
    assert warmup_runs(lambda run: 1.0, most=3) == 3 + 3
    assert warmup_runs(lambda run: max(1.0, 5.0 - 0.5 * run), most=50) == 13 + 6  # the last six of 13 but one are alike
    assert warmup_runs(lambda run: 1.2**-run, most=20) == 20 + 20


def test_embeddings_are_shared_as_the_settings_say() -> None:
    net = random_model(
        SPACE.largest(),
        some_settings(share_embeddings="none", source_vocab_size=20, target_vocab_size=30, pre_norm=True),
    )
    assert (net.source_vocab_size, net.target_vocab_size) == (20, 30)
    assert net.output_embedding is not net.target_embedding
    assert net.options.pre_norm
    with pytest.raises(ConfigError, match="needs one joint vocabulary"):
        random_model(SPACE.largest(), some_settings(target_vocab_size=30))


def test_settings_are_completed_by_what_the_machine_uses() -> None:
    resolved = resolve(some_settings(threads=None))
    assert resolved.threads == torch.get_num_threads()
    record = describe(some_settings())
    assert (record.settings, record.gpu, record.torch) == (some_settings(), None, torch.__version__)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "gpu"}, "settings.device: must be auto, cpu, cuda or cuda:N, is 'gpu'"),
        ({"device": "meta"}, "settings.device: must be auto, cpu, cuda or cuda:N, is 'meta'"),
        ({"device": "cuda:99"}, "settings.device: 'cuda:99' is not here"),
        ({"backend": "onnxruntime", "shortlist": 9}, "settings.shortlist: backend onnxruntime has none; use eager"),
        (
            {"dtype": "float16"},
            "settings.dtype: must be one of float32, bfloat16, int8 for backend eager on cpu, is float16",
        ),
    ],
)
def test_what_this_machine_cannot_do_is_said(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(some_net(), some_settings(**changes))


@pytest.mark.parametrize(("shortlist", "scored"), [(None, 20), (9, 9), (99, 20)])
def test_as_many_target_tokens_are_scored_as_a_shortlist_gives(shortlist: int | None, scored: int) -> None:
    settings = some_settings(shortlist=shortlist)
    network = eager.EAGER.prepare(some_net(), Placement(torch.device("cpu"), "float32", 1, settings.shortlist))()
    with torch.inference_mode():
        state = network.start(network.encode(torch.tensor([[5, 6, EOS_ID]])), 3)
        assert network.step(torch.full((1, 3), EOS_ID), state).shape == (1, 3, scored)
    assert measure(some_net(), settings).runs == 4


@pytest.mark.parametrize(
    "changes", [{"target_length": 1}, {"source_length": 0}, {"beam": 0}, {"runs": 0}, {"threads": 0}, {"speed": 1}]
)
def test_impossible_settings_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        some_settings(**changes)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_on_a_gpu(dtype: str) -> None:
    settings = some_settings(device="auto", dtype=dtype)
    sample = measure(some_net(), settings)
    assert 0 < sample.encoder.mean_ms < sample.total.mean_ms
    assert describe(settings).gpu is not None
