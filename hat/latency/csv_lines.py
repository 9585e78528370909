"""Single lines of CSV files, and the numbers in them, with errors that name the line. No torch."""

import csv
import math

from hat.config import shorten
from hat.errors import DataError


def values_of(line: str, width: int | None, where: str) -> list[str]:
    """The values of one line; no value of ours spans lines, so each can be read on its own.

    Args:
        line: without its end.
        width: how many values it must have; None for any number.
        where: file and line, for errors.

    Raises:
        DataError: if it is no line of CSV, or has another number of values.
    """
    try:
        values = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(f"{where}: not a line of CSV (damaged or truncated?): {error}.") from None
    if width is not None and len(values) != width:
        raise DataError(
            f"{where}: must have {width} values as the first line says, has {len(values)} (damaged or truncated?)."
        )
    return values


def number_of(row: dict[str, str], name: str, where: str, may_be_zero: bool = False) -> float:
    """The finite number in one column of a row, above 0 or at least 0. Raises DataError naming ``where`` and column."""
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (value == 0 and not may_be_zero):
        least = "of at least 0" if may_be_zero else "above 0"
        raise DataError(f"{where}: {name} must be a number {least}, is {shorten(row[name])}.")
    return value
