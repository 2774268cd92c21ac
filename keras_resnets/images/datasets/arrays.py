"""Labelled images in arrays: reading .npz files, checking them, and taking a subset."""

import pathlib
import typing
from collections.abc import Sequence

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images.channel_files import check_numbers
from keras_resnets.images.files import decoding
from keras_resnets.images.folders import PARTS
from keras_resnets.images.preprocessing import MOST_CHANNELS
from keras_resnets.io import npz

# The names of a part's arrays, ignoring case: those of Keras, MedMNIST and others.
_ARRAYS = (
    ("x_{}", "y_{}"),
    ("{}_images", "{}_labels"),
    ("images_{}", "labels_{}"),
    ("{}_x", "{}_y"),
    ("{}_data", "{}_labels"),
)
# Names of the images and labels of a file that is not split; scikit-learn's digits have
# `images` of two axes and `data` of one.
_IMAGES = ("x", "images", "image", "data")
_LABELS = ("y", "labels", "label", "targets", "target")
_USUAL = "x_test and y_test"


def npz_parts(path: pathlib.Path) -> dict[str, tuple[str, ...]]:
    """Returns the names of the arrays of each part of an .npz file.

    Args:
        path: the file.

    Returns:
        Dict from those of `"train"`, `"validation"` and `"test"` that the file has to
        the names (images, labels): `x_train` and `y_train`, `x_val` (or `x_valid`,
        `x_validation`) and `y_val`, `x_test` and `y_test`, or `train_images` and
        `train_labels`. A file that is not split, of `x` and `y` or `images` and
        `labels`, has `"train"` only.

    Raises:
        InvalidArgument: the file is not an .npz file, or has a part twice.
    """
    with npz.opened(path, f"{_USUAL}, or of other splits") as file:
        return _parts_of(file.names)


def _parts_of(names: list[str]) -> dict[str, tuple[str, ...]]:
    """See `npz_parts`."""
    by_key = {name.casefold(): name for name in names}
    parts: dict[str, typing.Any] = {}
    for part, words in PARTS.items():
        for images, answers in _ARRAYS:
            for word in words:
                x, y = (by_key.get(form.format(word)) for form in (images, answers))
                if not x:
                    continue
                if part in parts:
                    raise InvalidArgument(
                        f"it has two {part} splits: {parts[part][0]} and {x}"
                    )
                parts[part] = (x, y or answers.format(word))
    return parts or _unsplit(by_key)


def _unsplit(by_key: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Returns the images and labels of a file without splits as its training images."""
    images = next((by_key[name] for name in _IMAGES if name in by_key), None)
    answers = next((by_key[name] for name in _LABELS if name in by_key), "y")
    return {} if images is None else {"train": (images, answers)}


def read_npz(path: pathlib.Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the images and labels of one part of an .npz file.

    Args:
        path: a file with images `x_PART` of shape (count, height, width, channels) and
            labels `y_PART`, integers or one-hot rows; see `npz_parts`.
        part: `"train"`, `"validation"` or `"test"`.

    Returns:
        (images, labels); the labels are integers of shape (count,).

    Raises:
        InvalidArgument: the file does not exist, or its arrays are not as above.
    """
    return read_parts(path, (part,))[part]


def read_parts(
    path: pathlib.Path,
    parts: Sequence[str],
    multi_label: bool = False,
    channels: int | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads several parts of an .npz file, as `read_npz` does.

    With `multi_label` the labels are 0 and 1, uint8 of shape (count, labels). Images
    without a channel axis are accepted unless the network takes colour images.
    """
    arrays = {}
    for part, (names, (images, labels)) in _read(path, parts, 2).items():
        images = images if channels == 3 else with_channels(images)
        labels = columns_of(labels, names[1]) if multi_label else integers_of(labels)
        check_arrays(images, labels, names[0], names[1], multi_label)
        arrays[part] = (images, labels)
    return arrays


def read_images(path: pathlib.Path, part: str) -> np.ndarray:
    """Reads only the images of one part of an .npz file; see `read_npz`."""
    names, (images,) = _read(path, (part,), 1)[part]
    images = with_channels(images)
    check_images(images, *names)
    return images


def _usual(part: str) -> tuple[str, ...]:
    return tuple(form.format(PARTS[part][0]) for form in _ARRAYS[0])


def _read(
    path: pathlib.Path, parts: Sequence[str], count: int
) -> dict[str, typing.Any]:
    """Returns (names, arrays) by part: images, and labels if `count` is 2."""
    said = " and ".join(name for part in parts for name in _usual(part)[:count])
    with npz.opened(path, said) as file:
        names_by_part, arrays = _parts_of(file.names), {}
        whole = _unsplit({name.casefold(): name for name in file.names}).get("train")
        for part in parts:
            # Like a folder without splits, such a file may be any part.
            whole_part = whole if names_by_part.get("train") == whole else None
            names = (names_by_part.get(part) or whole_part or _usual(part))[:count]
            file.expected = " and ".join(names)
            if not set(names) <= set(file.names):
                # The message is about no array that was read.
                file.reading = ""
                raise InvalidArgument(f"it has {some(file.names, 12) or 'none'}")
            arrays[part] = (names, [file.read(name) for name in names])
        return arrays


def columns_of(labels: np.ndarray, name: str = "y") -> np.ndarray:
    """Returns labels of 0 and 1, one column per label, as uint8 (count, labels).

    Raises:
        InvalidArgument: another shape, or values other than 0 and 1.
    """
    labels = np.asarray(labels)
    is_fit = labels.ndim == 2 and labels.dtype.kind in "iufb"
    if not is_fit:
        is_class = labels.ndim == 1 and labels.dtype.kind in "iu"
        hint = ", one class per image (train without --multi-label)" if is_class else ""
        raise InvalidArgument(
            f"{name} must be 0 and 1 of shape (count, labels) if an image may have "
            f"several labels; got {labels.dtype} {labels.shape}{hint}"
        )
    wrong = labels[(labels != 0) & (labels != 1)]
    if wrong.size:
        raise InvalidArgument(
            f"{name} must be 0 and 1 if an image may have several labels; got "
            f"{wrong.flat[0]}"
        )
    return labels.astype("uint8")


def integers_of(labels: np.ndarray) -> np.ndarray:
    """Returns one-hot rows, a single column or whole numbers as integers (count,)."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "iufb":
        ones = labels == 1
        if ((labels == 0) | ones).all() and (ones.sum(axis=1) == 1).all():
            return ones.argmax(axis=1)
        return labels
    labels = labels.reshape(-1) if labels.ndim == 2 else labels
    is_whole = labels.dtype.kind == "f" and (labels == np.rint(labels)).all()
    # Larger numbers have no exact integer.
    if labels.dtype.kind == "b" or (is_whole and (abs(labels) < 2**31).all()):
        return labels.astype("int64")
    return labels


def with_channels(images: np.ndarray) -> np.ndarray:
    """Adds the channel axis to grey images (count, height, width)."""
    return images[..., None] if images.ndim == 3 else images


def check_images(images: np.ndarray, x: str = "x") -> None:
    """Raises `InvalidArgument` unless `images` is an array of images.

    RGB images must be uint8 in 0..255; with another number of channels any numeric
    type is accepted.
    """
    is_image = images.ndim == 4
    is_coloured = is_image and images.shape[-1] == 3
    if is_coloured and images.dtype.kind == "f":
        raise InvalidArgument(
            f"{x} must be uint8 pixels in 0..255 if it has 3 channels; got {images.dtype}"
            f"{_as_pixels(images)}"
        )
    if is_image and images.shape[1] in (1, 3, 4) and _has_channels_first(images.shape):
        raise InvalidArgument(
            f"{x} must have its channels last, (count, height, width, channels); got "
            f"{images.shape}, which looks like channels first: store "
            "x.transpose(0, 2, 3, 1)"
        )
    if (is_coloured and images.dtype != np.uint8) or not is_image:
        raise InvalidArgument(
            f"{x} must be uint8 of shape (count, height, width, 3), or numbers of shape "
            f"(count, height, width, channels); got {images.dtype} {images.shape}"
            f"{_how_to_store(images)}"
        )
    if images.shape[-1] > MOST_CHANNELS:
        raise InvalidArgument(
            f"{x} must have at most {MOST_CHANNELS:,} channels, as its last axis; got "
            f"{images.shape}"
        )
    if not images.size:
        raise InvalidArgument(
            f"{x} must contain images of at least one pixel; got {images.shape}"
        )
    with decoding(x):
        check_numbers(images)


def notes_of_pixels(images: np.ndarray, x: str) -> tuple[str, ...]:
    """Returns a line about photos whose pixels are all 0 or 1, which are nearly black.

    Numbers in 0..1 that were stored as uint8 without scaling are such photos.
    """
    is_photo = images.dtype == np.uint8 and images.shape[-1] in (1, 3)
    if not is_photo or images.max() > 1:
        return ()
    return (
        f"all pixels of {x} are 0 or 1, which is nearly black of 0..255: store numbers in "
        "0..1 by (255 * x).round().astype('uint8')",
    )


def _has_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether (count, 3, 32, 32) is more likely than an image 3 pixels high."""
    _, first, second, last = shape
    return second == last > 4 or (first > 1 and min(second, last) >= 16)


def _as_pixels(images: np.ndarray) -> str:
    """Returns how numbers become uint8 pixels, which depends on their range."""
    if not images.size:
        return ""
    least, most = images.min(), images.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        return " with values that are not finite"
    is_float = images.dtype.kind == "f"
    where = f" of {least:.6g}..{most:.6g}: store "
    if least < 0:
        return where + "them shifted and scaled to 0..255, .round().astype('uint8')"
    if most <= 1 and is_float:
        return where + "(255 * x).round().astype('uint8')"
    if most <= 255:
        return where + ("x.round()" if is_float else "x") + ".astype('uint8')"
    return where + f"(x * (255 / {_full_range(most)})).round().astype('uint8')"


def _full_range(most: float) -> int:
    """Returns the largest value of 10, 12, 14 or 16 bits, whichever holds `most`."""
    return next((2**n - 1 for n in (10, 12, 14, 16) if most < 2**n), int(most))


def _how_to_store(images: np.ndarray) -> str:
    """Returns a hint for pixels of another integer type, grey and flattened images."""
    if images.ndim == 4 and images.dtype.kind in "iu":
        return _as_pixels(images)
    if images.ndim == 3:
        return ": store np.repeat(x[..., None], 3, axis=-1) of grey images"
    if images.ndim == 2:
        return ": store each image with its height and width, x.reshape(...)"
    return ""


def check_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    x: str = "x",
    y: str = "y",
    multi_label: bool = False,
) -> None:
    """Raises `InvalidArgument` unless the arrays are images and their labels."""
    check_images(images, x)
    if multi_label:
        if len(labels) != len(images) or not len(labels):
            raise InvalidArgument(
                f"{y} must have one row per image; got {len(labels)} for "
                f"{len(images)} images"
            )
        return
    if labels.dtype.kind in "US" and labels.size:
        raise InvalidArgument(
            f"{y} must be one integer per image; got text such as "
            f"{printable(str(labels.flat[0]), 60)!r}: store np.unique({y}, "
            "return_inverse=True)[1], and name the classes, sorted, by --labels"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidArgument(
            f"{y} must be one integer per image; got {labels.dtype} {labels.shape} "
            "(one-hot rows of 0 and 1 are also supported, and with --multi-label any "
            "rows of 0 and 1)"
        )
    if len(labels) != len(images) or not len(labels):
        raise InvalidArgument(
            f"{y} must be one integer per image; got {labels.dtype} of "
            f"{len(labels)} for {len(images)} images"
        )
    if int(labels.max()) >= 2**63:
        raise InvalidArgument(
            f"{y} must be one integer per image, below 2**63; got {labels.max()}"
        )


def check_no_gaps(labels: np.ndarray, name: str) -> None:
    """Raises `InvalidArgument` unless every label from 0 to the largest occurs.

    For labels without class names: a label that no image has may be a class, or a
    sign that the labels are numbered in another way.

    Args:
        labels: int array (count,), all >= 0.
        name: the name of the data, for messages.
    """
    seen = np.unique(labels)
    # Counted and not listed, since a label may be as large as any integer.
    count = int(seen[-1]) + 1 - len(seen)
    if not count:
        return
    if count == seen[0]:
        raise InvalidArgument(
            f"{name}: labels must start from 0; got {seen[0]}..{seen[-1]}: subtract "
            f"{seen[0]}, or name all {seen[-1] + 1} classes (--labels)"
        )
    # Only as many candidates as are needed to find some missing ones.
    first = np.arange(min(int(seen[-1]), len(seen) + 3))
    missing = np.setdiff1d(first, seen)
    shown = ", ".join(map(str, missing[:3])) + (", ..." if count > 3 else "")
    raise InvalidArgument(
        f"{name}: labels must be 0..{seen[-1]} without gaps; no image has {shown}: "
        f"number the classes consecutively, or name all {seen[-1] + 1} (--labels)"
    )


def spread(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Returns the indices of a stratified sample: the same share of every class.

    Args:
        labels: int array (count,), the class of each image.
        count: size of the sample; None, or more than there are, for all images. If it
            is at least the number of classes, every class is represented.
        seed: whole number >= 0; the same seed gives the same sample.

    Returns:
        Sorted int array of indices.

    Example:
        >>> spread(np.array([0] * 50 + [1] * 50), 4).tolist()
        [3, 11, 59, 92]
    """
    labels = np.asarray(labels)
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    chance = np.random.default_rng(seed).random(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = members[np.argsort(chance[members], kind="stable")]
        # One image of every class comes before all others.
        place[order] = np.arange(len(order)) / len(order)
    return np.sort(np.lexsort((chance, place))[:count])
