"""`Dataset` and `Split`: labelled images in parts, with a fingerprint."""

import dataclasses
import hashlib
import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.errors import some
from keras_resnets.images import channels
from keras_resnets.images.multi_label import strata

if typing.TYPE_CHECKING:
    import PIL.Image


class ImageSource(typing.Protocol):
    """A collection of images: `ArrayImages` in memory, or `EncodedImages` in files.

    Attributes:
        kind: `"arrays"`, `"files"` or `"records"`.
        size: (height, width) of all images; None if they differ.
        broken: names of images that could not be decoded, found so far.
        channels: channels of each image; None if Pillow reads them, as RGB or grey
            according to the network.
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
        """Returns the name of an image for messages."""

    def found_broken(self, index: int, error: InvalidArgument) -> None:
        """Records that an image cannot be decoded."""

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Returns heights and widths as int array (len(indices), 2)."""

    def signs(self, indices: np.ndarray) -> np.ndarray:
        """Returns integers (len(indices),) that are equal for equal images."""

    def digest(self, index: int) -> bytes | None:
        """Returns a hash of all bytes of an image; None if it cannot be read."""

    def open(
        self,
        index: int,
        draft: tuple[float, float] | None = None,
        rows: int | None = None,
    ) -> "PIL.Image.Image | np.ndarray":
        """Reads one image, upright: RGB as a Pillow image, others as an array.

        Args:
            index: index of the image.
            draft: (height, width) to which a decoder may reduce it.
            rows: number of upper rows that are needed; None for all.
        """


@dataclasses.dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        labels: int64 array (count,), the class of each image; with several labels per
            image uint8 (count, labels) of 0 and 1.
        images: the `ArrayImages` or `EncodedImages` that hold them.
        indices: int array (count,), the indices of this part in `images`.
        skipped: names of files that were skipped because they are broken.
    """

    labels: np.ndarray
    images: ImageSource
    indices: np.ndarray
    skipped: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of images."""
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
        """Yields the place of the image at `place`, then those of its replacements.

        If an image cannot be decoded, the next one of its class replaces it, and then
        any other: a function of the labels alone, so that every run takes the same.
        """
        yield place
        labels = strata(self.labels)
        for alike in (True, False):
            others = np.flatnonzero((labels == labels[place]) == alike)
            others = np.roll(others, -np.searchsorted(others, place))
            yield from others[others != place].tolist()

    def part(self, chosen: np.ndarray) -> "Split":
        """Returns the `Split` of the images that the bool array `chosen` marks."""
        return dataclasses.replace(
            self, labels=self.labels[chosen], indices=self.indices[chosen]
        )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled images in parts.

    Attributes:
        name: name of the source.
        classes: (id, name) of each class.
        train: the `Split` to train on.
        validation: the `Split` to choose epochs and hyper-parameters with, or None.
        test: the `Split` to evaluate once, at the end, or None.
        fingerprint: sha256 of everything that determines images, labels and parts.
        notes: lines about what was skipped or assumed.
    """

    name: str
    classes: tuple[tuple[str, str], ...]
    train: Split
    validation: Split | None
    test: Split | None
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have none, one or several of the labels."""
        return self.train.is_multi_label

    @property
    def skipped(self) -> tuple[typing.Any, ...]:
        """Names of files in any part that were skipped because they are broken."""
        return self._names(lambda part: part.skipped)

    @property
    def replaced(self) -> tuple[typing.Any, ...]:
        """Names of files in any part that other images replace, found so far.

        They looked complete when the data set was opened, but could not be decoded.
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
    # Arrays cannot be broken.
    broken: tuple[str, ...] = ()

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def name(self, index: int) -> str:
        """Returns the name of an image for messages: its index."""
        return str(index)

    def found_broken(self, index: int, error: InvalidArgument) -> None:
        """Raises `error`, since arrays are not decoded one by one."""
        raise error

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of all images."""
        return self.pixels.shape[1:3]

    @property
    def channels(self) -> int:
        """Number of channels of all images."""
        return int(self.pixels.shape[-1])

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Returns heights and widths as int array (len(indices), 2)."""
        return np.tile(self.size, (len(indices), 1))

    def signs(self, indices: np.ndarray) -> np.ndarray:
        """Returns hashes of the middle rows, which are equal for equal images."""
        rows = self.pixels[indices, self.size[0] // 2]
        return np.array([hash(row.tobytes()) for row in rows], "int64")

    def digest(self, index: int) -> bytes:
        """Returns a hash of the shape and the pixels of an image."""
        image = self.pixels[index]
        content = f"{image.shape} {image.dtype}".encode() + image.tobytes()
        return hashlib.blake2b(content, digest_size=16).digest()

    def open(
        self,
        index: int,
        draft: tuple[float, float] | None = None,
        rows: int | None = None,
    ) -> "PIL.Image.Image | np.ndarray":
        """Returns one image in full: RGB as a Pillow image, others as an array."""
        return channels.as_image(self.pixels[index])


def check_channels(images: ImageSource, count: int | None, name: str) -> None:
    """Raises `InvalidArgument` if a network with `count` channels cannot take images.

    Args:
        images: the images of a part.
        count: channels of the network; None if it is built for the images.
        name: name of the data, for messages.
    """
    has = images.channels
    is_photo = has in (None, 1, 3)
    if count is None or has == count or (is_photo and count in (1, 3)):
        return
    kind = "1 or 3" if has is None else str(has)
    raise InvalidArgument(
        f"images must have the {count} channels of the network; those of "
        f"{printable(name)} have {kind}"
    )


def check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    """Raises `InvalidArgument` unless all labels lie in 0..classes - 1.

    Labels of shape (count, labels) must have one column per class.
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
            f"{name}: labels must lie in 0..{classes - 1}, the {classes} "
            f"{'class' if classes == 1 else 'classes'}; got {least}..{most}"
            + ("; labels count from 0" if least in (-1, 1) else "")
        )


def check_classes(
    labels: np.ndarray, name: str, names: Sequence[typing.Any] | None = None
) -> None:
    """Raises `InvalidArgument` unless the images differ in their labels.

    Args:
        labels: of the images to train on.
        name: of the data, for the message.
        names: (id, name) of each class, for the message.
    """
    if labels.ndim == 2:
        _check_columns(labels, name)
        return
    present = np.unique(labels)
    if len(present) < 2:
        only = int(present[0])
        # Labels may exceed the names, which `check_labels` reports.
        named = (names or ())[only : only + 1] if only >= 0 else ()
        called = "".join(f", {printable(str(name))}" for _, name in named)
        raise InvalidArgument(
            f"{name} must contain images of at least two classes; all {len(labels)} are "
            f"of class {only}{called}"
        )


def _check_columns(labels: np.ndarray, name: str) -> None:
    if labels.shape[1] < 2:
        raise InvalidArgument(
            f"{name} must have at least two labels; it has {labels.shape[1]}: for a "
            "binary problem train two classes, each in a folder of its own"
        )
    if (labels == labels[:1]).all():
        raise InvalidArgument(
            f"{name} must contain images with different labels; all {len(labels)} have "
            "the same"
        )


def _notes_of_columns(labels: np.ndarray, names: tuple[typing.Any, ...]) -> list[str]:
    """Returns notes on labels that all training images have, or none has."""
    notes = []
    for value, who in ((0, "no image"), (1, "every image")):
        same = np.flatnonzero((labels == value).all(axis=0)).tolist()
        if same:
            constant_labels = some([names[index][1] for index in same], longest=60)
            notes.append(
                f"{who} of the training set has {constant_labels}: the network cannot "
                "learn to predict it"
            )
    return notes


def notes_of_labels(
    labels: np.ndarray, held: Split | None, names: tuple[typing.Any, ...]
) -> list[str]:
    """Returns notes on labels that cannot be learnt, or whose accuracy is not measured.

    Args:
        labels: labels of the training images.
        held: the held-out images; None for none.
        names: (id, name) of each class.
    """
    if labels.ndim == 2:
        return _notes_of_columns(labels, names)
    if held is None:
        return []
    missing = np.setdiff1d(labels, held.labels).tolist()
    if not missing:
        return []
    classes = some([names[index][1] for index in missing], longest=60)
    return [
        f"no held-out image is of {classes}: the validation accuracy does not tell how "
        f"well {'it is' if len(missing) == 1 else 'they are'} recognized"
    ]


__getattr__ = renamed.attributes_of(__name__, {"ArrayPictures": "ArrayImages"})
