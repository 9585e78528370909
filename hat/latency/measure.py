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
from hat.latency.statistics import LatencySample
from hat.nn import Transformer
from hat.space import Architecture
from hat.special_ids import EOS_ID, PAD_ID, UNK_ID


def measure_architecture(architecture: Architecture, settings: LatencySettings, seed: int = 1) -> LatencySample:
    """Time a standalone model of this architecture with random weights: latency does not depend on their values.

    Args:
        architecture: which SubTransformer.
        settings: the call; vocabulary sizes and embeddings are as given there.
        seed: of the weights and of the source tokens.

    Raises:
        ConfigError: if ``settings`` ask for a device, type or way of sharing embeddings that cannot be.
    """
    with torch.random.fork_rng(devices=[]):  # the weights' numbers come from torch's own generator: leave it as it was
        torch.manual_seed(seed)
        net = Transformer(
            architecture,
            source_vocab_size=settings.source_vocab_size,
            target_vocab_size=settings.target_vocab_size,
            share_embeddings=settings.share_embeddings,
            pre_norm=settings.pre_norm,
        )
    return measure(net, settings, seed)


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
    device = torch.device(settings.device)
    net = copy.deepcopy(net).eval().to(device, getattr(torch, settings.dtype))
    source = _source_tokens(net.source_vocab_size, settings, seed)
    options = beam_options(settings)
    with cpu_threads(settings.threads), _no_garbage_collection():
        for _ in range(settings.warmup_runs):
            _timed_run(net, source, options, device)
        runs = [_timed_run(net, source, options, device) for _ in range(settings.runs)]
    return LatencySample.of_runs([encoder for encoder, _ in runs], [total for _, total in runs])


def beam_options(settings: LatencySettings) -> BeamOptions:
    """A search that takes exactly ``target_length`` steps, whatever the weights are."""
    words = settings.target_length - 1  # the end symbol takes the last step
    return BeamOptions(beam=settings.beam, min_length=words, max_length_ratio=0, max_length_offset=words)


@torch.inference_mode()
def _timed_run(net: Transformer, source: Tensor, options: BeamOptions, device: torch.device) -> tuple[float, float]:
    """Milliseconds of one call: the encoder's and the total."""
    synchronize(device)
    start = time.perf_counter()
    tokens = source.to(device)
    encoded = net.encode(tokens)
    synchronize(device)
    middle = time.perf_counter()
    search_encoded(net, encoded, tokens.ne(PAD_ID).sum(1), options)
    synchronize(device)
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
