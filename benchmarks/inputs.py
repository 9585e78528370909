"""What every peer is given: the same weights where it can take them, sentences and batches."""

import random

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import Case
from hat import Architecture, SearchSpace, SuperTransformer, Transformer
from hat.data.batch import Batch
from hat.latency.measure import random_model
from hat.latency.settings import LatencySettings
from hat.special_ids import EOS_ID, UNK_ID

DROPOUT = 0.1
SMOOTHING = 0.1
SPACE = "configs/space/iwslt14_deen.yaml"


def call_settings(case: Case) -> LatencySettings:
    """The decoding call in hat's own words."""
    sizes = {"source_vocab_size": case.shape.vocabulary, "target_vocab_size": case.shape.vocabulary}
    lengths = {"source_length": case.length, "target_length": case.length}
    return LatencySettings(**sizes, **lengths, beam=case.beam, batch_size=case.sentences, device="cpu")


def network(case: Case, dropout: float = 0.0) -> Transformer:
    """The standalone model that the case's peers compute."""
    settings = call_settings(case)
    if not dropout:
        return random_model(case.shape.architecture(), settings)
    torch.manual_seed(1)
    sizes = {"source_vocab_size": case.shape.vocabulary, "target_vocab_size": case.shape.vocabulary}
    return Transformer(case.shape.architecture(), **sizes, share_embeddings="all", dropout=dropout)


def super_network(case: Case, dropout: float = 0.0) -> SuperTransformer:
    """The SuperTransformer of the IWSLT space, with the case's vocabulary on either side."""
    torch.manual_seed(1)
    sizes = {"source_vocab_size": case.shape.vocabulary, "target_vocab_size": case.shape.vocabulary}
    return SuperTransformer(SearchSpace.from_yaml(SPACE), **sizes, share_embeddings="none", dropout=dropout)


def architecture_of(case: Case, turn: int) -> Architecture:
    """Which SubTransformer is active in the given turn: the same for all peers."""
    if case.network == "plain":
        return case.shape.architecture()
    space = SearchSpace.from_yaml(SPACE)
    if case.network == "sampled":
        return space.sample(random.Random(f"benchmark {turn}"))
    return space.smallest() if case.network == "smallest" else space.largest()


def sentences(case: Case, seed: int) -> Tensor:
    """Random words and the end symbol, without padding: (sentences, length) int64."""
    shape = case.sentences, case.length
    tokens = torch.randint(UNK_ID + 1, case.shape.vocabulary, shape, generator=torch.Generator().manual_seed(seed))
    tokens[:, -1] = EOS_ID
    return tokens


def pairs(case: Case) -> Batch:
    """One batch of sentence pairs without padding."""
    source, target = sentences(case, 1), sentences(case, 2)
    target_in = target.roll(1, dims=1)
    return Batch(source, target_in, target, target.numel())


def validation_lengths(case: Case) -> list[tuple[int, int]]:
    """Source and target lengths of a validation set, spread around the case's length as those of captions are."""
    rng = np.random.default_rng(1)
    source = np.clip(rng.gamma(9.0, case.length / 9.0, case.sentences).round(), 4, 60).astype(int)
    target = np.clip(source + rng.integers(-3, 4, case.sentences), 4, 60)
    return list(zip(source.tolist(), target.tolist(), strict=True))


def validation_sentences(case: Case) -> tuple[list[list[int]], list[list[int]]]:
    """Source and target sentences of those lengths, each closed by the end symbol."""
    rng = random.Random(1)
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for lengths in validation_lengths(case):
        for side, length in zip(sides, lengths, strict=True):
            side.append([rng.randrange(UNK_ID + 1, case.shape.vocabulary) for _ in range(length - 1)] + [EOS_ID])
    return sides


def log_probabilities(net: Transformer, batch: Batch) -> Tensor:
    """What hat's plain float32 model gives each target token, (B, T): the others must agree."""
    with torch.inference_mode():
        scores = net.eval()(batch.source, batch.target_in).float().log_softmax(-1)
    return scores.gather(2, batch.target_out[:, :, None])[:, :, 0]
