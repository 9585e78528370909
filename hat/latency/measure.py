"""Timing what ships: a standalone Transformer, from token ids to the best hypothesis."""

import contextlib
import copy
import gc
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from hat.decoding import BeamOptions, search_encoded
from hat.latency.device import cpu_threads, resolve, synchronize
from hat.latency.settings import LatencySettings
from hat.latency.statistics import LatencySample, TimeStatistics
from hat.nn import Transformer
from hat.space import Architecture
from hat.special_ids import EOS_ID, PAD_ID, UNK_ID

ANCHOR_EVERY = 4
"""Timed runs of a network between two of its anchor."""


def random_model(architecture: Architecture, settings: LatencySettings, seed: int = 1) -> Transformer:
    """A standalone model of this architecture with random weights: latency does not depend on their values.

    Args:
        architecture: which SubTransformer.
        settings: vocabulary sizes and embeddings are as given there.
        seed: of the weights.

    Raises:
        ConfigError: if ``settings`` ask for a way of sharing embeddings that cannot be.
    """
    with torch.random.fork_rng(devices=[]):  # the weights' numbers come from torch's own generator: leave it as it was
        torch.manual_seed(seed)
        return Transformer(
            architecture,
            source_vocab_size=settings.source_vocab_size,
            target_vocab_size=settings.target_vocab_size,
            share_embeddings=settings.share_embeddings,
            pre_norm=settings.pre_norm,
        )


def measure(net: Transformer, settings: LatencySettings, seed: int = 1) -> LatencySample:
    """Time a standalone model: the encoder, every decoder step with softmax, top-k and beam reordering, and the whole.

    In evaluation and inference mode, after ``warmup_runs``. The model is copied and stays as it is, on its device.
    Vocabulary sizes and embeddings are the model's own, whatever ``settings`` say about them.

    Args:
        net: the model.
        settings: the call.
        seed: of the source tokens.

    Raises:
        ConfigError: if ``settings`` ask for a device or type that is not here.

    Source: HAT (arXiv:2005.14187), section 3.2, for lengths, runs and trimming. Differs in: the authors' program times
    the model in training mode with gradients recorded, without softmax, top-k and beam reordering.
    """
    settings = resolve(settings)
    call = _Call(net, settings, seed)
    with cpu_threads(settings.threads), _no_garbage_collection():
        for _ in range(settings.warmup_runs):
            call.run()
        runs = [call.run() for _ in range(settings.runs)]
    return LatencySample.of_runs(runs)


def measure_beside(
    net: Transformer, anchor: Transformer, settings: LatencySettings, seed: int = 1
) -> tuple[LatencySample, TimeStatistics]:
    """:func:`measure` with an anchor timed in turn, before every fourth run.

    Machines change their pace: they heat up, or share a processor with others. Both networks see the same changes, so
    that the ratio of their times hardly depends on them.

    Args:
        net: the model.
        anchor: a model that is the same whenever times are to be compared.
        settings: the call.
        seed: of the source tokens.

    Returns:
        The times of ``net``, and the total times of ``anchor``.

    Raises:
        ConfigError: as :func:`measure`.
    """
    settings = resolve(settings)
    call, anchor_call = _Call(net, settings, seed), _Call(anchor, settings, seed)
    runs, anchor_ms = [], []
    with cpu_threads(settings.threads), _no_garbage_collection():
        for _ in range(settings.warmup_runs):
            anchor_call.run()
            call.run()
        for number in range(settings.runs):
            if number % ANCHOR_EVERY == 0:
                anchor_ms.append(anchor_call.run()[1])
            runs.append(call.run())
    return LatencySample.of_runs(runs), TimeStatistics.of(anchor_ms)


def beam_options(settings: LatencySettings) -> BeamOptions:
    """A search that takes exactly ``target_length`` steps, whatever the weights are."""
    words = settings.target_length - 1  # the end symbol takes the last step
    return BeamOptions(beam=settings.beam, min_length=words, max_length_ratio=0, max_length_offset=words)


class _Call:
    """One translation call of a copy of ``net``, ready to be timed; ``settings`` are resolved."""

    def __init__(self, net: Transformer, settings: LatencySettings, seed: int) -> None:
        self.device = torch.device(settings.device)
        self.net = copy.deepcopy(net).eval().to(self.device, getattr(torch, settings.dtype))
        self.source = _source_tokens(net.source_vocab_size, settings, seed)
        self.options = beam_options(settings)

    @torch.inference_mode()
    def run(self) -> tuple[float, float]:
        """Milliseconds of one call: the encoder's and the total."""
        synchronize(self.device)
        start = time.perf_counter()
        tokens = self.source.to(self.device)
        encoded = self.net.encode(tokens)
        synchronize(self.device)
        middle = time.perf_counter()
        search_encoded(self.net, encoded, tokens.ne(PAD_ID).sum(1), self.options)
        synchronize(self.device)
        end = time.perf_counter()
        return (middle - start) * 1000, (end - start) * 1000


def _source_tokens(vocab_size: int, settings: LatencySettings, seed: int) -> Tensor:
    """Random words and the end symbol, without padding: (batch_size, source_length) int64, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    shape = (settings.batch_size, settings.source_length)
    tokens = torch.randint(UNK_ID, vocab_size, shape, generator=generator)
    tokens[:, -1] = EOS_ID
    return tokens


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector, which may run at any moment, out of the timed runs."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
