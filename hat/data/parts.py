"""A corpus cut into parts that are alike, so that a part of it tells about all of it."""

import numpy as np

from hat.data.batch import Rows
from hat.data.batching import sort_by_length
from hat.data.corpus import ParallelCorpus

LEAST_ROWS = 32
"""Fewest pairs of a part: fewer would tell little."""


def nested_parts(corpus: ParallelCorpus, parts: int, seed: int, least: int = LEAST_ROWS) -> list[Rows]:
    """The rows of a corpus in parts, each as large as all before it together, all with like sentence lengths.

    Sorted by length, every run of 2^(parts - 1) neighbours gives one pair to the first part, one to the second, two to
    the third, and so on; a seed decides which.

    Args:
        corpus: the pairs.
        parts: how many parts; fewer where the first one would have less than ``least`` pairs.
        seed: of the choice.
        least: fewest pairs of a part.

    Returns:
        The rows of each part, shortest pair first; together every row once.
    """
    rows = len(corpus)
    while parts > 1 and rows >> (parts - 1) < least:
        parts -= 1
    order = sort_by_length(corpus.source_lengths(0, rows), corpus.target_lengths(0, rows), np.arange(rows))
    rng = np.random.default_rng(seed)
    stratum = 2 ** (parts - 1)
    # The place of a pair among its neighbours decides its part: 0 → part 0, 1 → 1, 2 and 3 → 2, 4 to 7 → 3, …
    places = np.concatenate([rng.permutation(stratum) for _ in range(-(-rows // stratum))])[:rows]
    part_of_place = np.array([place.bit_length() for place in range(stratum)])
    return [order[part_of_place[places] == part] for part in range(parts)]
