"""Fetch and tokenise WMT'14 English-German: training text of WMT'16, newstest2013 to validate, newstest2014 to test.

About 4.5 million pairs of Europarl v7, Common Crawl and News Commentary v11 are left after cleaning (1 to 250 words,
length ratio at most 1.5). Hyphens are not split: compound splitting is part of the evaluation.
"""

import sys
from collections.abc import Sequence

from corpora import Corpus, Part, Split, main
from corpora_text import CleanRules, TextRules

_EUROPARL = "training-parallel-europarl-v7.tgz"
_CRAWL = "training-parallel-commoncrawl.tgz"
_NEWS = "training-parallel-nc-v11.tgz"
_DEV = "dev.tgz"
_TEST = "test-full.tgz"

_TEST_SET = (Part(_TEST, "newstest2014-deen-src.en.sgm", "newstest2014-deen-ref.de.sgm", "segments"),)

CORPUS = Corpus(
    name="wmt14_ende",
    text=TextRules("en", "de"),
    downloads={
        _EUROPARL: "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
        _CRAWL: "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
        _NEWS: "http://data.statmt.org/wmt16/translation-task/training-parallel-nc-v11.tgz",
        _DEV: "http://www.statmt.org/wmt14/dev.tgz",
        _TEST: "http://www.statmt.org/wmt14/test-full.tgz",
    },
    splits=(
        Split(
            "valid.{language}.gz",
            (Part(_DEV, "newstest2013.en", "newstest2013.de"),),
        ),
        Split("test.{language}.gz", _TEST_SET),
        Split("test.{language}.gz", _TEST_SET, untouched=True),
        Split(
            "train.{language}.gz",
            (
                Part(_EUROPARL, "europarl-v7.de-en.en", "europarl-v7.de-en.de"),
                Part(_CRAWL, "commoncrawl.de-en.en", "commoncrawl.de-en.de"),
                Part(_NEWS, "news-commentary-v11.de-en.en", "news-commentary-v11.de-en.de"),
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
