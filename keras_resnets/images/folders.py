"""Folders of images: which sub-folders are classes, and which are splits of the data.

Training, evaluation, quantization and the comparison of files read folders by the same
rules.
"""

import os
import pathlib
import re
import typing
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import counted
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images import labels
from keras_resnets.images.files import NPY
from keras_resnets.images.files import is_hidden
from keras_resnets.images.files import others_note
from keras_resnets.images.files import refuse_unreadable
from keras_resnets.images.files import scan
from keras_resnets.images.files import skipped_note
from keras_resnets.images.files import suffixes

# Split -> names of its folders and arrays, in any case.
PARTS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "tst"),
}
# Words that such names may also contain, as in training_set, test_images and val2017.
_BESIDES = r"(?:set|data|dataset|images?|imgs?|split|photos|pictures)"
# Folders beside the images of a segmentation data set, which are not classes.
_ANSWERS = re.compile(
    r"(?:mask|label|annotation|segmentation|ground[-_ ]?truth|gt)s?(?:[-_ ].*)?"
)
_IMAGES = re.compile(r"(?:image|img|photo|picture|input)s?(?:[-_ ].*)?")
# The validation images of Tiny ImageNet are in one folder, and their classes in this file.
ANNOTATIONS = "val_annotations.txt"
# Files without a suffix that are no images.
_TEXTS = ("license", "licence", "readme", "copying", "notice", "authors", "changelog")


def part_called(name: str) -> str | None:
    """Returns the split that a name stands for: `"train"` for `"Training_Set"`, or None.

    Args:
        name: name of a folder or an array.
    """
    plain = re.sub(r"[^a-z]+", "_", name.casefold()).strip("_")
    for part, words in PARTS.items():
        for word in words:
            if re.fullmatch(rf"(?:{_BESIDES}_)*{word}(?:_?{_BESIDES})*", plain):
                return part
    return None


def class_folders(folder: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the sub-folders of a folder, sorted.

    Hidden ones are left out, and links to the folder itself or to a folder around it:
    each would be a class of all images.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        refuse_unreadable(error)
        return []
    around = os.path.join(os.path.realpath(folder), "")
    return sorted(name for name in names if _is_inside(folder, name, around))


def _is_inside(folder: str | os.PathLike[str], name: str, around: str) -> bool:
    path = os.path.join(folder, name)
    # A link may point to itself.
    if not os.path.isdir(path):
        return False
    return not around.startswith(os.path.join(os.path.realpath(path), ""))


def _said(name: pathlib.Path | str) -> str:
    return printable(str(name))


def parts_of(
    folder: str | os.PathLike[str], names: Sequence[typing.Any] | None = ()
) -> tuple[typing.Any, ...]:
    """Returns the splits of a folder of images, by the names of its sub-folders.

    Args:
        folder: a folder with one sub-folder per class, or with splits such as train,
            val and test.
        names: (id, name) of each class if they are known; sub-folders that all have the
            name of a class are classes.

    Returns:
        (splits, notes): a dict from `"train"`, `"validation"`, `"test"` to folders, empty
        if `folder` itself contains the classes; and lines about ignored sub-folders.

    Raises:
        InvalidArgument: it is ambiguous whether sub-folders are classes or splits.
    """
    folder = pathlib.Path(folder)
    inside = class_folders(folder)
    if inside and names and labels.all_named(inside, names):
        return {}, ()
    called: dict[str | None, list[str]] = {}
    for name in inside:
        called.setdefault(part_called(name), []).append(name)
    rest = called.pop(None, [])
    holding: dict[str | None, list[str]] = {}
    for word, part_names in called.items():
        for name in part_names:
            is_one = word != "train" and _is_one_folder(folder / name)
            if not is_one and _holds_classes(folder / name):
                holding.setdefault(word, []).append(name)
    if holding and ("train" in holding or not rest):
        parts = {part: _only(folder, part, same) for part, same in holding.items()}
        for part_folder in parts.values():
            _check_one_reading(part_folder, names)
        left = [name for name in inside if folder / name not in parts.values()]
        return parts, _left_out(folder, left)
    if len(inside) > 1 and not rest:
        raise InvalidArgument(
            f"{some(inside)} in {_said(folder)} have the names of splits, which must "
            "contain one sub-folder per class; none does. Put the images of each class "
            "into a folder of its own, or rename these folders if they are the classes"
        )
    _check_one_reading(folder, names)
    return {}, ()


def has_classes(folder: pathlib.Path) -> bool:
    """Returns whether the sub-folders of a folder, or of its splits, may be classes.

    A single folder, or folders called train and test without sub-folders, hold the
    images of a table.
    """
    inside = class_folders(folder)
    rest = [name for name in inside if part_called(name) is None]
    if sum(_holds_images(folder / name, deep=True) for name in rest) > 1:
        return True
    return any(_holds_classes(folder / name) for name in inside if name not in rest)


def _only(folder: pathlib.Path, part: str | None, names: list[str]) -> pathlib.Path:
    if len(names) > 1:
        raise InvalidArgument(
            f"only one folder may contain the {part} split; {_said(folder)} has "
            f"{some(names)}: keep one, or give its path"
        )
    return folder / names[0]


def _left_out(folder: pathlib.Path, names: list[typing.Any]) -> tuple[typing.Any, ...]:
    holding = [name for name in names if _holds_images(folder / name, deep=True)]
    if not holding:
        return ()
    one = len(holding) == 1
    return (
        f"{some(holding)} in {_said(folder)} {'is' if one else 'are'} ignored: "
        f"{'its name is not that' if one else 'their names are not those'} of a split "
        f"(train, val, test), or {'it has' if one else 'they have'} no sub-folder per "
        "class",
    )


def _is_one_folder(folder: pathlib.Path) -> bool:
    """Whether a split has all its images in one folder, such as test/images."""
    inside = class_folders(folder)
    is_one = len(inside) == 1 and bool(_IMAGES.fullmatch(inside[0].casefold()))
    return is_one and not (folder / ANNOTATIONS).is_file()


def _holds_classes(folder: pathlib.Path) -> bool:
    return any(_holds_images(folder / name, True) for name in class_folders(folder))


def _holds_images(folder: pathlib.Path, deep: bool = False) -> bool:
    """Whether a folder contains an image; with `deep`, also in its sub-folders."""
    image_suffixes = {*suffixes(), NPY}
    for _, folders, files in os.walk(folder, onerror=refuse_unreadable):
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            may_be = suffix in image_suffixes or not suffix
            if may_be and not is_hidden(name) and name.casefold() not in _TEXTS:
                return True
        if not deep:
            return False
        folders[:] = [name for name in folders if not is_hidden(name)]
    return False


def _check_one_reading(
    folder: pathlib.Path, names: Sequence[typing.Any] | None
) -> None:
    """Raises `InvalidArgument` if sub-folders may be something else than classes."""
    inside = class_folders(folder)
    if names and labels.all_named(inside, names):
        return
    plain = [name.casefold() for name in inside]
    answers = [name for name in inside if _ANSWERS.fullmatch(name.casefold())]
    if answers and any(map(_IMAGES.fullmatch, plain)):
        raise InvalidArgument(
            f"every sub-folder of {_said(folder)} must be a class; it has {some(inside)}, "
            f"which look like images and their {_said(answers[0])}: give a folder with "
            "one sub-folder per class"
        )
    _refuse_copy(folder, inside)
    if any(_holds_images(folder / name) for name in inside):
        return
    below = {name: class_folders(folder / name) for name in inside}
    below = {name: inner_names for name, inner_names in below.items() if inner_names}
    seen = [name for inner_names in below.values() for name in inner_names]
    shared = sorted({name for name in seen if seen.count(name) > 1})
    if len(seen) == len(inside) > 1 and len(set(seen)) == 1:
        # Tiny ImageNet has n01443537/images: as splits they would have a single class.
        if _IMAGES.fullmatch(seen[0].casefold()):
            return
    if below and (shared or len(below) == 1):
        raise InvalidArgument(_two_readings(folder, below, shared))
    for name, inner_names in below.items():
        for inner in inner_names:
            if _holds_classes(folder / name / inner):
                raise InvalidArgument(_too_deep(folder, name, inner))


def _refuse_copy(folder: pathlib.Path, inside: list[str]) -> None:
    """Raises `InvalidArgument` if a class folder has the other classes in it."""
    for name in inside:
        inner = class_folders(folder / name)
        if len(inner) > 1 and {*inner} < {*inside} and not _holds_images(folder / name):
            raise InvalidArgument(
                f"every sub-folder of {_said(folder)} must be a class; {_said(name)} has "
                f"{some(inner)} in it, as {_said(folder)} itself, and may be a copy of "
                f"it: move it elsewhere, or give {_said(folder / name)}"
            )


def _too_deep(folder: pathlib.Path, name: str, inner: str) -> str:
    """Returns the message for nested splits such as seg_train/seg_train/street."""
    place = folder / name / inner
    return (
        f"{_said(folder)} must contain one sub-folder per class; the images of "
        f"{_said(name)} are nested more deeply, in {some(class_folders(place))} of "
        f"{_said(place)}: give {_said(place)} if those are the classes"
    )


def _two_readings(
    folder: pathlib.Path, below: dict[str, list[str]], shared: list[str]
) -> str:
    outer = list(below)
    inner = shared or below[outer[0]]
    if len(outer) == 1:
        return (
            f"{_said(folder)} must contain one sub-folder per class; its only sub-folder "
            f"is {some(outer)}, with {some(inner)} in it: give "
            f"{_said(folder / outer[0])} if those are the classes"
        )
    return (
        f"the sub-folders of {_said(folder)} are ambiguous: {some(outer)} may be splits, "
        f"each with the classes {some(inner)}, or classes whose images are in "
        f"{some(inner)}. If they are splits, give one of them, such as "
        f"{_said(folder / outer[0])}, or name them train, val and test; if they are "
        "classes, put the images of each class directly into its folder"
    )


def to_train_on(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the folder of the training images: the train split, or all of it."""
    try:
        parts, _ = parts_of(folder)
    except InvalidArgument:
        # Images without labels, such as those for calibration, may be in any sub-folder.
        return pathlib.Path(folder)
    return parts.get("train", pathlib.Path(folder))


def notes_of(folder: pathlib.Path, skipped: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Returns lines about a folder of images that are used without labels.

    Args:
        folder: the folder that the user gave.
        skipped: names of the files that cannot be read.
    """
    taken = to_train_on(folder)
    part = None
    if taken != pathlib.Path(folder):
        part = f"of {_said(folder)}, the images of {_said(taken.name)} are used"
    broken = skipped_note(skipped) if skipped else None
    return tuple(filter(None, (part, others_note(scan(taken)[1]), broken)))


def to_evaluate(
    folder: pathlib.Path, part: str, names: Sequence[typing.Any] | None = ()
) -> tuple[pathlib.Path, tuple[str, ...]]:
    """Returns the folder of one split of the data.

    Args:
        folder: see `parts_of`.
        part: `"test"` (the validation images if there is no test split) or `"train"`.
        names: see `parts_of`.

    Returns:
        (folder, notes).

    Raises:
        InvalidArgument: there are splits but not this one, or the folder is ambiguous.
    """
    parts, notes = parts_of(folder, names)
    if not parts:
        return pathlib.Path(folder), notes
    chosen_part = part if part in parts or part == "train" else "validation"
    if chosen_part not in parts:
        have = next(iter(parts.values()))
        raise InvalidArgument(
            f"{_said(folder)} must contain a {part} split; it only has "
            f"{some([path.name for path in parts.values()])}: give {_said(have)} to use "
            "its images"
        )
    note = (
        f"of {_said(folder)}, the images of {_said(parts[chosen_part].name)} are used"
    )
    return parts[chosen_part], (note, *notes)


def no_images(folder: pathlib.Path, others: Sequence[pathlib.Path] = ()) -> str:
    """Returns the message for a folder without readable images."""
    note = others_note(others)
    return f"{_said(folder)} contains no images ({', '.join(suffixes())})" + (
        f"; {note}" if note else ""
    )


def labelled_files(
    folder: pathlib.Path,
    names: typing.Any = (),
    where: str | None = None,
    kinds: Sequence[str] = (),
) -> tuple[typing.Any, ...]:
    """Returns the images of a folder with one sub-folder per class.

    Args:
        folder: the folder.
        names: (id, name) of each class of the model; see `labels.indices`.
        where: name of the sub-folders in messages; None for the path of the folder.
        kinds: see `images.files.scan`.

    Returns:
        (files, notes): a list of (path, class), sorted by sub-folder and path, and
        lines about ignored files and about assumptions.

    Raises:
        InvalidArgument: there are no images, or a sub-folder is not a class.
    """
    folder = pathlib.Path(folder)
    inside = class_folders(folder)
    classes, note = labels.indices(
        inside, names, where or f"the sub-folders of {_said(folder)}"
    )
    labelled: list[tuple[pathlib.Path, int]] = []
    others: list[pathlib.Path] = []
    nested: list[typing.Any] = []
    for name in sorted(classes):
        paths, unopened = scan(folder / name, kinds)
        labelled.extend((path, classes[name]) for path in paths)
        others.extend(unopened)
        if paths and all(path.parent != folder / name for path in paths):
            nested.append(name)
    if not labelled:
        raise InvalidArgument(
            f"{_said(folder)} must contain one sub-folder per class with images "
            f"({', '.join(kinds or suffixes())}); got {len(classes)} sub-folders"
            + "".join(
                f"; {note}" for note in (others_note(others), _loose(folder)) if note
            )
        )
    said = (note, others_note(others), _loose(folder), _nested(nested))
    return labelled, tuple(filter(None, (*said, _alike(folder, inside))))


def _nested(names: list[typing.Any]) -> str | None:
    """Returns a line about classes whose images are all in sub-folders, or None."""
    if not names:
        return None
    return (
        f"the images of {some(names)} are in sub-folders: all images below a class "
        "folder belong to its class"
    )


def _alike(folder: pathlib.Path, names: Sequence[str]) -> str | None:
    """Returns a line about classes that may be the same one, or None."""
    if pair := labels.alike(names):
        one, other = map(printable, pair)
        return (
            f"{_said(folder)} has the classes {one} and {other}, which may be one class"
        )
    places: dict[str, str] = {}
    for name in names:
        other = places.setdefault(os.path.realpath(folder / name), name)
        if other != name:
            return (
                f"the classes {printable(other)} and {printable(name)} of {_said(folder)} "
                "are the same folder"
            )
    return None


def _loose(folder: pathlib.Path) -> str | None:
    """Returns a line about images beside the class folders, or None."""
    count = sum(
        os.path.splitext(entry.name)[1].lower() in suffixes()
        for entry in folder.iterdir()
        if os.path.isfile(entry) and not is_hidden(entry.name)
    )
    if not count:
        return None
    have, are = ("has", "is") if count == 1 else ("have", "are")
    images = counted(count, "image")
    return f"{images} directly in {_said(folder)} {have} no class and {are} ignored"
