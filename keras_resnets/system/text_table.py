"""Text tables for terminals and logs."""

import unicodedata
from collections.abc import Iterable
from collections.abc import Sequence

from keras_resnets.errors import printable

# Largest number of characters of a cell, whose text may come from a file. The longest
# layer name of this package has 40.
_WIDEST = 100


def text_table(headers: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    """Formats rows as columns under headers; numbers are aligned right.

    Strings are made printable and cut, since names may come from a file.
    """
    rows = list(rows)
    cells = [[_cell(value) for value in row] for row in rows]
    titles = [_cell(header) for header in headers]
    widths = [
        max(map(width_of, (row[column] for row in [titles, *cells])))
        for column in range(len(titles))
    ]
    right = [
        all(isinstance(row[column], (int, float, type(None))) for row in rows)
        for column in range(len(titles))
    ]

    def line(row: Sequence[str]) -> str:
        parts = [
            " " * (width - width_of(cell)) + cell
            if to_right
            else cell + " " * (width - width_of(cell))
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(titles), rule, *(line(row) for row in cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value), _WIDEST)


def width_of(text: str) -> int:
    """Returns the number of columns that a printable text takes on a terminal.

    Example:
        >>> width_of("cat"), width_of("\u732b")
        (3, 2)
    """
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
