"""Labelled pictures as they lie on disk: .npz files, folders with one a class."""

import pathlib

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.labels import indices
from keras_resnets.pictures import SUFFIXES
from keras_resnets.pictures import list_pictures


def read_npz(path, part):
    """Pictures and labels of one part of an .npz file.

    Args:
        path: of a file with uint8 pictures `x_PART` (count, height, width, 3) and
            integers `y_PART`.
        part: `"train"` or `"test"`.

    Returns:
        (pictures, labels): the labels are of shape (count,).

    Raises:
        InvalidArgument: no such file, or other arrays.
    """
    x, y = f"x_{part}", f"y_{part}"
    try:
        with np.load(path) as file:
            pictures, labels = file[x], np.ravel(file[y])
    except (KeyError, ValueError, OSError, EOFError) as error:
        raise InvalidArgument(f"{path} must hold arrays {x} and {y}: {error}") from None
    check_arrays(pictures, labels, x, y)
    return pictures, labels


def check_arrays(pictures, labels, x="x", y="y"):
    """Raises `InvalidArgument` unless these are labelled RGB pictures."""
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8:
        raise InvalidArgument(
            f"{x} must be uint8 of shape (count, height, width, 3); got "
            f"{pictures.dtype} {pictures.shape}"
        )
    if len(labels) != len(pictures) or not len(labels) or labels.dtype.kind not in "iu":
        raise InvalidArgument(
            f"{y} must be one integer a picture; got {labels.dtype} of "
            f"{len(labels)} for {len(pictures)} pictures"
        )


def class_folders(folder):
    """The names of the sub-folders of a folder, sorted; hidden ones are none."""
    return sorted(
        entry.name
        for entry in pathlib.Path(folder).iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )


def labelled_files(folder, names=()):
    """The pictures of a folder with one sub-folder a class.

    Args:
        folder: the folder.
        names: (id, name) of each class of the model. Sub-folders are the classes of
            their names where all are among these, and else classes by sorting.

    Returns:
        A list of (path, class), sorted by sub-folder and path.

    Raises:
        InvalidArgument: no pictures.
    """
    folder = pathlib.Path(folder)
    classes = indices(class_folders(folder), names)
    found = [
        (path, classes[name])
        for name in sorted(classes)
        for path in list_pictures(folder / name)
    ]
    if not found:
        raise InvalidArgument(
            f"{folder} must hold a sub-folder a class with pictures "
            f"({', '.join(SUFFIXES)}); found {len(classes)} sub-folders"
        )
    return found
