"""Images whose classes are in their file names, such as `cat.0.jpg`.

Docs: `docs/training.md`, "Classes in file names".
"""

import pathlib
import re

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.images import folders
from keras_resnets.images.files import is_hidden
from keras_resnets.images.files import suffixes

# The class in front of the number, as in cat.0, Abyssinian_12 and dog (3).
_NUMBERED = re.compile(r"(.*[^\W\d_])[\s._-]*\(?\d+\)?")
_FEWEST = 2


def refuse_names_as_classes(folder: pathlib.Path) -> None:
    """Raises `InvalidArgument` if only the file names of images can tell their classes.

    That is the case if no sub-folder can be a class, every file name ends in a number,
    and there are at least two different beginnings, each of at least two images.

    Args:
        folder: a folder of images to train on, or one that has them in its training
            split or in its only sub-folder.
    """
    place = _place(folder)
    if place is None:
        return
    by_class: dict[str, list[str]] = {}
    for entry in place.iterdir():
        if entry.suffix.lower() not in suffixes() or is_hidden(entry.name):
            continue
        found = _NUMBERED.fullmatch(entry.stem)
        if found is None:
            return
        by_class.setdefault(found[1], []).append(entry.name)
    few = any(len(names) < _FEWEST for names in by_class.values())
    if len(by_class) < _FEWEST or few:
        return
    first, *_, last = (min(by_class[name]) for name in sorted(by_class))
    raise InvalidArgument(
        f"each class of {printable(str(place))} must be a sub-folder or be named in a "
        f"CSV file; its images have names such as {printable(first)} and "
        f"{printable(last)}: if they begin with the class, docs/training.md "
        "(Classes in file names) shows how to write that file"
    )


def _place(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns where the images are if no sub-folder can be a class, or None."""
    inside = folders.class_folders(folder)
    train = [name for name in inside if folders.part_called(name) == "train"]
    within = train or inside
    if len(within) > 1:
        return None
    place = folder / within[0] if within else folder
    return None if folders.class_folders(place) else place
