"""Listings of image files with any number of channels."""

import concurrent.futures
import dataclasses
import os
import pathlib
import typing

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.images import channel_files
from keras_resnets.images.datasets.encoded import EncodedImages
from keras_resnets.images.datasets.listing import FileListing
from keras_resnets.images.datasets.split import Split
from keras_resnets.images.files import ARRAYS
from keras_resnets.images.files import TIFF
from keras_resnets.images.files import check_broken
from keras_resnets.images.files import scan
from keras_resnets.images.folders import class_folders
from keras_resnets.system.progress import ProgressBar

# Opening waits for the disk more than it computes.
_READERS = 16


def channels_of(folder: pathlib.Path, channels: int | None) -> int | None:
    """Returns the number of channels of a folder's images; None if Pillow reads them.

    Args:
        folder: a folder with one sub-folder per class.
        channels: channels of the network; None to use those of the images.
    """
    if channels not in (None, 1, 3):
        return channels
    for name in class_folders(folder):
        found = scan(folder / name, ARRAYS)[0]
        is_tiff = found and found[0].suffix.lower() in TIFF
        if found and (is_tiff or not scan(folder / name)[0]):
            return channel_files.channels_of(found[0])
    return None


class ChannelImages(EncodedImages):
    """`EncodedImages` in files that `channel_files` reads.

    Args:
        channels: channels of each image.
        *content: arguments of `EncodedImages`.
    """

    def __init__(self, channels: int, *content: typing.Any) -> None:
        super().__init__(*content)
        self.channels = self._wanted = channels

    def open(  # type: ignore[override]
        self, index: int, draft: typing.Any = None, rows: typing.Any = None
    ) -> np.ndarray:
        """Reads one image as array (height, width, channels), always in full."""
        image = channel_files.read(os.path.join(self._root, self.name(index)))
        _check(image, self._wanted)
        return image


@dataclasses.dataclass(frozen=True)
class ChannelListing(FileListing):
    """A `FileListing` of `ChannelImages`.

    Attributes:
        channels: channels of each image.
    """

    channels: int = 0

    def split(self, chosen: typing.Any = None, thorough: bool = False) -> Split:
        """Returns the `Split` of the readable images; reads each image once.

        Raises:
            InvalidArgument: more broken images than are tolerated.
        """
        chosen = np.arange(len(self.labels)) if chosen is None else chosen
        names = [self.names[index] for index in chosen]
        bar = ProgressBar(len(chosen), "images looked at")
        sizes, reasons = np.zeros((len(chosen), 2), "int32"), {}
        with concurrent.futures.ThreadPoolExecutor(_READERS) as pool, bar:
            for index, (size, reason) in enumerate(pool.map(self._size, names)):
                sizes[index] = size
                if reason:
                    reasons[index] = reason
                bar(index + 1)
        whole = sizes[:, 0] > 0
        broken = tuple(names[index] for index in np.flatnonzero(~whole))
        check_broken(broken, len(chosen), self.root, next(iter(reasons.values()), ""))
        images = ChannelImages(
            self.channels, self.kind, self.root, self.files, self.places[chosen], sizes
        )
        indices = np.arange(len(chosen))
        return Split(self.labels[chosen], images, indices, broken).part(whole)

    def _size(self, name: str) -> tuple[tuple[int, int], str]:
        """Returns ((height, width), ""), or ((0, 0), reason) if it cannot be read."""
        try:
            image = channel_files.read(os.path.join(self.root, name))
            _check(image, self.channels)
        except InvalidArgument as error:
            reason = first_line(error)
            return (0, 0), reason.rpartition("is not a readable image: ")[2]
        return (image.shape[0], image.shape[1]), ""


def _check(image: np.ndarray, channels: int) -> None:
    if image.shape[-1] != channels:
        raise InvalidArgument(
            f"every image must have {channels} channels; this one has {image.shape[-1]}"
        )
