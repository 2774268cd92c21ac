"""Finds the images that CSV files of labels name, by part."""

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
from keras_resnets.images.datasets.listing import FileListing
from keras_resnets.images.files import is_hidden
from keras_resnets.images.files import suffixes
from keras_resnets.images.folders import part_called


def tables_of(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the CSV files of a source by part; a single one has the key `""`.

    Args:
        path: a CSV file, or a folder with one, or with one per part, such as train.csv
            and test.csv.

    Returns:
        Dict from part to path; empty if there are none.

    Raises:
        InvalidArgument: there are several files, and their names are not those of
            parts.
    """
    if path.suffix.lower() in label_tables.SUFFIXES and path.is_file():
        return {"": path}
    if not path.is_dir():
        return {}
    inside = sorted(
        entry
        for entry in path.iterdir()
        if entry.suffix.lower() in label_tables.SUFFIXES and not is_hidden(entry.name)
    )
    parts: dict[str, pathlib.Path] = {}
    for entry in inside:
        part = part_called(entry.stem)
        if part is not None and part not in parts:
            parts[part] = entry
    if "train" in parts:
        return parts
    if len(inside) > 1:
        raise InvalidArgument(
            f"{printable(str(path))} contains {len(inside)} CSV files, "
            f"{some([entry.name for entry in inside])}: name them train.csv, val.csv and "
            "test.csv, or give the path of one"
        )
    return {"": inside[0]} if inside else {}


def list_tables(
    tables: dict[str, pathlib.Path],
    given: Sequence[tuple[str, str]] = (),
    alone: str = "train",
) -> tuple[tuple[tuple[str, str], ...], dict[str, FileListing]]:
    """Returns the labels, and a `FileListing` of each part, of CSV files.

    Args:
        tables: CSV files by part, see `tables_of`.
        given: (id, name) of each label, if known; () for those of the first file.
        alone: the part of a file that does not tell it.

    Returns:
        ((id, name) of each label, listings by part).

    Raises:
        InvalidArgument: a file is not a table of labels, or its images are missing.
    """
    names = tuple(name for _, name in given)
    listings: dict[str, FileListing] = {}
    finder = _Finder()
    for part, path in sorted(tables.items(), key=lambda item: item[0] != "train"):
        rows = label_tables.read(path, names)
        names = names or rows.names
        listing = _listing(rows, finder)
        if rows.parts is None or part:
            listings[part or alone] = listing
            continue
        for name in dict.fromkeys(rows.parts):
            chosen = [index for index, own in enumerate(rows.parts) if own == name]
            listings[name] = _some_of(listing, chosen)
    unlisted = finder.unlisted()
    if unlisted:
        first = next(iter(listings))
        are = "is" if len(unlisted) == 1 else "are"
        note = (
            f"{counted(len(unlisted), 'image')} {are} not in the CSV and {are} ignored: "
            f"{some(unlisted)}"
        )
        notes = (*listings[first].notes, note)
        listings[first] = dataclasses.replace(listings[first], notes=notes)
    return tuple(given) or tuple((name, name) for name in names), listings


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


def _listing(rows: label_tables.Rows, finder: "_Finder") -> FileListing:
    root = rows.path.parent
    paths = [finder.find(root, name) for name in rows.files]
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

    def find(self, root: pathlib.Path, name: str) -> str | None:
        """Returns the path of an image, or None.

        Args:
            root: folder of the table.
            name: name in the table, with or without the suffix of the file.
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
