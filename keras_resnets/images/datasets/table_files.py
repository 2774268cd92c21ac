"""Which files of a folder are its tables of labels, and whether its folders agree."""

import os
import pathlib
import re

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images import folders
from keras_resnets.images.datasets import label_tables
from keras_resnets.images.datasets.csv_cells import JSON_LINES
from keras_resnets.images.datasets.csv_cells import LISTS
from keras_resnets.images.datasets.csv_cells import read_cells
from keras_resnets.images.files import is_hidden
from keras_resnets.images.files import refuse_unreadable
from keras_resnets.images.files import suffixes
from keras_resnets.images.folders import part_called

# What names of tables also contain, as in trainLabels.csv and train_classes.csv.
_BESIDES = re.compile(
    r"[-_ ]?(?:labels?|classes|annotations?|metadata|info|list)$", re.IGNORECASE
)
# The form in which a competition expects predictions: sample_submission.csv.
_SUBMISSION = "submi"
# What names of folders contain that hold the images of a large data set in turn.
_STORAGE = re.compile(r"part|image|img|photo|picture|batch|chunk|data|vol|set")
# Bytes of the largest table that is compared with folders: a million labels take less.
_MOST = 64 << 20


def beside_classes(path: pathlib.Path) -> tuple[str, ...] | None:
    """Compares the tables of a folder with its sub-folders.

    Tables tell the labels if the sub-folders are no classes, if only a table tells those
    of the images of a split, or if a table names the images of numbered folders, such as
    images_part_1 and images_part_2.

    Returns:
        None if tables tell the labels. If sub-folders do, lines about tables that name
        their images and are not read.

    Raises:
        InvalidArgument: see `tables_of`.
    """
    if not folders.has_classes(path):
        return None if tables_of(path) else ()
    parts = _by_part(_inside(path))
    more = {*parts} - {*folders.parts_of(path)[0]} if "train" in parts else set()
    if any(_is_labelled(parts["train"], parts[part]) for part in more - {"train"}):
        return None
    naming = _with_folders(path)
    if any(map(_are_numbered, naming.values())):
        return None
    return tuple(
        f"{printable(str(table))} names the images and is not read: the folders are the "
        "classes; give its path to use its labels"
        for table in naming
    )


def _are_numbered(names: set[str]) -> bool:
    """Whether names of folders, such as images_001 and images_002, are those of storage."""
    plain = {re.sub(r"\d+", "", name).casefold() for name in names}
    return len(plain) == 1 and bool(_STORAGE.search(plain.pop()))


def _is_labelled(train: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two tables have the same column of classes."""
    try:
        columns = label_tables.read(train, None).columns
        return label_tables.has_labels(other, columns)
    except InvalidArgument:
        return False


def tables_of(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the tables of labels of a source by part; a single one has the key `""`.

    Args:
        path: a table (see `label_tables.SUFFIXES`), or a folder with one, with one per
            part, such as train.csv and test.csv, or with folders of parts that have one
            each. The samples of a competition's submissions are none.

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
    inside = _inside(path)
    parts = _by_part(inside)
    if "train" in parts:
        return parts
    if len(inside) > 1:
        raise InvalidArgument(
            f"{printable(str(path))} contains {len(inside)} tables, "
            f"{some([entry.name for entry in inside])}: name them train.csv, val.csv and "
            "test.csv, or give the path of one"
        )
    return {"": inside[0]} if inside else _within_parts(path)


def _inside(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the tables in a folder, sorted: CSV files, or else JSON lines, or lists."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        refuse_unreadable(error)
        return []
    tables = [
        entry
        for entry in entries
        if entry.suffix.lower() in label_tables.SUFFIXES
        and not is_hidden(entry.name)
        and _SUBMISSION not in entry.name.casefold()
        and entry.is_file()
    ]
    lists = [table for table in tables if table.suffix.lower() == LISTS]
    objects = [table for table in tables if table.suffix.lower() == JSON_LINES]
    others = [table for table in tables if table not in (*lists, *objects)]
    return others or objects or [table for table in lists if _is_list(table)]


def _is_list(path: pathlib.Path) -> bool:
    """Whether a text file is a list of images and labels that tells its part."""
    if part_called(_BESIDES.sub("", path.stem)) is None:
        return False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            words = file.readline(1000).replace("\t", " ").replace(",", " ").split()
    except OSError:
        # Its reader says why.
        return True
    return len(words) > 1 and words[-2].lower().endswith(suffixes())


def _by_part(tables: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    parts: dict[str, pathlib.Path] = {}
    for table in tables:
        part = part_called(_BESIDES.sub("", table.stem))
        if part is not None and part not in parts:
            parts[part] = table
    return parts


def _within_parts(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the tables of folders that have the names of parts: train/metadata.csv."""
    found: dict[str, pathlib.Path] = {}
    for name in folders.class_folders(path):
        part = part_called(name)
        inside = _inside(path / name) if part else []
        if part and len(inside) == 1 and part not in found:
            found[part] = inside[0]
    return found if "train" in found or len(found) == 1 else {}


def _with_folders(path: pathlib.Path) -> dict[pathlib.Path, set[str]]:
    """Returns tables that name images, with the folders of these images in `path`.

    Tables that name one of the folders, as a class or in a path, are left out.
    """
    found = {}
    names = folders.class_folders(path)
    for table in _inside(path):
        if table.stat().st_size > _MOST:
            continue
        try:
            head, lines = read_cells(table, label_tables.FORM)
        except InvalidArgument:
            # It is no table of images.
            continue
        cells = {cell.casefold() for _, row in lines for cell in row}
        cells |= {part for cell in cells for part in re.split(r"[\\/]", cell)}
        if any(name.casefold() in cells for name in names):
            continue
        files = label_tables.file_cells(head, lines)
        used = _folders_named(path, names, files)
        if len(used) > 1:
            found[table] = used
    return found


def _folders_named(
    path: pathlib.Path, folder_names: list[str], files: list[str]
) -> set[str]:
    """Returns the folders in `path` most of whose images are among `files`."""
    known = {os.path.splitext(re.split(r"[\\/]", name)[-1])[0] for name in files}
    used = set()
    for name in folder_names:
        stems = [
            os.path.splitext(file)[0]
            for _, _, inside in os.walk(path / name)
            for file in inside
            if file.lower().endswith(suffixes()) and not is_hidden(file)
        ]
        if stems and sum(stem in known for stem in stems) > len(stems) / 2:
            used.add(name)
    return used
