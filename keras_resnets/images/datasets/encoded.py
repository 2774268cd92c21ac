"""Images in files: whole files, or stretches of files that hold many."""

import concurrent.futures
import io
import os
import pathlib
import threading
import typing

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import first_line
from keras_resnets.images import limits
from keras_resnets.images.datasets.jpeg import cut_short
from keras_resnets.images.datasets.jpeg import ends
from keras_resnets.images.files import as_rgb
from keras_resnets.images.files import check_broken
from keras_resnets.images.files import decoding
from keras_resnets.images.files import open_image
from keras_resnets.images.files import opened
from keras_resnets.images.files import upright
from keras_resnets.io.untrusted import open_regular

if typing.TYPE_CHECKING:
    import PIL.Image

    from keras_resnets.system.progress import ProgressBar


_ORIENTATION = 0x0112
# Sides are swapped by these values of EXIF's orientation.
_TURNED = (5, 6, 7, 8)
# Opening waits for the disk more than it computes.
_READERS = 16
# Decoding takes memory, and no longer on few cores where it is done in turns.
_TURNS = limits.Turns()
# What a JPEG's sides may be divided by while it is decoded.
REDUCED = (1, 2, 4, 8)


class EncodedImages:
    """Images in files.

    Args:
        kind: `"files"`, or `"records"` with many in a file.
        root: folder of the files.
        files: names of the files, relative to it.
        places: int64 array (count, 3): index of the file, first byte, bytes.
        sizes: int32 array (count, 2) of heights and widths, once turned upright.
    """

    def __init__(
        self,
        kind: str,
        root: str,
        files: list[str],
        places: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        self.kind, self._root, self._files = kind, root, files
        self._places, self._sizes = places, sizes
        self._broken: dict[int, str] = {}
        self._lock = threading.Lock()

    # Images in memory have one size; these have each their own.
    size = None
    # Pillow makes of each what a network of colours or of grey takes.
    channels: int | None = None

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Int array (len(indices), 2) of heights and widths."""
        return self._sizes[indices]

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of those that turned out to be broken when they were decoded."""
        with self._lock:
            return tuple(self.name(index) for index in sorted(self._broken))

    def found_broken(self, index: int, error: InvalidArgument) -> None:
        """Notes that an image cannot be decoded.

        Raises:
            TrainingError: it is one too many, see `images.files.tolerated`.
        """
        with self._lock:
            self._broken[index] = first_line(error)
            reason = self._broken[min(self._broken)]
        try:
            check_broken(self.broken, len(self._places), self._root, reason)
        except InvalidArgument as found:
            raise TrainingError(str(found)) from None

    def name(self, index: int) -> str:
        """What messages call an image: its file, relative to the folder."""
        file, start, _ = self._places[index].tolist()
        if self.kind == "files":
            return self._files[file]
        return f"{self._files[file]} at byte {start}"

    def open(
        self, index: int, draft: typing.Any = None, rows: typing.Any = None
    ) -> "PIL.Image.Image":
        """One image, upright.

        Args:
            index: of the image.
            draft: (width, height) that a JPEG may be reduced to while it is decoded,
                by 2, 4 or 8, as long as it stays as large; None for its own size.
            rows: how many of its upper rows are needed, before it is reduced; a JPEG
                may come without those below. None for all.
        """
        file, start, length = self._places[index].tolist()
        path = os.path.join(self._root, self._files[file])
        said = f"{path} changed since it was opened, or cannot be decoded"
        with decoding(said):
            with open_regular(path) as opened_file:
                opened_file.seek(start)
                # Nobody else may know what was read: else writing copies it.
                stream = io.BytesIO(opened_file.read(length))
            image, turned = _header(stream, rows)
            if draft:
                width, height = draft
                if turned:
                    width, height = height, width
                else:
                    height *= image.height / self._sizes[index, 0]
                image.draft(None, (width, height))
            image = as_rgb(upright(image))
            self._check_size(index, image, draft, rows)
        return image

    def _check_size(
        self, index: int, image: "PIL.Image.Image", draft: typing.Any, rows: typing.Any
    ) -> None:
        """Raises `InvalidArgument` where an image has not the size that it had."""
        height, width = self._sizes[index].tolist()
        sizes = [
            (-(-width // n), -(-height // n)) for n in (REDUCED if draft else (1,))
        ]
        if not any(
            image.width == wide and (image.height == high or rows)
            for wide, high in sizes
        ):
            raise InvalidArgument(f"it has {image.width} x {image.height} pixels now")


def _header(stream: typing.Any, rows: typing.Any) -> "tuple[PIL.Image.Image, bool]":
    """A Pillow image not yet decoded, and whether it lies on its side."""
    # By eights: what is left is a whole number of rows however it is reduced.
    content = stream.getbuffer()
    restore = cut_short(content, -(-rows // 8) * 8) if rows else None
    image = open_image(stream)
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation != 1 and restore:
        restore()
        stream.seek(0)
        image = open_image(stream)
    return image, orientation in _TURNED


def examine(
    kind: str,
    root: str,
    files: list[str],
    places: np.ndarray,
    names: list[str],
    thorough: bool = False,
    progress: "ProgressBar | None" = None,
) -> tuple[typing.Any, ...]:
    """`EncodedImages` of those that are whole, and the names of those that are not.

    Of a JPEG the header and the end are read, other formats are decoded: quick, and
    what is left out depends on the files alone.

    Args:
        kind: `"files"` or `"records"`.
        root: folder of the files.
        files: names of the files, relative to it.
        places: int64 array (count, 3), as `EncodedImages` takes it.
        names: of the images, for messages.
        thorough: decode every JPEG too, where each image is looked at once.
        progress: called with the number of images done, or None.

    Returns:
        (`EncodedImages`, bool array of those that are whole, names of the others).

    Raises:
        InvalidArgument: more broken ones than `images.files.tolerated`.
    """

    def look(place: list[int]) -> tuple[tuple[int, int], str]:
        file, start, length = place
        return _size(os.path.join(root, files[file]), start, length, thorough)

    sizes, reasons = np.zeros((len(places), 2), "int32"), {}
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        for index, (size, reason) in enumerate(pool.map(look, places.tolist())):
            sizes[index] = size
            if reason:
                reasons[index] = reason
            if progress and index % 100 == 99:
                progress(index + 1)
    is_readable = sizes[:, 0] > 0
    broken = tuple(names[index] for index in np.flatnonzero(~is_readable))
    check_broken(broken, len(places), root, next(iter(reasons.values()), ""))
    return EncodedImages(kind, root, files, places, sizes), is_readable, broken


def _size(
    path: str, start: int, length: int, thorough: bool
) -> tuple[tuple[int, int], str]:
    """((height, width) of an upright image, ""); ((0, 0), why) of one not whole."""
    try:
        with decoding("it"), opened(path, start, length) as stream:
            with open_image(stream) as it:
                width, height = it.size
                turned = it.getexif().get(_ORIENTATION) in _TURNED
                jpeg = it.format in ("JPEG", "MPO")
                if jpeg and not ends(stream.raw.file, start, length):
                    return (0, 0), "it breaks off"
                if thorough or not jpeg:
                    with _TURNS.take(limits.cost(it)):
                        as_rgb(upright(it))
            return ((width, height) if turned else (height, width)), ""
    except InvalidArgument as error:
        return (0, 0), str(error).removeprefix("it: ")


def _length(path: pathlib.Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        # It went away: no whole image either.
        return 0


def stretches_of(
    root: pathlib.Path, paths: list[pathlib.Path]
) -> tuple[list[str], np.ndarray]:
    """(names relative to `root`, places) of whole files."""
    names = [str(pathlib.Path(path).relative_to(root)) for path in paths]
    lengths = list(map(_length, paths))
    places = np.zeros((len(paths), 3), "int64")
    places[:, 0], places[:, 2] = np.arange(len(paths)), lengths
    return names, places
