"""Fetch and tokenise WMT'19 English-German: newstest2017 to validate, newstest2018 to test.

Training text: Europarl v9, ParaCrawl v3, Common Crawl, News Commentary v14, Wiki Titles v1 and Rapid 2019, cleaned (1
to 250 words, length ratio at most 1.5). The paper trains on 43.0 million pairs and does not name its filters, so the
number left here will differ.
"""

import sys
from collections.abc import Sequence

from corpora import Corpus, Part, Split, main
from corpora_text import CleanRules, TextRules

_EUROPARL = "europarl-v9.de-en.tsv.gz"
_PARACRAWL = "en-de.bicleaner07.txt.gz"
_CRAWL = "training-parallel-commoncrawl.tgz"
_NEWS = "news-commentary-v14.de-en.tsv.gz"
_TITLES = "wikititles-v1.de-en.tsv.gz"
_RAPID = "rapid2019.de-en.zip"
_DEV = "dev.tgz"

_TEST_SET = (Part(_DEV, "newstest2018-ende-src.en.sgm", "newstest2018-ende-ref.de.sgm", "segments"),)

CORPUS = Corpus(
    name="wmt19_ende",
    text=TextRules("en", "de"),
    downloads={
        _EUROPARL: "http://www.statmt.org/europarl/v9/training/europarl-v9.de-en.tsv.gz",
        _PARACRAWL: "https://s3.amazonaws.com/web-language-models/paracrawl/release3/en-de.bicleaner07.txt.gz",
        _CRAWL: "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
        _NEWS: "http://data.statmt.org/news-commentary/v14/training/news-commentary-v14.de-en.tsv.gz",
        _TITLES: "http://data.statmt.org/wikititles/v1/wikititles-v1.de-en.tsv.gz",
        _RAPID: "https://s3-eu-west-1.amazonaws.com/tilde-model/rapid2019.de-en.zip",
        _DEV: "http://data.statmt.org/wmt19/translation-task/dev.tgz",
    },
    splits=(
        Split(
            "valid.{language}.gz",
            (Part(_DEV, "newstest2017-ende-src.en.sgm", "newstest2017-ende-ref.de.sgm", "segments"),),
        ),
        Split("test.{language}.gz", _TEST_SET),
        Split("test.{language}.gz", _TEST_SET, untouched=True),
        Split(
            "train.{language}.gz",
            (
                Part(_EUROPARL, 1, 0, "table"),
                Part(_PARACRAWL, 0, 1, "table"),
                Part(_CRAWL, "commoncrawl.de-en.en", "commoncrawl.de-en.de"),
                Part(_NEWS, 1, 0, "table"),
                Part(_TITLES, 1, 0, "table"),
                Part(_RAPID, "rapid2019.de-en.en", "rapid2019.de-en.de"),
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
