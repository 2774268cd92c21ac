"""Listings of folders with one sub-folder per class."""

import os
import pathlib
import typing
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images import labels
from keras_resnets.images.datasets import channel_listing
from keras_resnets.images.datasets.encoded import stretches_of
from keras_resnets.images.datasets.listing import FileListing
from keras_resnets.images.files import ARRAYS
from keras_resnets.images.folders import ANNOTATIONS
from keras_resnets.images.folders import class_folders
from keras_resnets.images.folders import labelled_files
from keras_resnets.io.untrusted import read_text

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Split


def names_of(folder: pathlib.Path) -> tuple[typing.Any, ...]:
    """Returns (id, name) of each sub-folder, sorted; names of WordNet ids are known."""
    wordnet_names = dict(labels.label_set("imagenet"))
    return tuple(
        (name, wordnet_names.get(name, name)) for name in class_folders(folder)
    )


def list_folder(
    folder: pathlib.Path,
    names: Sequence[typing.Any] | None,
    part: str | None = None,
    channels: int | None = None,
) -> FileListing:
    """Returns the `FileListing` of one folder.

    Args:
        folder: a folder with one sub-folder per class.
        names: (id, name) of each class; see `labels.indices`.
        part: the part of the data that it holds, for messages.
        channels: channels of the network; None to use those of the images.

    Raises:
        InvalidArgument: there are no images, or a sub-folder is not a class.
    """
    folder = pathlib.Path(folder)
    where = f"the sub-folders of {printable(str(folder))}" + (
        f" ({part})" if part else ""
    )
    if (folder / ANNOTATIONS).is_file():
        return _annotated(folder, names, printable(str(folder / ANNOTATIONS)))
    channels = channel_listing.channels_of(folder, channels)
    kinds = () if channels is None else ARRAYS
    files, notes = labelled_files(folder, names, where, kinds)
    relative, places = stretches_of(folder, [path for path, _ in files])
    own = np.array([label for _, label in files], "int64")
    content = ("files", str(folder), relative, places, relative, own, notes)
    if channels is not None:
        return channel_listing.ChannelListing(*content, channels=channels)
    return FileListing(*content)


def _annotated(
    folder: pathlib.Path, names: Sequence[typing.Any] | None, where: str
) -> FileListing:
    """Returns the listing of images whose classes are in a file of lines, with tabs.

    The first cells are the name of an image and its class.
    """
    what = "lines of the name of an image and its class, with a tab between them"
    text = read_text(folder / ANNOTATIONS, what)
    cells = [line.split("\t") for line in text.splitlines() if line.strip()]
    if not cells or any(len(row) < 2 for row in cells):
        raise InvalidArgument(f"{where} must be {what}")
    indices, note = labels.indices(
        sorted({row[1] for row in cells}), tuple(names or ()), f"the classes of {where}"
    )
    around = [folder, *(folder / inner for inner in class_folders(folder))]
    paths = []
    for name in (row[0] for row in cells):
        tried = [place / name for place in around if os.path.basename(name) == name]
        there = next((path for path in tried if path.is_file()), None)
        if there is None:
            raise InvalidArgument(
                f"every image of {where} must be in its folder or a sub-folder; "
                f"{printable(name, 60)} is not"
            )
        paths.append(there)
    relative, places = stretches_of(folder, paths)
    own = np.array([indices[row[1]] for row in cells], "int64")
    notes = (note,) if note else ()
    return FileListing("files", str(folder), relative, places, relative, own, notes)


def check_no_class_is_empty(folder: str, split: "Split") -> None:
    """Raises `InvalidArgument` if a class has no image in the folder's `Split`."""
    left = {pathlib.Path(split.images.name(index)).parts[0] for index in split.indices}
    empty = sorted(set(class_folders(folder)) - left)
    if empty:
        raise InvalidArgument(
            f"every sub-folder of {printable(folder)} is a class and must contain a "
            f"readable image; {len(empty)} contain none: {some(empty)}"
        )
