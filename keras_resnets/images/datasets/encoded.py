"""Encoded images: one per file, or byte ranges of files that hold many."""

import concurrent.futures
import hashlib
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
# These values of the EXIF orientation swap height and width.
_TURNED = (5, 6, 7, 8)
# Opening files waits for the disk more than it computes.
_READERS = 16
# Bounds the memory of decoding; on few cores, taking turns is not slower.
_TURNS = limits.Turns()
# The factors by which a JPEG can be reduced while it is decoded.
REDUCED = (1, 2, 4, 8)


class EncodedImages:
    """Encoded images in files.

    Args:
        kind: `"files"`, or `"records"` if a file holds many images.
        root: folder of the files.
        files: names of the files, relative to `root`.
        places: int64 array (count, 3): index of the file, offset, length in bytes.
        sizes: int32 array (count, 2) of heights and widths of the upright images.
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

    # Unlike images in memory, these have different sizes.
    size = None
    # Pillow converts each to RGB or grey, as the network takes it.
    channels: int | None = None

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Returns heights and widths as int array (len(indices), 2)."""
        return self._sizes[indices]

    def signs(self, indices: np.ndarray) -> np.ndarray:
        """Returns the lengths in bytes, which are equal for equal images."""
        return self._places[indices, 2]

    def digest(self, index: int) -> bytes | None:
        """Returns a hash of the bytes of an image; None if it cannot be read."""
        file, start, length = self._places[index].tolist()
        try:
            with open_regular(os.path.join(self._root, self._files[file])) as stream:
                stream.seek(start)
                content = stream.read(length)
        except OSError:
            return None
        return hashlib.blake2b(content, digest_size=16).digest()

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the images that could not be decoded, found so far."""
        with self._lock:
            return tuple(self.name(index) for index in sorted(self._broken))

    def found_broken(self, index: int, error: InvalidArgument) -> None:
        """Records that an image cannot be decoded.

        Raises:
            TrainingError: more are broken than `images.files.tolerated` allows.
        """
        with self._lock:
            self._broken[index] = first_line(error)
            reason = self._broken[min(self._broken)]
        try:
            check_broken(self.broken, len(self._places), self._root, reason)
        except InvalidArgument as found:
            raise TrainingError(str(found)) from None

    def name(self, index: int) -> str:
        """Returns the name of an image for messages: its file, relative to the folder."""
        file, start, _ = self._places[index].tolist()
        if self.kind == "files":
            return self._files[file]
        return f"{self._files[file]} at byte {start}"

    def open(
        self, index: int, draft: typing.Any = None, rows: typing.Any = None
    ) -> "PIL.Image.Image":
        """Decodes one image and turns it upright.

        Args:
            index: index of the image.
            draft: (width, height): a JPEG may be reduced by 2, 4 or 8 while it is
                decoded, to no less than this; None to keep its size.
            rows: number of upper rows that are needed, before the reduction; the rest
                of a JPEG may be missing. None for all.
        """
        file, start, length = self._places[index].tolist()
        path = os.path.join(self._root, self._files[file])
        said = f"{path} changed since it was opened, or cannot be decoded"
        with decoding(said):
            with open_regular(path) as opened_file:
                opened_file.seek(start)
                # Must be the only reference to the bytes, or writing copies them.
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
        """Raises `InvalidArgument` if the size of an image has changed."""
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
    """Returns a Pillow image, not decoded yet, and whether it must be rotated by 90."""
    # A multiple of 8, which is a whole number of rows at every reduction.
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
    """Separates complete images from broken ones.

    Of a JPEG only the header and the end are read; other formats are decoded. The
    result depends on nothing but the files.

    Args:
        kind: `"files"` or `"records"`.
        root: folder of the files.
        files: names of the files, relative to `root`.
        places: int64 array (count, 3), see `EncodedImages`.
        names: names of the images, for messages.
        thorough: decode JPEGs too; for images that are read only once.
        progress: called with the number of images done, or None.

    Returns:
        (`EncodedImages` of the complete images, bool array (count,) that marks them,
        names of the others).

    Raises:
        InvalidArgument: more broken images than `images.files.tolerated` allows.
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
    """Returns ((height, width) upright, ""), or ((0, 0), reason) if it is broken."""
    try:
        with decoding("it"), opened(path, start, length) as stream:
            with open_image(stream) as it:
                width, height = it.size
                if it.getexif().get(_ORIENTATION) in _TURNED:
                    width, height = height, width
                jpeg = it.format in ("JPEG", "MPO")
                if jpeg and not ends(stream.raw.file, start, length):
                    return (0, 0), "it breaks off"
                if thorough or not jpeg:
                    with _TURNS.take(limits.cost(it)):
                        # Pillow gives turned TIFF files their upright size already.
                        width, height = as_rgb(upright(it)).size
            return (height, width), ""
    except InvalidArgument as error:
        return (0, 0), str(error).removeprefix("it: ")


def _length(path: pathlib.Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        # The file has disappeared.
        return 0


def stretches_of(
    root: pathlib.Path, paths: list[pathlib.Path]
) -> tuple[list[str], np.ndarray]:
    """Returns (names relative to `root`, places) of files that hold one image."""
    names = [str(pathlib.Path(path).relative_to(root)) for path in paths]
    lengths = list(map(_length, paths))
    places = np.zeros((len(paths), 3), "int64")
    places[:, 0], places[:, 2] = np.arange(len(paths)), lengths
    return names, places
