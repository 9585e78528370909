"""Fetch Multi30k (task 1, English-German), lower-cased, normalised and tokenised by its makers.

These are the files on which published Multi30k BLEU is computed; they are checked and copied, not changed. For research
that is not commercial; the captions are those of Flickr30k.
"""

import sys
from collections.abc import Sequence

from corpora import Corpus, Part, Split, main
from corpora_text import TextRules

_ARCHIVE = "multi30k-a3d2e0d2.tar.gz"
_URL = "https://github.com/multi30k/dataset/archive/a3d2e0d2.tar.gz"
_SETS = ("train", "val", "test_2016_flickr", "test_2017_flickr")


def _split(name: str) -> Split:
    stem = f"{name}.lc.norm.tok"
    return Split(f"{stem}.{{language}}.gz", (Part(_ARCHIVE, f"tok/{stem}.en", f"tok/{stem}.de"),))


def _untouched(name: str) -> Split:
    """A test set before it was lower-cased and tokenised, which sacreBLEU compares with."""
    return Split(f"{name}.{{language}}.gz", (Part(_ARCHIVE, f"raw/{name}.en", f"raw/{name}.de"),), untouched=True)


CORPUS = Corpus(
    name="multi30k",
    text=TextRules("en", "de", tokenize=False, normalize=False),
    downloads={_ARCHIVE: _URL},
    splits=(*(_split(name) for name in _SETS), *(_untouched(name) for name in _SETS if name.startswith("test"))),
)


def run(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return main(CORPUS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
