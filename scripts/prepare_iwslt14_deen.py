"""Fetch and tokenise IWSLT'14 German-English (TED talks), as the small translation task of the HAT paper has it.

Lower case, 1 to 175 words a sentence, length ratio at most 1.5; every 23rd pair that is left is for validation; the
test set is dev2010, dev2012 (TEDx), tst2010, tst2011 and tst2012 end to end.
"""

import sys
from collections.abc import Sequence

from corpora import Corpus, Part, Split, main
from corpora_text import CleanRules, TextRules

_ARCHIVE = "de-en.tgz"
_URL = "http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz"  # a copy; the original site is closed
_TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")

_TEST_SET = tuple(
    Part(_ARCHIVE, f"IWSLT14.{name}.de-en.de.xml", f"IWSLT14.{name}.de-en.en.xml", "segments") for name in _TESTS
)

CORPUS = Corpus(
    name="iwslt14_deen",
    text=TextRules("de", "en", normalize=False, lowercase=True),
    downloads={_ARCHIVE: _URL},
    splits=(
        Split(
            "train.{language}.gz",
            (Part(_ARCHIVE, "train.tags.de-en.de", "train.tags.de-en.en", "iwslt"),),
            clean=CleanRules(max_words=175),
        ),
        Split("test.{language}.gz", _TEST_SET),
        Split("test.{language}.gz", _TEST_SET, untouched=True),
    ),
    valid_every=23,
)


def run(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return main(CORPUS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
