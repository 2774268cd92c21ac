"""Reads CSV files with the class of each image, or with several labels per image.

Two layouts are recognized: one column per label with 0 or 1 (Kaggle's), or a single
column: of the class, or of labels with a separator between them (fastai's, and that of
Keras' `flow_from_dataframe`).
"""

import dataclasses
import pathlib
import re
import unicodedata
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import counted
from keras_resnets.errors import nearest
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images import files as image_files
from keras_resnets.images.datasets.csv_cells import JSON_LINES
from keras_resnets.images.datasets.csv_cells import LISTS
from keras_resnets.images.datasets.csv_cells import read_cells
from keras_resnets.images.folders import part_called

SUFFIXES = (".csv", ".tsv", JSON_LINES, LISTS)
FORM = (
    "a CSV file with a column of file names, and a column of 0 and 1 for each label or "
    "one column of labels"
)
# The names of columns, ignoring case.
_FILES = tuple(
    "filename file_name file fname image image_name image_id imageid img name path "
    "filepath file_path image_path id".split()
)
_LABELS = ("labels", "label", "tags", "tag", "classes", "class", "labelname")
# Those of them that may have several words in a cell, as labels of their own.
_MANY = ("labels", "tags")
# With one class per image, also these.
_CLASSES = ("class_name", "label_name", "target", "category", "diagnosis", "dx")
# Without one of these, also numbers.
_NUMBERS = ("classid", "class_id", "labelid", "label_id")
_PARTS = ("split", "subset", "partition", "set")
_HELD_OUT = ("is_valid", "is_val", "is_validation")
# The first of these in a cell separates its labels; otherwise a space does.
_SEPARATORS = "|;,"
_SEVERAL = "give --multi-label (multi_label=True) if an image may have several labels"
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a CSV file of labels.

    Attributes:
        path: the file.
        names: names of the labels.
        files: name of each image, as in the file.
        lines: line number of each image.
        labels: uint8 array (count, labels) of 0 and 1; with one class per image int64
            (count,), indices of `names`.
        parts: part of each image, such as `"train"`; None without such a column.
        columns: names of the columns of labels.
        notes: lines about how the file was read.
    """

    path: pathlib.Path
    names: tuple[str, ...]
    files: list[str]
    lines: list[int]
    labels: np.ndarray
    parts: list[str] | None
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read(path: pathlib.Path, names: Sequence[str] | None = ()) -> Rows:
    """Reads a CSV file of images and labels.

    Args:
        path: see `csv_cells.read_cells`.
        names: names of the labels, in the order of the result; () for those of the
            file: columns in their order, the labels of a single column sorted. None
            for one class per image: `names` are then those of the file, sorted, or by
            number if all are numbers.

    Raises:
        InvalidArgument: the file has another layout; a cell is neither 0 nor 1; a
            label is not in `names`; two lines give an image different labels; or an
            image does not have one class.
    """
    head, lines = read_cells(path, FORM)
    where = printable(str(path))
    plain = [cell.strip().casefold() for cell in head]
    files, split, held, rest = _places(head)
    if any(re.fullmatch(r"pixel_?\d+", cell) for cell in plain):
        raise InvalidArgument(
            f"{where} must be {FORM}; it holds pixels: write them to an .npz file with "
            "x_train, uint8 of shape (count, height, width, 3), and y_train"
        )
    if not rest:
        raise InvalidArgument(f"{where} must be {FORM}; it has no label column")
    if pathlib.Path(head[files]).suffix.lower() in image_files.suffixes():
        raise InvalidArgument(
            f"the first line of {where} must name the columns, such as file,labels; it has "
            f"the image {printable(head[files], 60)!r}"
        )
    texts = [n for n in rest if plain[n] in _LABELS]
    is_binary = [
        all(row[n].casefold() in (*_YES, *_NO, "") for _, row in lines) for n in rest
    ]
    notes: tuple[str, ...] = ()
    if len(rest) == 1 and not all(is_binary):
        texts = rest
    used = rest
    if names is None:
        used = _class_places(head, rest)
        own, labels, notes = _classes(head, lines, rest, used, where, all(is_binary))
    elif texts and not any(is_binary):
        used = texts[:1]
        own, labels, notes = _separated(lines, texts[0], where, names)
    else:
        own, labels = _columns(head, lines, rest, where, names)
    rows = Rows(
        path,
        own,
        [row[files] for _, row in lines],
        [number for number, _ in lines],
        labels,
        _parts(lines, split, held, where),
        tuple(head[n] for n in used),
        notes,
    )
    may_join = names is not None and bool(texts) and not any(is_binary)
    return _once(rows, where, may_join)


def has_labels(path: pathlib.Path, columns: Sequence[str] = ()) -> bool:
    """Returns whether a table tells labels; those of a competition's test images do not.

    Args:
        path: see `read`.
        columns: columns of labels of the table of the training images, if known.
    """
    head, lines = read_cells(path, FORM)
    rest = _places(head)[3]
    filled = {head[n].casefold() for n in rest if any(row[n] for _, row in lines)}
    known = {*(x.casefold() for x in columns), *_LABELS, *_CLASSES, *_NUMBERS}
    return bool(filled & known if columns else filled)


def file_cells(head: list[str], lines: list[tuple[int, list[str]]]) -> list[str]:
    """Returns the cells of the column of files of a table."""
    files = _places(head)[0]
    return [row[files] for _, row in lines]


def _places(head: list[str]) -> tuple[int, int | None, int | None, list[int]]:
    """Returns the columns of files, of splits, of held-out images, and all others."""
    plain = [cell.strip().casefold() for cell in head]
    files = next((plain.index(word) for word in _FILES if word in plain), 0)
    split = next((plain.index(word) for word in _PARTS if word in plain), None)
    held = next((plain.index(word) for word in _HELD_OUT if word in plain), None)
    rest = [n for n in range(len(head)) if n not in (files, split, held)]
    return files, split, held, rest


def _class_places(head: list[str], places: list[int]) -> list[int]:
    """Returns the column of classes; all `places` without a single one."""
    for words in ((*_LABELS, *_CLASSES), _NUMBERS):
        called = [n for n in places if head[n].casefold() in words]
        if called:
            return called[:1]
    return places


def _columns(
    head: list[str],
    lines: list[tuple[int, list[str]]],
    places: list[int],
    where: str,
    names: Sequence[str],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns (names, labels) of a file with one column per label."""
    own = [head[n] for n in places]
    if names:
        columns_by_name = {_key(name): n for name, n in zip(own, places, strict=True)}
        missing = [name for name in names if _key(name) not in columns_by_name]
        if missing:
            raise InvalidArgument(
                f"{where} must have a column for each of the {len(names)} labels; "
                f"missing: {some(missing, longest=60)}"
            )
        unknown = [name for name in own if _key(name) not in set(map(_key, names))]
        _check_known(unknown, names, where)
        own, places = list(names), [columns_by_name[_key(name)] for name in names]
    labels = np.zeros((len(lines), len(places)), "uint8")
    for index, (number, row) in enumerate(lines):
        for column, n in enumerate(places):
            cell = row[n].casefold()
            if cell in _YES:
                labels[index, column] = 1
            elif cell not in _NO:
                said = repr(printable(row[n], 60)) if cell else "an empty cell"
                raise InvalidArgument(
                    f"a label column must contain 0 or 1; {printable(head[n], 60)} in "
                    f"line {number} of {where} has {said}"
                )
    return tuple(own), labels


def _classes(
    head: list[str],
    lines: list[tuple[int, list[str]]],
    places: list[int],
    used: list[int],
    where: str,
    is_binary: bool,
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Returns (names, classes, notes) of a file with one class per image."""
    if len(used) == 1:
        return _class_column(head, lines, places, used[0], where)
    if not is_binary:
        raise InvalidArgument(
            f"{where} must have a column called label or class, or a column of 0 and 1 "
            f"for each class; it has {some(head, longest=60)}"
        )
    own, labels = _columns(head, lines, places, where, ())
    counts = labels.sum(axis=1, dtype="int64")
    for (number, _), count in zip(lines, counts.tolist(), strict=True):
        if count != 1:
            raise InvalidArgument(
                f"{where} must have a 1 in one column of each line, the class of the "
                f"image; line {number} has {count}; {_SEVERAL}"
            )
    return own, labels.argmax(axis=1).astype("int64"), ()


def _class_column(
    head: list[str],
    lines: list[tuple[int, list[str]]],
    places: list[int],
    place: int,
    where: str,
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Returns (names, classes, notes) of a file whose column `place` has the classes."""
    cells = [_key(row[place]) for _, row in lines]
    if not all(cells):
        raise InvalidArgument(
            f"{where} must name the class of each image; line "
            f"{lines[cells.index('')][0]} has none; {_SEVERAL}"
        )
    names = set(cells)
    for name in sorted(names):
        mark = next((mark for mark in _SEPARATORS if mark in name), None)
        words = _stripped(name.split(mark), None)
        is_several = len(words) > 1 and names.issuperset(words)
        if is_several or name[0] + name[-1] == "[]":
            raise InvalidArgument(
                f"{where} must have one class per image; {printable(name, 60)!r} looks "
                f"like several labels; {_SEVERAL}"
            )
    is_number = all(name.isdecimal() for name in names)
    own = tuple(sorted(names, key=int if is_number else None))
    index_of = {name: index for index, name in enumerate(own)}
    ignored = [head[n] for n in places if n != place]
    notes = []
    if ignored:
        notes.append(f"{where}: only the column {printable(head[place], 60)} is used")
    words = [word for name in own for word in set(name.split())]
    several = [name for name in own if len(name.split()) > 1]
    if several and head[place].casefold() in _MANY and len(set(words)) < len(words):
        notes.append(
            f"{where}: {printable(several[0], 60)!r} is one class; {_SEVERAL}, separated "
            "by spaces"
        )
    labels = np.array([index_of[cell] for cell in cells], "int64")
    return own, labels, tuple(notes)


def _separated(
    lines: list[tuple[int, list[str]]], place: int, where: str, names: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Returns (names, labels, notes) of a file with a single column of labels."""
    cell_labels, how = _split([row[place] for _, row in lines], names)
    own = sorted({word for words in cell_labels for word in words})
    if names:
        expected = set(map(_key, names))
        _check_known([name for name in own if _key(name) not in expected], names, where)
    order = {_key(name): n for n, name in enumerate(names or own)}
    labels = np.zeros((len(lines), len(order)), "uint8")
    for index, words in enumerate(cell_labels):
        for word in words:
            labels[index, order[_key(word)]] = 1
    note = f"{where}: {how}: {some(own, longest=60)}"
    return tuple(names or own), labels, (note,)


def _split(cells: list[str], names: Sequence[str] = ()) -> tuple[list[list[str]], str]:
    """Returns (labels of each cell, a phrase that says how they are told apart)."""
    filled = [cell for cell in cells if cell]
    if filled and all(cell[0] + cell[-1] == "[]" for cell in filled):
        # A column of lists, as pandas writes it.
        words = [cell[1:-1].split(",") for cell in cells]
        return [_stripped(row, " '\"") for row in words], "cells are lists of labels"
    mark = next((mark for mark in _SEPARATORS if any(mark in x for x in cells)), None)
    known = set(map(_key, names))
    is_single = all(_key(cell) in known for cell in filled)
    if is_single or (mark is None and all(len(x.split()) == 1 for x in filled)):
        return [
            [cell] if cell else [] for cell in cells
        ], "each line has one label or none"
    how = "labels are separated by " + (
        repr(mark)
        if mark
        else "spaces (labels of several words: --labels, or | between labels)"
    )
    return [_stripped(cell.split(mark), None) for cell in cells], how


def _stripped(words: list[str], marks: str | None) -> list[str]:
    return [word.strip(marks) for word in words if word.strip(marks)]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _check_known(unknown: list[str], names: Sequence[str], where: str) -> None:
    if not unknown:
        return
    near = nearest(unknown[0][:100], list(names), count=1)
    hint = f"; did you mean {printable(near[0], 60)!r}?" if near else ""
    raise InvalidArgument(
        f"labels of {where} must be among the {len(names)}, {some(names, longest=60)}; got "
        f"{some(unknown, longest=60)}{hint}"
    )


def _parts(
    lines: list[tuple[int, list[str]]], split: int | None, held: int | None, where: str
) -> list[str] | None:
    """Returns the part of each line; None without such a column."""

    def read(number: int, cell: str) -> str:
        part = part_called(cell)
        if part is None:
            raise InvalidArgument(
                f"the split column must contain train, val or test; line {number} of "
                f"{where} has {printable(cell, 60)!r}"
            )
        return part

    def held_out(number: int, cell: str) -> str:
        if cell.casefold() not in (*_YES, *_NO):
            raise InvalidArgument(
                f"is_valid must be True or False; line {number} of {where} has "
                f"{printable(cell, 60)!r}"
            )
        return "validation" if cell.casefold() in _YES else "train"

    how: tuple[int | None, Callable[[int, str], str]]
    how = (split, read) if split is not None else (held, held_out)
    place, take = how
    return (
        None if place is None else [take(number, row[place]) for number, row in lines]
    )


def _once(rows: Rows, where: str, may_join: bool) -> Rows:
    """Returns the rows with each image once.

    In a file with a column of labels, several lines may each add labels to an image,
    as in those of Open Images.

    Raises:
        InvalidArgument: a line without a name, or contradicting lines for an image.
    """
    places: dict[str, int] = {}
    first: list[int] = []
    labels = rows.labels.copy()
    for index, name in enumerate(rows.files):
        if not name:
            raise InvalidArgument(
                f"line {rows.lines[index]} of {where} has no file name"
            )
        earlier = places.setdefault(plain(name), index)
        if earlier == index:
            first.append(index)
            continue
        if may_join:
            labels[earlier] |= labels[index]
        elif (labels[earlier] != labels[index]).any():
            raise InvalidArgument(
                f"an image must have the same labels in all lines of {where}; those of "
                f"{printable(name, 60)} differ in lines {rows.lines[earlier]} and "
                f"{rows.lines[index]}"
            )
        if rows.parts and rows.parts[earlier] != rows.parts[index]:
            raise InvalidArgument(
                f"{printable(name, 60)} is in two splits of {where}, lines "
                f"{rows.lines[earlier]} and {rows.lines[index]}"
            )
    notes = rows.notes
    if len(first) < len(rows.files):
        more = len(rows.files) - len(first)
        done = "their labels are combined" if may_join else "each is used once"
        lines = counted(more, "line")
        notes = (*notes, f"{where}: {lines} with an image of an earlier line: {done}")
    return dataclasses.replace(
        rows,
        files=[rows.files[index] for index in first],
        lines=[rows.lines[index] for index in first],
        labels=labels[first],
        parts=rows.parts and [rows.parts[index] for index in first],
        notes=notes,
    )


def plain(name: str) -> str:
    """Normalizes a file name: Unicode has two encodings of letters with accents."""
    return unicodedata.normalize("NFC", name)
