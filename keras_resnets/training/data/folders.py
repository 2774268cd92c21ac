"""Folders of pictures with one sub-folder a class."""

import pathlib

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.labelled import class_folders
from keras_resnets.labelled import labelled_files
from keras_resnets.labels import label_set
from keras_resnets.progress import ProgressBar
from keras_resnets.training.data.encoded import examine
from keras_resnets.training.data.encoded import stretches_of
from keras_resnets.training.data.split import Split

_PARTS = {
    "train": ("train",),
    "validation": ("val", "validation", "valid"),
    "test": ("test",),
}


def parts_of(folder):
    """The folder of each part: train, val and test under `folder`, or itself."""
    folder = pathlib.Path(folder)
    found = {}
    for part, names in _PARTS.items():
        for name in names:
            if part not in found and (folder / name).is_dir():
                found[part] = folder / name
    if "train" not in found or not class_folders(found["train"]):
        # A class may be called so.
        return {"train": folder}
    return found


def names_of(folder):
    """(id, name) of each sub-folder, in sorted order; WordNet ids have their names."""
    known = dict(label_set("imagenet"))
    return tuple((name, known.get(name, name)) for name in class_folders(folder))


def open_folder(folder, names):
    """A `Split` of one folder.

    Args:
        folder: holds a sub-folder a class.
        names: (id, name) of each class; sub-folders are the classes of their names
            where all are among these, and else classes by sorting.

    Raises:
        InvalidArgument: no pictures at all or in one of the sub-folders, or more than
            one in a hundred that is broken.
    """
    files = labelled_files(folder, names)
    paths, labels = [path for path, _ in files], np.array([label for _, label in files])
    folder = pathlib.Path(folder)
    relative, places = stretches_of(folder, paths)
    bar = ProgressBar(len(paths), "pictures looked at")
    pictures, whole, broken = examine(
        "files", str(folder), relative, places, relative, bar
    )
    bar.close()
    left = {pathlib.Path(relative[index]).parts[0] for index in np.flatnonzero(whole)}
    empty = sorted(set(class_folders(folder)) - left)
    if empty:
        raise InvalidArgument(
            f"every sub-folder of {folder} is a class and must hold a readable "
            f"picture; {len(empty)} hold none: {', '.join(empty[:3])}"
        )
    split = Split(labels.astype("int64"), pictures, np.arange(len(labels)), broken)
    return split.part(whole)


def check_classes(folder, names, part):
    """Raises `InvalidArgument` where a part has a class that is not among `names`."""
    known = {word for pair in names for word in pair}
    unknown = [name for name in class_folders(folder) if name not in known]
    if unknown:
        raise InvalidArgument(
            f"the sub-folders of {folder} ({part}) must be among the {len(names)} "
            f"classes; not among them: {', '.join(unknown[:3])}"
        )
