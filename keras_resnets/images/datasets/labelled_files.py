"""Finds the images that tables of labels name, by part."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import counted
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images.datasets import label_tables
from keras_resnets.images.datasets import table_files
from keras_resnets.images.datasets.listing import FileListing
from keras_resnets.images.datasets.opened import Opened
from keras_resnets.images.files import is_hidden
from keras_resnets.images.files import suffixes
from keras_resnets.images.folders import PARTS
from keras_resnets.images.folders import part_called
from keras_resnets.images.labels import class_names
from keras_resnets.images.labels import indices


def open_tables(
    path: pathlib.Path,
    classes: Sequence[tuple[str, str]] | None,
    part: str | None,
    multi_label: bool,
) -> Opened:
    """Opens CSV files of labels, see `table_files.tables_of`.

    Args:
        path: a CSV file, or a folder with such files.
        classes: (id, name) of each class; None or () if they are not known.
        part: the part to open; None for all.
        multi_label: whether an image may have none, one or several of the labels.

    Raises:
        InvalidArgument: there is no such file, or see `list_tables`.
    """
    tables = table_files.tables_of(path)
    if not tables:
        raise InvalidArgument(
            f"data with several labels per image must be {label_tables.FORM}, a folder "
            "with such a file, or an .npz file with y of 0 and 1, one column per label; "
            f"got {printable(str(path))!r}"
        )
    notes: tuple[str, ...] = ()
    test = tables.get("test") if part == "test" else None
    if test and len(tables) > 1 and not label_tables.has_labels(test):
        if "validation" not in tables:
            raise InvalidArgument(
                f"{path.name} must contain a labelled test split; {test.name} has no "
                f"labels: give {printable(str(tables['train']))} to use its images"
            )
        part, notes = "validation", (_unlabelled_note(test),)
    if part is not None:
        fits = part if part in tables or part == "train" else "validation"
        tables = {fits: tables[fits]} if fits in tables else tables
    names, listings = list_tables(tables, classes or (), part or "train", multi_label)
    if multi_label and classes and len(classes) != len(names):
        raise InvalidArgument(
            f"{path.name} must have the {len(classes)} labels of the network; it has "
            f"{len(names)}"
        )
    opened = Opened(path.name, names, notes)
    for name in (name for name in PARTS if name in listings):
        listing = listings[name]
        sizes = listing.places[:, 2]
        files = zip(listing.files, sizes, strict=True)
        listed = "\n".join(f"{file} {size}" for file, size in files)
        opened.add(name, listing, listed, np.ascontiguousarray(listing.labels))
    return opened


def list_tables(
    tables: dict[str, pathlib.Path],
    given: Sequence[tuple[str, str]] = (),
    alone: str = "train",
    multi_label: bool = True,
) -> tuple[tuple[tuple[str, str], ...], dict[str, FileListing]]:
    """Returns the labels, and a `FileListing` of each part, of CSV files.

    Args:
        tables: CSV files by part, see `table_files.tables_of`.
        given: (id, name) of each label, if known; () for those of the first file.
            `labels.class_names(count)`, which are none, count as not known.
        alone: the part of a file that does not tell it.
        multi_label: see `open_tables`.

    Returns:
        ((id, name) of each label, listings by part).

    Raises:
        InvalidArgument: a file is not a table of labels, or its images are missing.
    """
    named = () if given == class_names(len(given)) else tuple(given)
    names = tuple(name for _, name in named)
    pairs = tuple(given)
    listings: dict[str, FileListing] = {}
    columns: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    finder = _Finder()
    for part, path in sorted(tables.items(), key=lambda item: item[0] != "train"):
        is_test = part == "test" and listings
        if is_test and not label_tables.has_labels(path, columns):
            skipped = (_unlabelled_note(path),)
            continue
        rows = label_tables.read(path, names if multi_label else None)
        if multi_label:
            names = names or rows.names
        else:
            pairs = pairs or tuple((name, name) for name in rows.names)
            rows = _with_classes(rows, pairs)
        columns = columns or rows.columns
        listing = _listing(rows, finder, part)
        if rows.parts is None or part:
            listings[part or alone] = listing
            continue
        for name in dict.fromkeys(rows.parts):
            chosen = [index for index, own in enumerate(rows.parts) if own == name]
            listings[name] = _some_of(listing, chosen)
    first = next(iter(listings))
    notes = (*listings[first].notes, *skipped, *_unlisted_notes(finder))
    listings[first] = dataclasses.replace(listings[first], notes=notes)
    if multi_label:
        pairs = named or tuple((name, name) for name in names)
    return pairs, listings


def _unlabelled_note(path: pathlib.Path) -> str:
    return f"{printable(str(path))} is ignored: it has no labels"


def _unlisted_notes(finder: "_Finder") -> tuple[str, ...]:
    unlisted = finder.unlisted()
    if not unlisted:
        return ()
    are = "is" if len(unlisted) == 1 else "are"
    return (
        f"{counted(len(unlisted), 'image')} {are} not in the CSV and {are} ignored: "
        f"{some(unlisted)}",
    )


def _with_classes(
    rows: label_tables.Rows, classes: tuple[tuple[str, str], ...]
) -> label_tables.Rows:
    """Returns rows whose labels are indices of `classes` instead of `rows.names`."""
    where = f"the classes of {printable(str(rows.path))}"
    numbers = all(name.isdecimal() for name in rows.names)
    if numbers and classes == class_names(len(classes)):
        index_of, note = {name: int(name) for name in rows.names}, None
    else:
        index_of, note = indices(list(rows.names), classes, where)
    by_own = np.array([index_of[name] for name in rows.names], "int64")
    notes = (*rows.notes, note) if note else rows.notes
    return dataclasses.replace(rows, labels=by_own[rows.labels], notes=notes)


def _some_of(listing: FileListing, chosen: list[int]) -> FileListing:
    return dataclasses.replace(
        listing,
        files=[listing.files[index] for index in chosen],
        names=[listing.names[index] for index in chosen],
        places=_places([listing.places[index, 2] for index in chosen]),
        labels=listing.labels[chosen],
    )


def _places(lengths: Sequence[int]) -> np.ndarray:
    places = np.zeros((len(lengths), 3), "int64")
    places[:, 0], places[:, 2] = np.arange(len(lengths)), lengths
    return places


def _listing(rows: label_tables.Rows, finder: "_Finder", part: str) -> FileListing:
    root = rows.path.parent
    paths = [finder.find(root, name, part) for name in rows.files]
    missing = [
        f"{printable(name, 60)} (line {line})"
        for name, line, path in zip(rows.files, rows.lines, paths, strict=True)
        if path is None
    ]
    where = printable(str(rows.path))
    if missing:
        raise InvalidArgument(
            f"every image of {where} must be in its folder or a sub-folder; "
            f"{len(missing):,} of {len(paths):,} are not: {some(missing)}"
        )
    whole = [path for path in paths if path is not None]
    names = [os.path.relpath(path, root) for path in whole]
    lengths = [os.stat(path).st_size for path in whole]
    return FileListing(
        "files", str(root), names, _places(lengths), names, rows.labels, rows.notes
    )


class _Finder:
    """Finds images by their names in a table, by path or anywhere in the folder."""

    def __init__(self) -> None:
        self._index: dict[pathlib.Path, dict[str, list[str]]] = {}
        self._listed: dict[str, set[str]] = {}

    def find(self, root: pathlib.Path, name: str, part: str) -> str | None:
        """Returns the path of an image, or None.

        Args:
            root: folder of the table.
            name: name in the table, with or without the suffix of the file.
            part: the part that the name of the table tells; `""` for none.
        """
        for said in dict.fromkeys((name, name.replace("\\", "/"))):
            path = os.path.join(root, said)
            if os.path.isfile(path):
                return self._found(path)
        if root not in self._index:
            self._index[root] = _indexed(root)
        said = label_tables.plain(name.replace("\\", "/"))
        tail = said.rpartition("/")[2]
        for key in (tail, f"{tail}."):
            candidates = self._index[root].get(key, [])
            # Of several images of this name, the one whose folder is named too.
            within = [
                path for path in candidates if _ends(path, said, key.endswith("."))
            ]
            if len(within or candidates) > 1:
                # A competition has train/1.png and test/1.png.
                same = [path for path in within or candidates if _is_in(path, part)]
                within = same or within
            if len(within or candidates) == 1:
                return self._found(os.path.join(root, (within or candidates)[0]))
            if candidates:
                raise InvalidArgument(
                    f"{printable(name, 60)} matches {len(candidates)} images, "
                    f"{some(sorted(candidates))}: add the folder to its name"
                )
        return None

    def _found(self, path: str) -> str:
        folder, name = os.path.split(path)
        self._listed.setdefault(folder, set()).add(label_tables.plain(name))
        return path

    def unlisted(self) -> list[str]:
        """Returns images next to those found that no table names."""
        return [
            name
            for folder, names in self._listed.items()
            for name in sorted(os.listdir(folder))
            if name.lower().endswith(suffixes())
            and not is_hidden(name)
            and label_tables.plain(name) not in names
        ]


def _is_in(path: str, part: str) -> bool:
    """Returns whether a folder of a relative path has the name of a part."""
    return part in map(part_called, pathlib.PurePosixPath(path).parts[:-1])


def _ends(path: str, name: str, bare: bool) -> bool:
    """Returns whether a path ends in a name; `bare`: in a name without the suffix."""
    path = os.path.splitext(path)[0] if bare else path
    return f"/{label_tables.plain(path)}".endswith(f"/{name}")


def _indexed(root: pathlib.Path) -> dict[str, list[str]]:
    """Returns the images in a folder by name, with and without the suffix."""
    index: dict[str, list[str]] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            if is_hidden(name) or not name.lower().endswith(suffixes()):
                continue
            path = os.path.relpath(os.path.join(folder, name), root).replace(
                os.sep, "/"
            )
            plain = label_tables.plain(name)
            for key in (plain, f"{os.path.splitext(plain)[0]}."):
                index.setdefault(key, []).append(path)
    return index
