"""Pictures in files: whole files, or stretches of files that hold many."""

import concurrent.futures
import io
import os
import pathlib
import threading

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import first_line
from keras_resnets.image_files import as_rgb
from keras_resnets.image_files import check_broken
from keras_resnets.image_files import open_image
from keras_resnets.image_files import unreadable
from keras_resnets.image_files import upright
from keras_resnets.training.data.jpeg import cut_short
from keras_resnets.training.data.jpeg import ends

_ORIENTATION = 0x0112
# Sides are swapped by these values of EXIF's orientation.
_TURNED = (5, 6, 7, 8)
# Opening waits for the disk more than it computes.
_READERS = 16


class EncodedPictures:
    """Pictures in files.

    Args:
        kind: `"files"`, or `"records"` with many in a file.
        root: folder of the files.
        files: names of the files, relative to it.
        places: int64 array (count, 3): index of the file, first byte, bytes.
        sizes: int32 array (count, 2) of heights and widths, once turned upright.
    """

    def __init__(self, kind, root, files, places, sizes):
        self.kind, self._root, self._files = kind, root, files
        self._places, self._sizes = places, sizes
        self._broken, self._lock = {}, threading.Lock()

    # Pictures in memory have one size; these have each their own.
    size = None

    def sizes(self, indices):
        """Int array (len(indices), 2) of heights and widths."""
        return self._sizes[indices]

    @property
    def broken(self):
        """Names of those that turned out to be broken when they were decoded."""
        with self._lock:
            return tuple(self.name(index) for index in sorted(self._broken))

    def found_broken(self, index, error):
        """Notes that a picture cannot be decoded.

        Raises:
            TrainingError: it is one too many, see `image_files.tolerated`.
        """
        with self._lock:
            self._broken[index] = first_line(error)
            reason = self._broken[min(self._broken)]
        try:
            check_broken(self.broken, len(self._places), self._root, reason)
        except InvalidArgument as found:
            raise TrainingError(str(found)) from None

    def name(self, index):
        """What messages call a picture: its file, relative to the folder."""
        file, start, _ = self._places[index].tolist()
        if self.kind == "files":
            return self._files[file]
        return f"{self._files[file]} at byte {start}"

    def open(self, index, draft=None, rows=None):
        """One picture, upright.

        Args:
            index: of the picture.
            draft: (width, height) that a JPEG may be reduced to while it is decoded,
                by 2, 4 or 8, as long as it stays as large; None for its own size.
            rows: how many of its upper rows are needed, before it is reduced; a JPEG
                may come without those below. None for all.
        """
        file, start, length = self._places[index].tolist()
        path = os.path.join(self._root, self._files[file])
        try:
            with open(path, "rb") as opened:
                opened.seek(start)
                # Nobody else may know what was read: else writing copies it.
                stream = io.BytesIO(opened.read(length))
            picture, turned = _header(stream, rows)
            if draft:
                width, height = draft
                if turned:
                    width, height = height, width
                else:
                    height *= picture.height / self._sizes[index, 0]
                picture.draft(None, (width, height))
            return upright(picture)
        except unreadable() as error:
            raise InvalidArgument(
                f"{path} changed since it was opened, or cannot be decoded: {error}"
            ) from None


def _header(stream, rows):
    """A Pillow picture not yet decoded, and whether it lies on its side."""
    # By eights: what is left is a whole number of rows however it is reduced.
    content = stream.getbuffer()
    restore = cut_short(content, -(-rows // 8) * 8) if rows else None
    picture = open_image(stream)
    orientation = picture.getexif().get(_ORIENTATION, 1)
    if orientation != 1 and restore:
        restore()
        stream.seek(0)
        picture = open_image(stream)
    return picture, orientation in _TURNED


def examine(kind, root, files, places, names, thorough=False, progress=None):
    """`EncodedPictures` of those that are whole, and the names of those that are not.

    Of a JPEG the header and the end are read, other formats are decoded: quick, and
    what is left out depends on the files alone.

    Args:
        kind: `"files"` or `"records"`.
        root: folder of the files.
        files: names of the files, relative to it.
        places: int64 array (count, 3), as `EncodedPictures` takes it.
        names: of the pictures, for messages.
        thorough: decode every JPEG too, where each image is looked at once.
        progress: called with the number of pictures done, or None.

    Returns:
        (`EncodedPictures`, bool array of those that are whole, names of the others).

    Raises:
        InvalidArgument: more broken ones than `image_files.tolerated`.
    """

    def look(place):
        file, start, length = place
        return _size(os.path.join(root, files[file]), start, length, thorough)

    found, reasons = np.zeros((len(places), 2), "int32"), {}
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        for index, (size, reason) in enumerate(pool.map(look, places.tolist())):
            found[index] = size
            if reason:
                reasons[index] = reason
            if progress and index % 100 == 99:
                progress(index + 1)
    whole = found[:, 0] > 0
    broken = tuple(names[index] for index in np.flatnonzero(~whole))
    check_broken(broken, len(places), root, next(iter(reasons.values()), ""))
    return EncodedPictures(kind, root, files, places, found), whole, broken


def _size(path, start, length, thorough):
    """((height, width) of an upright picture, ""); ((0, 0), why) of one not whole."""
    try:
        with open(path, "rb") as file:
            stretch = io.BufferedReader(_Stretch(file, start, length))
            with open_image(stretch) as it:
                width, height = it.size
                turned = it.getexif().get(_ORIENTATION) in _TURNED
                jpeg = it.format in ("JPEG", "MPO")
                if jpeg and not ends(file, start, length):
                    return (0, 0), "it breaks off"
                if thorough or not jpeg:
                    as_rgb(upright(it))
            return ((width, height) if turned else (height, width)), ""
    except unreadable() as error:
        return (0, 0), first_line(error)


class _Stretch(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file, start, length):
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}
        self._at = max(0, base[whence] + offset)
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        left = max(0, self._length - self._at)
        self._file.seek(self._start + self._at)
        content = self._file.read(min(len(buffer), left))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def stretches_of(root, paths):
    """(names relative to `root`, places) of whole files."""
    names = [str(pathlib.Path(path).relative_to(root)) for path in paths]
    lengths = [os.stat(path).st_size for path in paths]
    places = np.zeros((len(paths), 3), "int64")
    places[:, 0], places[:, 2] = np.arange(len(paths)), lengths
    return names, places
