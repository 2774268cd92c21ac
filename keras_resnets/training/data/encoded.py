"""Pictures in files: whole files, or stretches of files that hold many."""

import concurrent.futures
import io
import os
import pathlib

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.pictures import unreadable
from keras_resnets.pictures import upright
from keras_resnets.training.data.jpeg import cut_short

# Of the pictures of a part: more than this are no accident.
MOST_BROKEN = 0.01
_NAMED = 3
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

    # Pictures in memory have one size; these have each their own.
    size = None

    def sizes(self, indices):
        """Int array (len(indices), 2) of heights and widths."""
        return self._sizes[indices]

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
                f"{path} changed since it was opened, or holds a picture that breaks "
                f"off: {error}"
            ) from None


def _header(stream, rows):
    """A Pillow picture not yet decoded, and whether it lies on its side."""
    from PIL import Image

    # By eights: what is left is a whole number of rows however it is reduced.
    content = stream.getbuffer()
    restore = cut_short(content, -(-rows // 8) * 8) if rows else None
    picture = Image.open(stream)
    orientation = picture.getexif().get(_ORIENTATION, 1)
    if orientation != 1 and restore:
        restore()
        stream.seek(0)
        picture = Image.open(stream)
    return picture, orientation in _TURNED


def examine(kind, root, files, places, names, progress=None):
    """`EncodedPictures` of those that are whole, and the names of those that are not.

    Of a JPEG the header and the end are read, other formats are decoded: quick, and
    what is left out depends on the files alone.

    Args:
        kind: `"files"` or `"records"`.
        root: folder of the files.
        files: names of the files, relative to it.
        places: int64 array (count, 3), as `EncodedPictures` takes it.
        names: of the pictures, for messages.
        progress: called with the number of pictures done, or None.

    Returns:
        (`EncodedPictures`, bool array of those that are whole, names of the others).

    Raises:
        InvalidArgument: more than one in a hundred is broken.
    """

    def look(place):
        file, start, length = place
        return _size(os.path.join(root, files[file]), start, length)

    found = np.zeros((len(places), 2), "int32")
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        for index, size in enumerate(pool.map(look, places.tolist())):
            found[index] = size
            if progress and index % 100 == 99:
                progress(index + 1)
    whole = found[:, 0] > 0
    broken = tuple(names[index] for index in np.flatnonzero(~whole))
    if len(broken) > MOST_BROKEN * len(places):
        shown = ", ".join(broken[:_NAMED]) + (", ..." if broken[_NAMED:] else "")
        raise InvalidArgument(
            f"at most 1 % of the pictures may be unreadable; {len(broken)} of "
            f"{len(places)} in {root} are: {shown}"
        )
    return EncodedPictures(kind, root, files, places, found), whole, broken


def _size(path, start, length):
    """(height, width) of an upright picture; (0, 0) of one that is not whole."""
    from PIL import Image

    try:
        with open(path, "rb") as file, Image.open(_Stretch(file, start, length)) as it:
            width, height = it.size
            if it.format == "JPEG":
                file.seek(start + max(0, length - 32))
                if b"\xff\xd9" not in file.read(min(length, 32)):
                    return 0, 0
            else:
                it.load()
            if it.getexif().get(_ORIENTATION) in _TURNED:
                width, height = height, width
            return height, width
    except unreadable():
        return 0, 0


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
