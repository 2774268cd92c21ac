"""A data set: labelled images in parts, and what identifies them."""

import dataclasses
import typing
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import InvalidArgument

if typing.TYPE_CHECKING:
    import PIL.Image


class ImageSource(typing.Protocol):
    """What holds images: `ArrayImages` in memory, or `EncodedImages` in files.

    Attributes:
        kind: `"arrays"`, `"files"` or `"records"`.
        size: (height, width) of all; None where each has its own.
        broken: names of images that could not be decoded, found so far.
    """

    @property
    def kind(self) -> str: ...

    @property
    def size(self) -> tuple[int, int] | None: ...

    @property
    def broken(self) -> tuple[str, ...]: ...

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
    ) -> "PIL.Image.Image":
        """One image, upright, as RGB.

        Args:
            index: of the image.
            draft: (height, width) that a decoder may reduce it to.
            rows: how many of its upper rows are needed; None for all.
        """


@dataclasses.dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        labels: int64 array (count,), the class of each image.
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
    def kind(self) -> str:
        """`"arrays"`, `"files"` or `"records"`."""
        return self.images.kind

    def stand_ins(self, place: int) -> Iterator[int]:
        """The places of the images that may stand at `place`, one after the other.

        Itself, and where that cannot be decoded the next of its class, and then any:
        a function of the labels alone, so that every run takes the same.
        """
        yield place
        for alike in (True, False):
            others = np.flatnonzero((self.labels == self.labels[place]) == alike)
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
        pixels: uint8 array (count, height, width, 3).
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

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Int array (len(indices), 2) of heights and widths."""
        return np.tile(self.size, (len(indices), 1))

    def open(
        self,
        index: int,
        draft: tuple[float, float] | None = None,
        rows: int | None = None,
    ) -> "PIL.Image.Image":
        """One image, as a Pillow image; always the whole."""
        from PIL import Image

        return Image.fromarray(self.pixels[index])


def check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    """Raises `InvalidArgument` unless all labels lie in 0..classes - 1."""
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= classes:
        raise InvalidArgument(
            f"{name}: labels must lie in 0..{classes - 1}, the {classes} classes; got "
            f"{least}..{most}"
        )


def check_classes(labels: np.ndarray, name: str) -> None:
    """Raises `InvalidArgument` where there is nothing to tell apart."""
    found = np.unique(labels)
    if len(found) < 2:
        raise InvalidArgument(
            f"{name} must hold images of two classes or more; all {len(labels)} are "
            f"of class {found[0]}"
        )


__getattr__ = renamed.attributes_of(__name__, {"ArrayPictures": "ArrayImages"})
