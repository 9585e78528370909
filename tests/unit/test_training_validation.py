import math

import pytest
import torch
from tiny_task import SPACE, make_data

from hat import SearchSpace, SuperTransformer
from hat.data.batching import Batch, validation_batches
from hat.data.corpus import ParallelCorpus
from hat.special_ids import PAD_ID
from hat.training.loss import label_smoothed_loss
from hat.training.validation import ValidationResult, validation_loss


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
