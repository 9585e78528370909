"""What hat is to keep against its peers, as ratios of times that were taken in turn."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
Row = tuple[str, str, str]
"""A case, a peer and a variant."""


@dataclass(frozen=True)
class Target:
    """The time of ``ours`` is at most ``at_most`` times that of ``theirs``, each at its best."""

    ours: Row
    theirs: Row
    at_most: float


def _against(case: str, ours: str, peer: str, theirs: str, at_most: float) -> Target:
    return Target((case, "hat", ours), (case, peer, theirs), at_most)


_BASE = [f"base, decoder layers {number}" for number in (1, 3, 6)]
_BOTH = ("float32", "bfloat16")

TARGETS = (
    *(_against(case, "float32", "CTranslate2", "float32", 0.75) for case in _BASE),
    *(_against(case, "float32", "transformers", "float32", 0.3) for case in _BASE),
    *(_against(case, "float32", "limit", "float32", 2.2) for case in _BASE),
    *(_against(case, "int8", "CTranslate2", "int8", 0.6) for case in _BASE),
    *(_against(case, "bfloat16", "transformers", "float32", 0.2) for case in _BASE),
    _against("base, batch 32", "float32", "CTranslate2", "float32", 1 / 1.2),
    _against("base, batch 32", "int8", "CTranslate2", "int8", 1.0),
    *(_against(case, "float32", "CTranslate2", "float32", 1.5) for case in ("tiny, greedy", "tiny, beam 5")),
    *(_against(f"{size} WMT network", "float32", "plain", "float32", 1 / 4) for size in ("largest", "smallest")),
    _against("training", "float32", "fairseq", "float32", 1 / 1.5),
    _against("training, medium", "float32", "fairseq", "medium", 1.0),
    _against("training, bfloat16", "bfloat16", "plain", "bfloat16", 1 / 1.3),
    Target(
        ("SuperTransformer, largest step", "hat", "float32"), ("its largest as a Transformer", "hat", "float32"), 1.10
    ),
    *(_against("SuperTransformer, sampled step", variant, "plain", "float32", 1 / 3) for variant in _BOTH),
    *(_against("scoring, sampled", variant, "plain", "float32", 1 / 4) for variant in _BOTH),
)
"""Peers that are set in several ways, such as ``int8 AVX-512``, count with the fastest."""


def best(results: Sequence[Result], row: Row) -> Result | None:
    """The fastest timed result of a row, over numbers of threads and ways of setting a peer; None if none is."""
    case, peer, variant = row
    found = [
        result
        for result in results
        if (result["case"]["name"], result["peer"], result["variant"].split()[0]) == (case, peer, variant)
        and result.get("seconds")
    ]
    return min(found, key=median_seconds, default=None)


def median_seconds(result: Result) -> float:
    """Of the rounds."""
    return statistics.median(result["seconds"])


def ratio(ours: Result, theirs: Result) -> float:
    """The median over the rounds of our time over theirs, so that a change of the machine's pace hits both sides."""
    return statistics.median(a / b for a, b in zip(ours["seconds"], theirs["seconds"], strict=False))
