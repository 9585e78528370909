"""Reading what commands wrote, tolerantly where a format may grow and in clear words where a file is damaged."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hat.artifacts import read_text
from hat.config import shorten
from hat.errors import DataError
from hat.report.wording import real

Numbers = Sequence[float | None]

_MOST = 1e30
"""What is beyond this has no place on an axis."""


def read_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """The objects of a file that holds one JSON object a line; a torn last line, as of a run that writes, is left out.

    Raises:
        DataError: naming the file and the line, if another one is no JSON object.
    """
    text = read_text(path, what)
    lines = text.split("\n")
    objects = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):
                continue
            raise DataError(f"{path}, line {number}: must be {what}, is no JSON (damaged?).") from None
        if not isinstance(value, dict):
            raise DataError(f"{path}, line {number}: must be {what}, a JSON object, is {shorten(value)}.")
        objects.append(value)
    return objects


def read_objects(path: Path, what: str) -> list[dict[str, Any]]:
    """The objects of a file that holds a JSON list of them. Raises DataError when it holds something else."""
    text = read_text(path, what)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        problem = "is no JSON (damaged?)" if text.strip() else "is empty"
        raise DataError(f"{path}: must be {what}, {problem}.") from None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(f"{path}: must be {what}, a JSON list of objects, is {shorten(values)}.")
    return values


def number(values: Mapping[str, Any], key: str, where: object) -> float | None:
    """The number that ``values`` holds under ``key``; None where there is none, or null.

    Raises:
        DataError: starting with ``where``, if it is something else. NaN and infinity are numbers.
    """
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {key} must be a number, is {shorten(value)}.")
    return real(value)


def section(values: Mapping[str, Any], key: str, where: object) -> dict[str, Any]:
    """The object that ``values`` holds under ``key``; an empty one where there is none, or null.

    Raises:
        DataError: starting with ``where``, if it is something else.
    """
    value = values.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{where}: {key} must be an object, is {shorten(value)}.")
    return value


def plottable(values: Numbers) -> list[float]:
    """``values`` with NaN, which leaves a gap, for what is missing or has no place on an axis."""
    return [math.nan if value is None or not abs(value) < _MOST else value for value in values]


def any_finite(*series: Numbers) -> bool:
    """Whether there is anything to draw."""
    return any(np.isfinite(plottable(values)).any() for values in series)
