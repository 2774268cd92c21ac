"""Reads the cells of CSV files, as spreadsheets and pandas write them, and JSON lines."""

import csv
import io
import pathlib
from typing import Any

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images.files import suffixes
from keras_resnets.images.folders import part_called
from keras_resnets.io.untrusted import parse_json
from keras_resnets.io.untrusted import read_text

JSON_LINES = ".jsonl"
LISTS = ".txt"
# The largest file in bytes. The labels of Open Images' nine million images are smaller;
# as Python objects they take ten times as much memory.
_MOST = 512 << 20


def read_cells(
    path: pathlib.Path, form: str
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns (cells of the first line, (number, cells) of each other non-empty line).

    Args:
        path: a file whose first line names the columns, which commas, semicolons or tabs
            separate (without it, see `_with_head`); a .jsonl file with an object of the
            columns in each line; or a .txt file without names of columns, with a file
            name and a label in each line.
        form: the expected content, for messages, such as `"a CSV file of labels"`.

    Raises:
        InvalidArgument: the file cannot be read, has no lines, or has columns of the same
            name or without one.
    """
    where = printable(str(path))
    text = read_text(path, form, _MOST)
    if path.suffix.lower() == JSON_LINES:
        return _of_objects(text, path, form)
    if path.suffix.lower() == LISTS:
        return ["file", "label"], _of_list(text, where)
    first = next((line for line in text.splitlines() if line.strip()), "")
    mark = max("\t;,", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        rows = [
            (reader.line_num, [cell.strip() for cell in row])
            for row in reader
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise InvalidArgument(f"{where} must be {form}: {first_line(error)}") from None
    rows = _with_head(rows)
    if len(rows) < 2:
        raise InvalidArgument(
            f"{where} must be {form}; it has {'only a header' if rows else 'no lines'}"
        )
    (_, head), *lines = _without_nameless(rows)
    twice = sorted({cell for cell in head if head.count(cell) > 1})
    if twice or "" in head:
        what = f"{some(twice)} twice" if any(twice) else "a column without a name"
        raise InvalidArgument(
            f"the columns of {where} must have different names; it has {what}"
        )
    for number, row in lines:
        if len(row) > len(head):
            raise InvalidArgument(
                f"{where} has {len(head)} columns; line {number} has {len(row)}: put "
                "quotes around a cell that contains the separator"
            )
    return head, [(n, [*row, *[""] * (len(head) - len(row))]) for n, row in lines]


def _with_head(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Returns rows with names of the columns, if an image in the first tells them.

    They are an image and its label in any order, or the part, the image and the label,
    as in the files of Vertex AI.
    """
    first = rows[0][1] if rows else []
    images = [cell.lower().endswith(suffixes()) for cell in first]
    names: list[str] = []
    if images in ([True, False], [False, True]):
        names = ["file", "label"] if images[0] else ["label", "file"]
    elif images == [False, True, False] and part_called(first[0]):
        names = ["split", "file", "label"]
    return [(0, names), *rows] if names else rows


def _of_list(text: str, where: str) -> list[tuple[int, list[str]]]:
    """Returns (number, [file name, label]) of each line of a list, as Caffe's."""
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise InvalidArgument(
            f"{where} must have a file name and a label in each line; it has no lines"
        )
    # File names may contain spaces.
    mark = next((mark for mark in ("\t", " ") if mark in lines[0][1]), ",")
    rows = []
    for number, line in lines:
        name, between, label = line.rpartition(mark)
        if not between:
            raise InvalidArgument(
                f"{where} must have a file name and a label in each line; line {number} "
                f"has {printable(line, 60)!r}"
            )
        rows.append((number, [name.strip(), label.strip()]))
    return rows


def _of_objects(
    text: str, path: pathlib.Path, form: str
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns what `read_cells` does, of a file of JSON lines."""
    where = printable(str(path))
    numbered = [
        (number, parse_json(line, path, form))
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    for number, row in numbered:
        if not isinstance(row, dict):
            raise InvalidArgument(
                f"{where} must have an object in each line; line {number} has none"
            )
    if not numbered:
        raise InvalidArgument(f"{where} must be {form}; it has no lines")
    head = list(dict.fromkeys(name for _, row in numbered for name in row))
    # Objects, such as boxes, are no labels.
    head = [
        name
        for name in head
        if not any(isinstance(row.get(name), dict) for _, row in numbered)
    ]
    return head, [(n, [_cell(row.get(name)) for name in head]) for n, row in numbered]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value).strip()


def _without_nameless(
    rows: list[tuple[int, list[str]]],
) -> list[tuple[int, list[str]]]:
    """Returns rows without columns that have no name because they hold nothing.

    These are columns of empty cells, and the first one if it numbers the rows, as pandas
    writes its index.
    """

    def holds_nothing(place: int) -> bool:
        cells = [row[place] for _, row in rows[1:] if place < len(row)]
        is_index = place == 0 and all(cell.isdecimal() for cell in cells)
        return not rows[0][1][place] and (is_index or not any(cells))

    out = {place for place in range(len(rows[0][1])) if holds_nothing(place)}
    return [
        (number, [cell for place, cell in enumerate(row) if place not in out])
        for number, row in rows
    ]
