"""Listings: labelled images that have been found but not read yet."""

import dataclasses
import typing

import numpy as np

from keras_resnets.images.datasets.encoded import examine
from keras_resnets.images.datasets.split import ArrayImages
from keras_resnets.images.datasets.split import Split
from keras_resnets.system.progress import ProgressBar


@dataclasses.dataclass(frozen=True)
class FileListing:
    """Labelled images in files.

    Attributes:
        kind: `"files"`, or `"records"` if a file holds many images.
        root: folder of the files.
        files: names of the files, relative to `root`.
        places: int64 array (count, 3), see `EncodedImages`.
        names: names of the images, for messages.
        labels: int64 array (count,).
        notes: lines about what was skipped or assumed.
    """

    kind: str
    root: str
    files: list[str]
    places: np.ndarray
    names: list[str]
    labels: np.ndarray
    notes: tuple[str, ...] = ()

    def split(self, chosen: typing.Any = None, thorough: bool = False) -> Split:
        """Returns the `Split` of the images that are complete.

        Args:
            chosen: int array of indices; None for all.
            thorough: decode each image, see `examine`.

        Raises:
            InvalidArgument: more broken images than are tolerated.
        """
        if chosen is None:
            chosen = np.arange(len(self.labels))
        names = [self.names[index] for index in chosen]
        bar = ProgressBar(len(chosen), "images looked at")
        images, whole, broken = examine(
            self.kind,
            self.root,
            self.files,
            self.places[chosen],
            names,
            thorough,
            bar,
        )
        bar.close()
        indices = np.arange(len(chosen))
        return Split(self.labels[chosen], images, indices, broken).part(whole)


@dataclasses.dataclass(frozen=True)
class ArrayListing:
    """Labelled images in memory.

    Attributes:
        pixels: uint8 array (count, height, width, 3).
        labels: int64 array (count,).
        notes: see `FileListing`.
    """

    pixels: np.ndarray
    labels: np.ndarray
    notes: tuple[str, ...] = ()

    def split(self, chosen: np.ndarray | None = None, thorough: bool = False) -> Split:
        """Returns the `Split` of all images, or of the chosen ones."""
        indices = np.arange(len(self.labels)) if chosen is None else chosen
        return Split(self.labels[indices], ArrayImages(self.pixels), indices)
