"""How numbers, times and names are written in a report."""

import math
import re
from collections.abc import Iterable

NONE = "–"

STATISTICS = {"mean": "mean", "p90": "90th percentile"}
"""What of many runs a latency is, in full."""
LATENCIES = {"mean": "latency", "p90": "p90 latency"}
"""What it is called where there is little room."""


def real(value: float) -> float:
    """``value`` as a float; infinity for whole numbers that are beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def decimal(value: float | None, places: int = 2) -> str:
    """A number with this many decimals: ``1,234.50``; what is missing or not finite is shown as such."""
    if value is None:
        return NONE
    value = real(value)
    return f"{value:,.{places}f}" if math.isfinite(value) and abs(value) < 1e12 else f"{value:.4g}"


def whole(value: float | None) -> str:
    """A whole number with separators: ``2,568,192``."""
    return decimal(value, 0)


def milliseconds(value: float | None) -> str:
    """A latency, with decimals that make sense at its size and no unit: ``9.72``, ``126.0``, ``5,932``."""
    if value is None or not math.isfinite(value):
        return decimal(value)
    return decimal(value, 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0)


def percent(value: float | None, places: int = 1) -> str:
    """A number of percent."""
    return NONE if value is None else f"{decimal(value, places)} %"


def duration(seconds: float | None) -> str:
    """A duration in its two largest units: ``4 min 32 s``."""
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds < 1e9:
        return decimal(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(text: object) -> str:
    """A time of day as ``run.json`` has it, easier to read: ``2026-11-27 09:05 UTC``."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\dZ", str(text))
    return printable(text) if match is None else f"{match[1]} {match[2]} UTC"


def printable(value: object) -> str:
    """What a file says, on one line and without characters that no page can show; plain lists with commas."""
    if isinstance(value, list) and value and not any(isinstance(item, list | dict) for item in value):
        return ", ".join(map(printable, value))
    text = NONE if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))


def spans(numbers: Iterable[int]) -> str:
    """Rising numbers, those that follow each other as one span: ``3, 20 to 29``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in found)


def short(text: str, most: int = 34) -> str:
    """A name that fits into a picture: the end, which tells paths apart, stays."""
    return text if len(text) <= most else "…" + text[1 - most :]


def slug(text: str) -> str:
    """``text`` as a part of the name of a file or an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "run"


def unique(names: Iterable[str]) -> list[str]:
    """These names; one that was there before gets a number."""
    found: dict[str, None] = {}
    for name in names:
        number, candidate = 1, name
        while candidate in found:
            number += 1
            candidate = f"{name}-{number}"
        found[candidate] = None
    return list(found)
