"""Write the demo corpus: a seeded, grammar-made translation task between a German-like and an English-like language.

The committed files in ``data/demo`` are the output of ``python scripts/make_demo_corpus.py``; data/README.md describes
them. Only the standard library is used, so that any Python makes the same text.
"""

import argparse
import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

from demo_grammar import Grammar, Pair

SEED = 2020
SIZES = {"train": 20000, "valid": 500, "test": 500}
MAX_TOKENS = 14


def make_pairs(seed: int, count: int) -> list[Pair]:
    """``count`` pairs whose sources are all different and at most MAX_TOKENS long on either side."""
    grammar = Grammar(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        source, target = grammar.pair()
        if max(len(source.split()), len(target.split())) > MAX_TOKENS:
            continue
        if pairs.setdefault(source, target) != target:
            raise AssertionError(f"two translations of {source!r}: {pairs[source]!r} and {target!r}")
    return list(pairs.items())


def split_pairs(pairs: Sequence[Pair], sizes: dict[str, int]) -> dict[str, list[Pair]]:
    """Cut ``pairs`` into consecutive splits; as all sources differ, no test sentence is a training sentence."""
    splits, start = {}, 0
    for name, size in sizes.items():
        splits[name] = list(pairs[start : start + size])
        start += size
    return splits


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write gzipped UTF-8 lines without time or file name in the header, so that equal text gives equal files."""
    text = "".join(line + "\n" for line in lines).encode()
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as file:
        file.write(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write ``{train,valid,test}.{de,en}.gz`` into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "data" / "demo", help="folder")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the grammar's choices (default {SEED})")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    splits = split_pairs(make_pairs(args.seed, sum(SIZES.values())), SIZES)
    for name, pairs in splits.items():
        write_lines(args.output / f"{name}.de.gz", [source for source, _ in pairs])
        write_lines(args.output / f"{name}.en.gz", [target for _, target in pairs])
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
