"""Places where hat does not take the usual way on the CPU, timed against that way.

Prints a Markdown table of ratios: medians of interleaved repeats, so that a change of the machine's speed hits both
sides. Run it on an otherwise idle machine: ``python -m benchmarks.kernels [--threads N] [--repeats N]``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from torch.nn import functional

from benchmarks import inputs
from benchmarks.cases import TINY, Shape
from benchmarks.cases import Case as Work
from hat.artifacts import machine_name
from hat.decoding import beam_search
from hat.latency.measure import beam_options
from hat.nn import source_attention
from hat.nn.attention import attention, split_heads
from hat.nn.dropout import dropout
from hat.nn.packed import pack
from hat.training.loss import label_smoothed_loss, output_loss

Case = tuple[str, Callable[[], object], Callable[[], object]]


def main() -> None:
    """Time every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    print(f"{machine_name()}, torch {torch.__version__}, {args.threads} threads, medians of {args.repeats}\n")
    print("| case | usual ms | hat ms | usual / hat |\n|---|---|---|---|")
    for name, default, ours in [*attention_cases(), *loss_cases(), *dropout_cases(), *translation_cases()]:
        times: tuple[list[float], list[float]] = ([], [])
        for repeat in range(args.repeats + 2):
            for index, function in enumerate((default, ours)):
                started = time.perf_counter()
                function()
                if repeat >= 2:  # the first two warm up
                    times[index].append(time.perf_counter() - started)
        slow, fast = (1000 * statistics.median(side) for side in times)
        ratio = statistics.median(usual / our for usual, our in zip(*times, strict=True))
        print(f"| {name} | {slow:.2f} | {fast:.2f} | {ratio:.2f} |", flush=True)


def attention_cases() -> list[Case]:
    """Forward and backward of 4 heads over width 512: batched products against scaled_dot_product_attention."""
    cases: list[Case] = []
    for batch, length, dtype in ((128, 25, torch.float32), (128, 25, torch.bfloat16), (8, 200, torch.float32)):
        qkv = [torch.randn(batch, length, 512, dtype=dtype, requires_grad=True) for _ in range(3)]

        def fused(qkv: list[torch.Tensor] = qkv) -> None:
            heads = [x.unflatten(2, (4, -1)).transpose(1, 2) for x in qkv]
            functional.scaled_dot_product_attention(*heads).sum().backward()

        def ours(qkv: list[torch.Tensor] = qkv) -> None:
            attention(*(split_heads(x, 4) for x in qkv), bias=None, drop=0.0).sum().backward()

        cases.append((f"attention, {batch} x {length} tokens, {str(dtype)[6:]}", fused, ours))
    return cases


def loss_cases() -> list[Case]:
    """Output projection and label-smoothed loss with gradients, 4,000 tokens of width 128, 10,000 words."""
    cases: list[Case] = []
    hidden = torch.randn(160, 25, 128, requires_grad=True)
    weight = torch.randn(10_000, 128, requires_grad=True)
    target = torch.randint(4, 10_000, (160, 25))
    for dtype in (torch.float32, torch.bfloat16):

        def default(dtype: torch.dtype = dtype) -> None:
            logits = functional.linear(hidden.to(dtype), weight.to(dtype))
            label_smoothed_loss(logits, target, 0.1, 1)[0].backward()

        def ours(dtype: torch.dtype = dtype) -> None:
            output_loss(hidden, weight, target, 0.1, 1, dtype)[0].backward()

        cases.append((f"output layer and loss, {str(dtype)[6:]}", default, ours))
    return cases


def dropout_cases() -> list[Case]:
    """Dropout of one batch of hidden states, forward and backward."""
    x = torch.randn(160, 25, 256, requires_grad=True)
    return [
        (
            "dropout, 1 M elements",
            lambda: functional.dropout(x, 0.3).sum().backward(),
            lambda: dropout(x, 0.3).sum().backward(),
        )
    ]


def translation_cases() -> list[Case]:
    """One sentence, 30 tokens to 30: cross-attention projected at every step, or as hat.nn.source_attention decides."""
    cases: list[Case] = []
    base = Work("base, 3 decoder layers, beam 4", "decoding", Shape(decoder_layers=3))
    tiny = [Work(f"Transformer-Tiny, beam {beam}", "decoding", TINY, beam=beam) for beam in (1, 5)]
    for work in (*tiny, base):
        source, options = inputs.sentences(work, 1), beam_options(inputs.call_settings(work))
        ours = partial(beam_search, pack(inputs.network(work)), source, options)

        def projected(ours: Callable[[], object] = ours) -> object:
            with patch.object(source_attention, "_CALLS", -(10**12)):  # then absorbing never pays
                return ours()

        cases.append((f"translation, {work.name}", projected, ours))
    return cases


if __name__ == "__main__":
    main()
