"""Fetch and tokenise WMT'14 English-French: newstest2012 and 2013 to validate, newstest2014 to test.

About 36 million pairs are left of Europarl v7, Common Crawl, the UN corpus, News Commentary v9 and the 10^9 corpus
after cleaning (1 to 250 words, length ratio at most 1.5). Hyphens between words are split (``x @-@ y``), as the
published recipe for this pair does. Needs some tens of GB of disk.
"""

import sys
from collections.abc import Sequence

from corpora import Corpus, Part, Split, main
from corpora_text import CleanRules, TextRules

_EUROPARL = "training-parallel-europarl-v7.tgz"
_CRAWL = "training-parallel-commoncrawl.tgz"
_UN = "training-parallel-un.tgz"
_NEWS = "training-parallel-nc-v9.tgz"
_GIGA = "training-giga-fren.tar"
_DEV = "dev.tgz"
_TEST = "test-full.tgz"

_TEST_SET = (Part(_TEST, "newstest2014-fren-src.en.sgm", "newstest2014-fren-ref.fr.sgm", "segments"),)

CORPUS = Corpus(
    name="wmt14_enfr",
    text=TextRules("en", "fr", aggressive_hyphens=True),
    downloads={
        _EUROPARL: "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
        _CRAWL: "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
        _UN: "http://www.statmt.org/wmt13/training-parallel-un.tgz",
        _NEWS: "http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz",
        _GIGA: "http://www.statmt.org/wmt10/training-giga-fren.tar",
        _DEV: "http://www.statmt.org/wmt14/dev.tgz",
        _TEST: "http://www.statmt.org/wmt14/test-full.tgz",
    },
    splits=(
        Split(
            "valid.{language}.gz",
            (
                Part(_DEV, "newstest2012.en", "newstest2012.fr"),
                Part(_DEV, "newstest2013.en", "newstest2013.fr"),
            ),
        ),
        Split("test.{language}.gz", _TEST_SET),
        Split("test.{language}.gz", _TEST_SET, untouched=True),
        Split(
            "train.{language}.gz",
            (
                Part(_EUROPARL, "europarl-v7.fr-en.en", "europarl-v7.fr-en.fr"),
                Part(_CRAWL, "commoncrawl.fr-en.en", "commoncrawl.fr-en.fr"),
                Part(_UN, "undoc.2000.fr-en.en", "undoc.2000.fr-en.fr"),
                Part(_NEWS, "news-commentary-v9.fr-en.en", "news-commentary-v9.fr-en.fr"),
                Part(_GIGA, "giga-fren.release2.fixed.en", "giga-fren.release2.fixed.fr"),
            ),
            clean=CleanRules(),
        ),
    ),
)


def run(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return main(CORPUS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
