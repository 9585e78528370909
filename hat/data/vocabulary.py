"""Vocabularies: symbols ↔ ids, in the file layout of fairseq's ``dict.txt``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hat.artifacts import read_text, write_text
from hat.errors import ConfigError, DataError
from hat.special_ids import UNK_ID

SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
"""What the special ids are printed as; position = id."""

_OVERWRITE = "#fairseq:overwrite"


class Vocabulary:
    """The symbols of one side, in the order of their ids; the first four are the special ones.

    Text never turns into a special id other than ``UNK_ID``: the word ``</s>`` in a sentence is an unknown word, not
    its end.

    Args:
        symbols: all symbols but the special ones; the first gets id 4.
        counts: how often each was seen (0 when that is not known). As long as ``symbols``.
    """

    def __init__(self, symbols: Sequence[str], counts: Sequence[int] | None = None) -> None:
        self._symbols = [*SPECIAL_SYMBOLS, *symbols]
        self._counts = list(counts) if counts is not None else [0] * len(symbols)
        assert len(self._counts) == len(symbols), "one count per symbol"
        # A symbol that a file lists twice keeps both rows; text gets the later one (fairseq's overwrite flag).
        self._ids = {symbol: index + len(SPECIAL_SYMBOLS) for index, symbol in enumerate(symbols)}

    @classmethod
    def build(cls, counts: Mapping[str, int], max_size: int | None = None, min_count: int = 1) -> "Vocabulary":
        """The most frequent symbols first, equal counts in the order of their characters.

        Args:
            counts: how often each symbol was seen.
            max_size: most symbols to keep, the four special ones included; None keeps all.
            min_count: symbols seen less often are left out.

        Raises:
            ConfigError: if ``max_size`` leaves no room for symbols.
            DataError: if no symbol is left.
        """
        room = None if max_size is None else max_size - len(SPECIAL_SYMBOLS)
        if room is not None and room < 1:
            raise ConfigError(f"max_size must be at least 5 (four special symbols and one more), is {max_size}.")
        kept = [(symbol, n) for symbol, n in counts.items() if n >= min_count and symbol not in SPECIAL_SYMBOLS]
        kept.sort(key=lambda item: (-item[1], item[0]))
        if not kept:
            raise DataError(
                f"the vocabulary is empty: none of {len(counts)} symbols was seen {min_count} times or more."
            )
        kept = kept[:room]
        return cls([symbol for symbol, _ in kept], [n for _, n in kept])

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read a ``dict.txt``: one ``symbol count`` per line, special symbols not listed.

        Raises:
            DataError: if the file is missing, empty, not UTF-8, or a line is malformed or repeats a symbol.
        """
        # Only "\n" ends a line: a symbol may be a character that str.splitlines() cuts at.
        lines = read_text(path, "a vocabulary").split("\n")
        if lines[-1] == "":
            lines.pop()
        symbols: list[str] = []
        counts: list[int] = []
        seen = set(SPECIAL_SYMBOLS)
        for number, line in enumerate(lines, start=1):
            symbol, count, overwrite = _parse_line(line.rstrip("\r"), f"{path}, line {number}")
            if symbol in seen and not overwrite:
                raise DataError(
                    f"{path}, line {number}: every symbol must be listed once, '{symbol}' is a special symbol or a "
                    f"repetition; remove the line, or end it with {_OVERWRITE} to let it replace the earlier one."
                )
            seen.add(symbol)
            symbols.append(symbol)
            counts.append(count)
        if not symbols:
            raise DataError(f"{path}: must list 'symbol count' lines, is empty.")
        return cls(symbols, counts)

    def save(self, path: str | Path) -> None:
        """Write the layout that :meth:`load` and fairseq read."""
        lines = []
        seen = set(SPECIAL_SYMBOLS)
        for symbol, count in zip(self._symbols[len(SPECIAL_SYMBOLS) :], self._counts, strict=True):
            lines.append(f"{symbol} {count} {_OVERWRITE}\n" if symbol in seen else f"{symbol} {count}\n")
            seen.add(symbol)
        write_text(path, "".join(lines))

    def encode(self, pieces: Iterable[str]) -> list[int]:
        """The id of each piece, ``UNK_ID`` for unknown ones. No end symbol is added."""
        get = self._ids.get
        return [get(piece, UNK_ID) for piece in pieces]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The symbol of each id; special ids give ``<s> <pad> </s> <unk>``.

        Raises:
            DataError: if an id is outside the vocabulary.
        """
        symbols = self._symbols
        size = len(symbols)
        pieces = []
        for index in ids:
            if not 0 <= index < size:
                raise DataError(f"id {index} must be in [0, {size}), the size of the vocabulary; is it the right one?")
            pieces.append(symbols[index])
        return pieces

    def __len__(self) -> int:
        return len(self._symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._symbols == other._symbols

    def __hash__(self) -> int:
        return hash(tuple(self._symbols))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} symbols)"


def _parse_line(line: str, where: str) -> tuple[str, int, bool]:
    """Symbol, count, and whether the line may repeat an earlier symbol."""
    body = line.removesuffix(" " + _OVERWRITE)
    symbol, space, count = body.rpartition(" ")
    if not space or not symbol or not (count.isascii() and count.isdigit() and len(count) < 20):
        raise DataError(f"{where}: must be 'symbol count', is '{line[:60]}'.")
    return symbol, int(count), body != line
