"""Text tables for terminals and logs."""

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable
from collections.abc import Sequence

from keras_resnets.errors import printable

# Largest number of characters of a cell, whose text may come from a file. The longest
# layer name of this package has 40.
_WIDEST = 100
# Columns of a terminal on which a table that does not fit is written row by row.
_NARROW = 60


def text_table(headers: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    """Formats rows as columns under headers; numbers are aligned right.

    Strings are made printable and cut, since names may come from a file. On a terminal of
    less than 60 columns, a table that does not fit is written row by row.
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

    columns = _columns()
    if columns is not None and columns < min(
        _NARROW, sum(widths) + 2 * len(widths) - 2
    ):
        return "\n\n".join(_record(titles, row, columns) for row in cells)
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(titles), rule, *(line(row) for row in cells)])


def _columns() -> int | None:
    """Returns the width of the terminal; None if the output is a file or a pipe."""
    if not os.environ.get("COLUMNS", "").isdecimal() and not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def _record(titles: Sequence[str], row: Sequence[str], columns: int) -> str:
    """Returns a row as lines of `title: value`, the first value as their heading."""
    lines = textwrap.wrap(row[0], columns) or ["-"]
    for title, cell in zip(titles[1:], row[1:], strict=True):
        text = f"{title}: {cell}"
        lines += textwrap.wrap(
            text, columns, initial_indent="  ", subsequent_indent="    "
        )
    return "\n".join(lines)


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
