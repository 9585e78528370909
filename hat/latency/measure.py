"""Timing what ships: a standalone Transformer, from token ids to the best hypothesis."""

import contextlib
import gc
import statistics
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hat.backends import BACKENDS, Placement, Renew
from hat.decoding import BeamOptions, search_encoded
from hat.errors import BackendError, ConfigError, HatError
from hat.latency.device import cpu_threads, resolve, synchronize
from hat.latency.settings import CallSettings, LatencySettings
from hat.latency.statistics import AnchoredSample, LatencySample, relative_mean_error, relative_median_error
from hat.nn import Transformer
from hat.space import Architecture
from hat.special_ids import EOS_ID, PAD_ID, UNK_ID

RUNS_PER_TURN = 3
"""Timed runs of one network before it is another's turn."""
_SETTLED = 0.02  # part by which three runs may differ from the three before when warm-up ends


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


def measure(net: Transformer, settings: CallSettings, seed: int = 1) -> LatencySample:
    """Time a standalone model: the encoder, every decoder step with softmax, top-k and beam reordering, and the whole.

    In evaluation and inference mode, after ``warmup_runs``. The model is copied and stays as it is, on its device.

    Args:
        net: the model.
        settings: the call.
        seed: of the source tokens.

    Raises:
        ConfigError: if ``settings`` ask for a device, backend or type that is not here.
        BackendError: if the backend fails on this model.

    Source: HAT (arXiv:2005.14187), section 3.2, for lengths, runs and trimming. Differs in: the authors' program times
    the model in training mode with gradients recorded, without softmax, top-k and beam reordering.
    """
    return LatencySample.of_runs(time_runs(net, settings, seed))


def time_runs(net: Transformer, settings: CallSettings, seed: int = 1) -> list[tuple[float, float]]:
    """The runs of :func:`measure`, each the encoder's and the total milliseconds."""
    settings = resolve(settings)
    with cpu_threads(settings.threads), _failures(settings.backend):
        call = _Call(net, _prepare(net, settings), settings, seed)
        with _no_garbage_collection():
            call.warm_up(settings.warmup_runs)
            runs: list[tuple[float, float]] = []
            while len(runs) < settings.runs and not (
                len(runs) >= settings.least_runs
                and _sure(relative_mean_error([total for _, total in runs]), settings.relative_error)
            ):
                runs.append(call.run())
    return runs


def _sure(error: float | None, wanted: float | None) -> bool:
    """Whether a latency with this relative standard error is known well enough; None of too few runs to tell."""
    return wanted is not None and error is not None and error <= wanted


class AnchoredTimer:
    """Times networks in turn with an anchor, which is the same whenever times are to be compared.

    Machines change their pace: they heat up, or share a processor with others. Both networks see the same changes;
    :class:`hat.latency.pace.Pace` says how far each follows them.

    Args:
        anchor: its architecture; its weights are random.
        settings: the call.
        seed: of weights and source tokens.

    Raises:
        ConfigError: if ``settings`` ask for a device, backend, type or way of sharing embeddings that cannot be, or the
            backend fails on the anchor.
    """

    def __init__(self, anchor: Architecture, settings: LatencySettings, seed: int = 1) -> None:
        self.settings = resolve(settings)
        self.seed = seed
        self._anchor = random_model(anchor, settings, seed)
        try:
            with cpu_threads(self.settings.threads), _failures(self.settings.backend):
                self._prepared = _prepare(self._anchor, self.settings)
                if self.settings.backend != "eager":  # what is compiled when it is first called shows itself here
                    _Call(self._anchor, self._prepared, self.settings, seed)
        except BackendError as error:
            raise ConfigError(f"the anchor ({anchor}) cannot be timed: {error}") from error

    def time(self, net: Transformer, most_runs: int | None = None, least_runs: int | None = None) -> AnchoredSample:
        """:func:`measure`, in turns of ``RUNS_PER_TURN`` timed runs of the anchor and of ``net``.

        The first run of each in a turn is not timed: it finds the other's weights in the caches. Both are copied anew:
        one copy may lie some per cent better in memory than another, and the anchor's must not spoil every ratio alike.

        Args:
            net: the model.
            most_runs: instead of the settings' number of runs.
            least_runs: likewise.

        Raises:
            BackendError: if the backend fails on this model.
        """
        with cpu_threads(self.settings.threads), _failures(self.settings.backend):
            call = _Call(net, _prepare(net, self.settings), self.settings, self.seed)
            anchor = _Call(self._anchor, self._prepared, self.settings, self.seed)
            most = self.settings.runs if most_runs is None else most_runs
            return self._time(anchor, call, most, self.settings.least_runs if least_runs is None else least_runs)

    def _time(self, anchor: "_Call", call: "_Call", most: int, least: int) -> AnchoredSample:
        runs: list[tuple[float, float]] = []
        ratios: list[float] = []
        with _no_garbage_collection():
            anchor.warm_up(self.settings.warmup_runs)
            call.warm_up(self.settings.warmup_runs)
            while len(runs) < most and not (
                len(runs) >= least and _sure(relative_median_error(ratios), self.settings.relative_error)
            ):
                turn = min(RUNS_PER_TURN, most - len(runs))
                anchor.run()
                anchor_ms = sum(anchor.run()[1] for _ in range(turn))
                call.run()
                own = [call.run() for _ in range(turn)]
                ratios.append(sum(total for _, total in own) / anchor_ms)
                runs += own
        return AnchoredSample(tuple(runs), tuple(ratios))


def beam_options(settings: CallSettings) -> BeamOptions:
    """A search that takes exactly ``target_length`` steps, whatever the weights are."""
    words = settings.target_length - 1  # the end symbol takes the last step
    return BeamOptions(beam=settings.beam, min_length=words, max_length_ratio=0, max_length_offset=words)


def _prepare(net: Transformer, settings: CallSettings) -> Renew:
    """What makes new copies of ``net`` in memory, on the backend of these resolved settings."""
    threads = settings.threads or torch.get_num_threads()
    place = Placement(torch.device(settings.device), settings.dtype, threads, settings.shortlist)
    return BACKENDS[settings.backend].prepare(net, place)


@contextlib.contextmanager
def _failures(backend: str) -> Iterator[None]:
    """Tell of what fails inside the block by one error; where hat's own code runs, only what torch says can fail."""
    try:
        yield
    except HatError:
        raise
    except Exception as error:
        if backend == "eager" and not isinstance(error, RuntimeError | MemoryError):
            raise
        told = (str(error).strip().splitlines() or [""])[0]
        raise BackendError(f"{backend} fails: {type(error).__name__}: {told[:300]}") from error


class _Call:
    """One translation call of a new copy of ``net``, ready to be timed; ``settings`` are resolved."""

    def __init__(self, net: Transformer, renew: Renew, settings: CallSettings, seed: int) -> None:
        self.device = torch.device(settings.device)
        self.architecture = net.architecture
        self.net = renew()
        self.source = _source_tokens(net.source_vocab_size, settings, seed)
        self.options = beam_options(settings)
        if settings.backend != "eager":
            self.run()  # what is done once, such as compiling, is done here, however short the warm-up

    def warm_up(self, most_runs: int) -> None:
        """Run until three runs in a row take as long as the three before, or ``most_runs`` times."""
        times_ms: list[float] = []
        while len(times_ms) < most_runs and not _settled(times_ms):
            times_ms.append(self.run()[1])

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


def _settled(times_ms: Sequence[float]) -> bool:
    if len(times_ms) < 6:
        return False
    before, last = statistics.median(times_ms[-6:-3]), statistics.median(times_ms[-3:])
    return abs(last / before - 1) <= _SETTLED


def _source_tokens(vocab_size: int, settings: CallSettings, seed: int) -> Tensor:
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
