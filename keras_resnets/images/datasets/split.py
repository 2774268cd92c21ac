"""A data set: labelled images in parts, and what identifies them."""

import dataclasses
import typing
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.images import channels
from keras_resnets.images.files import some
from keras_resnets.images.multi_label import strata

if typing.TYPE_CHECKING:
    import PIL.Image


class ImageSource(typing.Protocol):
    """What holds images: `ArrayImages` in memory, or `EncodedImages` in files.

    Attributes:
        kind: `"arrays"`, `"files"` or `"records"`.
        size: (height, width) of all; None where each has its own.
        broken: names of images that could not be decoded, found so far.
        channels: of each image, where they are arrays; None of images that Pillow
            reads, which are colours or grey as a network takes them.
    """

    @property
    def kind(self) -> str: ...

    @property
    def size(self) -> tuple[int, int] | None: ...

    @property
    def broken(self) -> tuple[str, ...]: ...

    @property
    def channels(self) -> int | None: ...

    def name(self, index: int) -> str:
        """What messages call an image."""

    def found_broken(self, index: int, error: InvalidArgument) -> None:
        """Notes that an image cannot be decoded."""

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Int array (len(indices), 2) of heights and widths."""

    def open(
        self,
        index: int,
        draft: tuple[float, float] | None = None,
        rows: int | None = None,
    ) -> "PIL.Image.Image | np.ndarray":
        """One image, upright, as RGB; of other channels an array.

        Args:
            index: of the image.
            draft: (height, width) that a decoder may reduce it to.
            rows: how many of its upper rows are needed; None for all.
        """


@dataclasses.dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        labels: int64 array (count,), the class of each image; of several labels uint8
            (count, labels) of 0 and 1.
        images: where they are: `ArrayImages` or `EncodedImages`.
        indices: int array (count,), which of those are the part's.
        skipped: names of files that were left out because they are no whole images.
    """

    labels: np.ndarray
    images: ImageSource
    indices: np.ndarray
    skipped: tuple = ()

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.labels)

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have none, one or several of the labels."""
        return self.labels.ndim == 2

    @property
    def kind(self) -> str:
        """`"arrays"`, `"files"` or `"records"`."""
        return self.images.kind

    def stand_ins(self, place: int) -> Iterator[int]:
        """The places of the images that may stand at `place`, one after the other.

        Itself, and where that cannot be decoded the next of its class, and then any:
        a function of the labels alone, so that every run takes the same.
        """
        yield place
        labels = strata(self.labels)
        for alike in (True, False):
            others = np.flatnonzero((labels == labels[place]) == alike)
            others = np.roll(others, -np.searchsorted(others, place))
            yield from others[others != place].tolist()

    def part(self, chosen: np.ndarray) -> "Split":
        """The `Split` of the images where the bool array `chosen` says so."""
        return dataclasses.replace(
            self, labels=self.labels[chosen], indices=self.indices[chosen]
        )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled images in parts.

    Attributes:
        name: of the source.
        classes: (id, name) of each class.
        train: the `Split` to train on.
        validation: the `Split` that picks epochs and hyper-parameters, or None.
        test: the `Split` to be read once, at the end, or None.
        fingerprint: sha256 of what determines the images, labels and parts.
        notes: lines about what was left out or taken for granted.
    """

    name: str
    classes: tuple
    train: Split
    validation: Split | None
    test: Split | None
    fingerprint: str
    notes: tuple = ()

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have none, one or several of the labels."""
        return self.train.is_multi_label

    @property
    def skipped(self) -> tuple[typing.Any, ...]:
        """Names of files of any part that were left out because they are not whole."""
        return self._names(lambda part: part.skipped)

    @property
    def replaced(self) -> tuple[typing.Any, ...]:
        """Names of files of any part that others stand in for, found so far.

        They looked whole when the data were opened, and could not be decoded.
        """
        return self._names(lambda part: part.images.broken)

    def _names(self, of: Callable[..., typing.Any]) -> tuple[typing.Any, ...]:
        parts = [part for part in (self.train, self.validation, self.test) if part]
        return tuple(dict.fromkeys(name for part in parts for name in of(part)))


class ArrayImages:
    """Images in memory.

    Args:
        pixels: array (count, height, width, channels).
    """

    kind = "arrays"
    # Nothing has to be decoded.
    broken: tuple[str, ...] = ()

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def name(self, index: int) -> str:
        """What messages call an image: its place."""
        return str(index)

    def found_broken(self, index: int, error: InvalidArgument) -> None:
        """There is nothing to decode: whatever is wrong is wrong with all."""
        raise error

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of all."""
        return self.pixels.shape[1:3]

    @property
    def channels(self) -> int:
        """Of all."""
        return int(self.pixels.shape[-1])

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Int array (len(indices), 2) of heights and widths."""
        return np.tile(self.size, (len(indices), 1))

    def open(
        self,
        index: int,
        draft: tuple[float, float] | None = None,
        rows: int | None = None,
    ) -> "PIL.Image.Image | np.ndarray":
        """One image: RGB as a Pillow image, others as array; always the whole."""
        return channels.as_image(self.pixels[index])


def check_channels(images: ImageSource, count: int | None, name: str) -> None:
    """Raises `InvalidArgument` for images that a network of `count` channels cannot take.

    Args:
        images: of a part.
        count: of the network; None where it is made for the images.
        name: of the data.
    """
    has = images.channels
    is_photo = has in (None, 1, 3)
    if count is None or has == count or (is_photo and count in (1, 3)):
        return
    kind = "colours or grey, as Pillow reads them" if has is None else f"{has} channels"
    raise InvalidArgument(
        f"images must have the {count} channels of the network; those of "
        f"{printable(name)} have {kind}"
    )


def check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    """Raises `InvalidArgument` unless all labels lie in 0..classes - 1.

    Of several labels an image: unless there is a column for each.
    """
    if labels.ndim == 2:
        if labels.shape[1] != classes:
            raise InvalidArgument(
                f"{name}: labels must have a column for each of the {classes}; got "
                f"{labels.shape[1]}"
            )
        return
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= classes:
        raise InvalidArgument(
            f"{name}: labels must lie in 0..{classes - 1}, the {classes} classes; got "
            f"{least}..{most}"
        )


def check_classes(labels: np.ndarray, name: str) -> None:
    """Raises `InvalidArgument` where there is nothing to tell apart."""
    if labels.ndim == 2:
        _check_columns(labels, name)
        return
    present = np.unique(labels)
    if len(present) < 2:
        raise InvalidArgument(
            f"{name} must hold images of two classes or more; all {len(labels)} are "
            f"of class {present[0]}"
        )


def _check_columns(labels: np.ndarray, name: str) -> None:
    if labels.shape[1] < 2:
        raise InvalidArgument(
            f"{name} must have two labels or more; it has {labels.shape[1]}: for one "
            "question of yes or no train two classes, each in a folder of its own"
        )
    if (labels == labels[:1]).all():
        raise InvalidArgument(
            f"{name} must hold images that differ in a label; all {len(labels)} have "
            "the same"
        )


def notes_of_columns(labels: np.ndarray, names: tuple[typing.Any, ...]) -> list[str]:
    """What there is to say of labels that all images to train on have, or none."""
    if labels.ndim == 1:
        return []
    notes = []
    for value, who in ((0, "no image"), (1, "every image")):
        same = np.flatnonzero((labels == value).all(axis=0)).tolist()
        if same:
            constant_labels = some([printable(names[index][1], 60) for index in same])
            notes.append(
                f"{who} to train on has {constant_labels}: the network cannot learn to "
                "tell it"
            )
    return notes


__getattr__ = renamed.attributes_of(__name__, {"ArrayPictures": "ArrayImages"})
