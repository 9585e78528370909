"""How numbers, times and names are written in a report."""

import math

import pytest

from hat.report.wording import (
    decimal,
    duration,
    milliseconds,
    moment,
    percent,
    printable,
    short,
    slug,
    spans,
    unique,
    whole,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (decimal(1234.5), "1,234.50"),
        (decimal(None), "–"),
        (decimal(math.nan), "nan"),
        (decimal(-math.inf), "-inf"),
        (decimal(1e300), "1e+300"),
        (whole(2568192), "2,568,192"),
        (whole(10**400), "inf"),
        (milliseconds(9.7204), "9.72"),
        (milliseconds(126.04), "126.0"),
        (milliseconds(5932.55), "5,933"),
        (percent(4.25), "4.2 %"),
        (percent(None), "–"),
        (duration(0.04), "0.0 s"),
        (duration(59.6), "1 min 0 s"),
        (duration(75.5), "1 min 16 s"),
        (duration(7322), "2 h 2 min"),
        (duration(-1), "-1.00"),
        (moment("2026-11-27T09:05:52Z"), "2026-11-27 09:05 UTC"),
        (moment("yesterday"), "yesterday"),
        (moment(None), "–"),
        (printable("a\x1b[31m\n b\udc80"), "a\ufffd[31m b\ufffd"),
        (printable(True), "true"),
        (printable([0, None, True]), "0, –, true"),
        (printable([[1], 2]), "[[1], 2]"),
        (spans([3, 20, 21, 22, 40]), "3, 20 to 22, 40"),
        (spans([]), ""),
        (short("x" * 40 + "end", 10), "…xxxxxxend"),
        (slug("A b/ç_1.0"), "a-b-1-0"),
        (slug("日本"), "run"),
    ],
)
def test_written(written: str, expected: str) -> None:
    assert written == expected


def test_unique_names_stay_as_they_are_where_they_can() -> None:
    assert unique(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-2", "a-2-2", "a-3"]
