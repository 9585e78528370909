import math
import random

import pytest
import torch
from tiny_task import SPACE, make_data

from hat import SearchSpace, SuperTransformer
from hat.data.batching import Batch, validation_batches
from hat.data.corpus import ParallelCorpus
from hat.nn.packed import lower_linears
from hat.special_ids import PAD_ID
from hat.training.loss import label_smoothed_loss
from hat.training.validation import ValidationResult, losses_by_sentence, validation_loss


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ParallelCorpus:
    return ParallelCorpus.load(make_data(tmp_path_factory.mktemp("task")), "valid")


@pytest.fixture(scope="module")
def model() -> SuperTransformer:
    torch.manual_seed(1)
    space = SearchSpace.model_validate(SPACE)
    return SuperTransformer(space, source_vocab_size=16, target_vocab_size=16, share_embeddings="none").eval()


def loss_of(model: SuperTransformer, batches: list[Batch], precision: str = "float32") -> ValidationResult:
    architecture = model.space.smallest()
    return validation_loss(
        model, lambda batch: model.hidden(batch.source, batch.target_in, architecture), batches, 0.1, precision
    )


def test_is_the_mean_over_all_tokens(corpus: ParallelCorpus, model: SuperTransformer) -> None:
    (everything,) = validation_batches(corpus, 10_000)
    with torch.no_grad():
        logits = model(everything.source, everything.target_in, model.space.smallest())
    sums = label_smoothed_loss(logits, everything.target_out, 0.1, PAD_ID)
    expected = [float(value) / everything.num_target_tokens for value in sums]
    assert everything.num_target_tokens == int(everything.target_out.ne(PAD_ID).sum())
    for max_tokens in (12, 40, 10_000):
        result = loss_of(model, validation_batches(corpus, max_tokens))
        assert [result.loss, result.nll] == pytest.approx(expected, rel=1e-6)


def test_low_precision_is_close(corpus: ParallelCorpus, model: SuperTransformer) -> None:
    batches = validation_batches(corpus, 60)
    exact, low = loss_of(model, batches), loss_of(model, batches, "bfloat16")
    assert low.loss == pytest.approx(exact.loss, rel=0.02)
    assert low.loss != exact.loss


def test_leaves_no_trace(corpus: ParallelCorpus, model: SuperTransformer) -> None:
    state = torch.get_rng_state()
    loss_of(model, validation_batches(corpus, 60))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_perplexity() -> None:
    assert ValidationResult(2.0, math.log(7.0)).perplexity == pytest.approx(7.0)
    assert ValidationResult(1e4, 1e4).perplexity == math.inf


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_losses_do_not_depend_on_who_is_scored_together(
    corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch, pre_norm: bool, precision: str
) -> None:
    torch.manual_seed(1)
    space = SearchSpace.model_validate(SPACE)
    options = {"share_embeddings": "none", "pre_norm": pre_norm}
    model = SuperTransformer(space, source_vocab_size=16, target_vocab_size=16, **options).eval()
    rng, batches, cpu = random.Random(1), validation_batches(corpus, 60), torch.device("cpu")
    architectures = [space.sample(rng) for _ in range(12)] * 2  # some of them twice
    passes: list[int] = []
    for layer in model.encoder.layers:
        layer.register_forward_hook(lambda *_: passes.append(1))
    alone = [losses_by_sentence(model, [item], batches, 0.1, precision, cpu)[0] for item in architectures]
    computed_alone = len(passes)
    passes.clear()
    assert losses_by_sentence(model, architectures, batches, 0.1, precision, cpu) == alone
    # An encoder is known by its width and its layers; with pre-norm, the last output serves its like only.
    encoders = {item.encoder for item in architectures}
    beginnings = {(item.embed_dim, item.layers[:depth]) for item in encoders for depth in range(1, 3)}
    if pre_norm:
        assert len(beginnings) <= len(passes) / len(batches) < computed_alone / len(batches)
    else:
        assert len(passes) == len(beginnings) * len(batches) < computed_alone
    lowered = lower_linears(model, getattr(torch, precision))
    assert losses_by_sentence(lowered, architectures, batches, 0.1, precision, cpu) == alone


def test_losses_by_sentence_add_up_to_the_mean_loss(corpus: ParallelCorpus, model: SuperTransformer) -> None:
    batches, architecture = validation_batches(corpus, 60), model.space.smallest()
    (losses,) = losses_by_sentence(model, [architecture], batches, 0.1, "float32", torch.device("cpu"))
    tokens = sum(batch.num_target_tokens for batch in batches)
    assert len(losses) == 12 and sum(losses) / tokens == pytest.approx(loss_of(model, batches).loss, rel=1e-6)
