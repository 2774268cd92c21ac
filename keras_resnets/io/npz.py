"""Arrays in .npz files: their claims are checked before memory is allocated."""

import contextlib
import io
import math
import os
import typing
import zipfile
from collections.abc import Callable
from collections.abc import Iterator
from typing import IO

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.io.untrusted import open_regular

# Memory for arrays, in bytes and as a multiple of the file. Measured, compressed by
# `np.savez_compressed`: CIFAR-10 1.1 times, grey digits of 28 x 28 as RGB 5 times, such
# digits in two colours 50 times. Deflate itself reaches 1,030 times.
_ROOM, _TIMES = 192 << 20, 64
# Bytes per image besides its pixels: label, index and position in the order of an epoch;
# bytes per number of a one-hot label: comparing it with 0 and 1.
_PER_IMAGE, _PER_NUMBER = 64, 3
# NumPy's headers of plain arrays have 118 bytes or 182.
_LONGEST_HEADER = 1024
# Bytes of a list of 150,000 members: zipfile reads it in a second.
_LONGEST_LIST = 16 << 20
_END, _END64 = b"PK\x05\x06", b"PK\x06\x06"
_CHUNK = 1 << 20
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_READERS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
# The caller selects among these kinds; objects are pickles, and never opened.
_PLAIN = "biufcSUMm"


class Npz:
    """An open .npz file; use `opened`.

    Attributes:
        names: names of its arrays.
        reading: the array that was read last, "" before the first.
        expected: the expected arrays, for messages.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int, content: str) -> None:
        self._archive, self._room = archive, max(_ROOM, _TIMES * size)
        self.reading, self.expected = "", content
        self._members: dict[str, list[zipfile.ZipInfo]] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            self._members.setdefault(name, []).append(member)
        self.names = list(self._members)

    def read(self, name: str, kinds: str = _PLAIN) -> np.ndarray:
        """Reads one array.

        Args:
            name: one of `names`.
            kinds: allowed kinds of dtypes, as in `numpy.dtype.kind`.

        Raises:
            InvalidArgument: an array of another kind, or more than the file may hold.
        """
        self.reading = name
        member = self._member(name)

        def take(size: int, shape: tuple[int, ...], order: typing.Any) -> None:
            self._take(size * (2 if order == "F" and len(shape) > 1 else 1), shape)

        with self._archive.open(member) as stream:
            return _read_array(stream, member.file_size, kinds, take)

    def _member(self, name: str) -> zipfile.ZipInfo:
        member, *others = self._members[name]
        if others:
            raise InvalidArgument("it is there twice")
        if member.flag_bits & _ENCRYPTED:
            raise InvalidArgument("it is encrypted")
        if member.compress_type not in _METHODS:
            raise InvalidArgument(
                "it must be stored or deflated, as NumPy writes it; its method is "
                f"{member.compress_type}"
            )
        return member

    def _take(self, size: int, shape: tuple[int, ...]) -> None:
        size += _PER_IMAGE * (shape[0] if shape else 0)
        size += _PER_NUMBER * (math.prod(shape) if len(shape) == 2 else 0)
        if size > self._room:
            raise InvalidArgument(
                f"the arrays may take {_TIMES} times the size of the file, and always "
                f"{_ROOM / 2**20:.0f} MB; this one takes {size / 2**20:,.0f} MB more "
                "(np.savez, which does not compress, has no such limit)"
            )
        self._room -= size


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], content: str) -> Iterator[Npz]:
    """Opens an `Npz`; every fault of the file becomes a message of one line.

    Args:
        path: the file.
        content: the expected arrays, for the message, such as `"x_test and y_test"`.

    Raises:
        InvalidArgument: a file or an array that cannot be read.
    """
    npz = None
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            _check_list(file, size)
            with zipfile.ZipFile(file) as archive:
                npz = Npz(archive, size, content)
                yield npz
    # Damaged files, and arrays that exceed the memory, raise nearly anything in zipfile,
    # zlib and NumPy.
    except Exception as error:
        reason = "there is no memory for it"
        if not isinstance(error, MemoryError):
            reason = first_line(error)
        array = f"{printable(npz.reading, 60)}: " if npz and npz.reading else ""
        raise InvalidArgument(
            f"{printable(str(path))} must be an .npz file with arrays "
            f"{npz.expected if npz else content}: "
            f"{array}{reason}"
        ) from None


def read_stream(
    stream: IO[bytes], size: int, kinds: str = _PLAIN, most: int = _ROOM
) -> np.ndarray:
    """Reads the array of an .npy file.

    Args:
        stream: at its beginning.
        size: bytes of the file.
        kinds: allowed kinds of dtypes, as in `numpy.dtype.kind`.
        most: bytes that the array may have.

    Raises:
        InvalidArgument: an array of another kind, or one that the file does not hold.
    """

    def take(need: int, shape: tuple[int, ...], order: typing.Any) -> None:
        if need > most:
            raise InvalidArgument(
                f"an array may have {most / 2**20:,.0f} MB; this one has "
                f"{need / 2**20:,.0f} MB"
            )

    return _read_array(stream, size, kinds, take)


def _read_array(
    stream: typing.Any, size: int, kinds: str, take: Callable[..., None]
) -> np.ndarray:
    """Reads an array; `take` (bytes, shape, order) refuses one that is too large."""
    shape, order, dtype = _header(stream)
    if dtype.kind not in kinds:
        raise InvalidArgument(f"it must be of numbers; got {printable(str(dtype), 60)}")
    count = math.prod(shape)
    need = count * dtype.itemsize
    if stream.tell() + need != size:
        raise InvalidArgument(
            f"its header says {need:,} bytes, its file has {size - stream.tell():,}"
        )
    take(need, shape, order)
    array = np.empty(count, dtype)
    _fill(stream, array.view("uint8").data)
    return array.reshape(shape, order=order)


def _check_list(file: IO[bytes], size: int) -> None:
    """Raises `InvalidArgument` if the archive's list of members is too long."""
    start = max(0, size - (1 << 16) - 22)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0:
        raise InvalidArgument("it is not an archive, or breaks off")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    # In large archives the 64-bit record and its locator precede it.
    before = tail[max(0, at - 76) : at]
    if before.startswith(_END64):
        length = int.from_bytes(before[40:48], "little")
    if length > _LONGEST_LIST:
        raise InvalidArgument(
            f"its list of members may have {_LONGEST_LIST / 2**20:.0f} MB; it has "
            f"{length / 2**20:,.0f} MB"
        )


def _header(
    stream: IO[bytes],
) -> tuple[tuple[int, ...], typing.Literal["C", "F"], np.dtype]:
    """The (shape, "C" or "F", dtype) in the header of an array's file."""
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise InvalidArgument(f"its format has version {version}, not (1, 0) or (2, 0)")
    width, read = _READERS[version]
    length = stream.read(width)
    said = int.from_bytes(length, "little")
    if said > _LONGEST_HEADER:
        raise InvalidArgument(
            f"its header has {said:,} bytes, that of a plain array at most "
            f"{_LONGEST_HEADER:,}"
        )
    shape, fortran, dtype = read(io.BytesIO(length + stream.read(said)))
    if min(shape, default=0) < 0:
        raise InvalidArgument(f"its shape is {shape}")
    return shape, "F" if fortran else "C", dtype


def _fill(stream: typing.Any, view: memoryview) -> None:
    """Fills `view` with bytes and has the checksum verified."""
    at = 0
    while at < len(view):
        read = stream.readinto(view[at : at + _CHUNK])
        if not read:
            raise InvalidArgument("it breaks off")
        at += read
    # zipfile compares the checksum at the end of the stream.
    if stream.read(1):
        raise InvalidArgument("there is more behind its end")
