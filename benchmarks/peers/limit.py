"""The machine's limit as if it were a peer: bandwidth and products are measured anew in every turn."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import inputs
from benchmarks.cases import Case
from benchmarks.prepared import Prepared, Turn
from benchmarks.roofline import BYTES, decoding_phases, scoring_multiply_adds, training_multiply_adds


def decoding(case: Case, variant: str, threads: int) -> Prepared:
    """Weights over bandwidth, or operations over the products' rate where that is longer."""
    phases = decoding_phases(case)
    blocks = [torch.ones(max(phase.weights * BYTES[variant] // 4, 1)) for phase in phases]
    rate = _Products(variant)

    def limit(round: int) -> float:
        operations = rate()
        bandwidths = (bytes_per_second(block) for block in blocks)
        return sum(p.seconds(BYTES[variant], b, operations) for p, b in zip(phases, bandwidths, strict=True))

    return Prepared(_told(limit), case.sentences * case.length, "target tokens", torch.__version__)


def training(case: Case, variant: str, threads: int) -> Prepared:
    """Operations over the products' rate."""
    rate = _Products(variant)

    def limit(round: int) -> float:
        return training_multiply_adds(case, inputs.architecture_of(case, round)) / rate()

    units = 2 * case.sentences * case.length
    return Prepared(_told(limit), units, "source and target tokens", torch.__version__)


def scoring(case: Case, variant: str, threads: int) -> Prepared:
    """Operations over the products' rate."""
    rate, lengths = _Products(variant), inputs.validation_lengths(case)

    def limit(round: int) -> float:
        return scoring_multiply_adds(case, inputs.architecture_of(case, round), lengths) / rate()

    return Prepared(_told(limit), case.sentences, "sentences", torch.__version__)


def bytes_per_second(block: Tensor) -> float:
    """How fast a float32 block is read, again and again: by whichever of torch's reductions reads fastest."""
    whole = block[: len(block) // 2 * 2].view(torch.int64)
    fastest = min(_seconds(read) for read in (block.sum, block.amax, whole.max))
    return block.numel() * block.element_size() / fastest


class _Products:
    """The rate of large matrix products of a type, in multiply-adds per second."""

    SIZE = 1024

    def __init__(self, variant: str) -> None:
        low = {"bfloat16": torch.bfloat16, "int8": torch.int8}.get(variant, torch.float32)
        left, right = (torch.ones(self.SIZE, self.SIZE, dtype=low) for _ in range(2))
        product = torch._int_mm if variant == "int8" else torch.mm
        self._product = lambda: product(left, right)
        # "medium" lets float32 take oneDNN's kernels, on some processors the faster ones; where they round to bfloat16
        # (AMX), they are no float32.
        amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
        self._precisions = ("highest",) if variant != "float32" or amx else ("highest", "medium")

    def __call__(self) -> float:
        """Measured now."""
        fastest = float("inf")
        for precision in self._precisions:
            torch.set_float32_matmul_precision(precision)
            fastest = min(fastest, _seconds(self._product))
        return self.SIZE**3 / fastest


def _seconds(call: Callable[[], object], runs: int = 5) -> float:
    """Median of some runs after one."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _told(limit: Callable[[int], float]) -> Callable[[Turn], None]:
    """The loop of what computes its seconds instead of taking them."""

    def loop(turn: Turn) -> None:
        seconds = None
        while True:
            seconds = limit(turn(seconds))

    return loop
