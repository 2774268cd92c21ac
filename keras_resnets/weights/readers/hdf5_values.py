"""The values of a dataset in an HDF5 file: their types and positions."""

import itertools
import math
import struct
import typing
import zlib

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.arrays import BFLOAT16
from keras_resnets.weights.readers.arrays import refuse_numbers
from keras_resnets.weights.readers.hdf5_bytes import UNDEFINED
from keras_resnets.weights.readers.hdf5_bytes import leaves

if typing.TYPE_CHECKING:
    from keras_resnets.weights.readers.hdf5_bytes import Content


# Keys: size, positions and widths of exponent and fraction, bias: IEEE's, and bfloat16.
_FLOATS = {
    (2, 10, 5, 0, 10, 15): "f2",
    (2, 7, 8, 0, 7, 127): BFLOAT16,
    (4, 23, 8, 0, 23, 127): "f4",
    (8, 52, 11, 0, 52, 1023): "f8",
}
_CLASSES = (
    "whole",
    "real",
    "time",
    "string",
    "bit field",
    "opaque",
    "compound",
    "reference",
    "enumerated",
    "variable-length",
    "array",
    "complex",
)
_MOST_AXES = 8
_GZIP, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_FILTERS = {_GZIP: "gzip", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32"}
# An array that may grow has chunks of up to 1 MiB, however small it is.
_CHUNK_TO_SPARE = 1 << 20


class Dataset:
    """A dataset of a file; its values are read on access.

    Args:
        path: its name, printable.
        content: a `hdf5_bytes.Content`.
        is_bfloat16: whether two opaque bytes are a bfloat16, as Keras stores them.
        space, kind, layout, filters: bytes of the messages that describe it; `filters`
            is None if it has none.

    Attributes:
        shape: sizes of its axes.
        dtype: NumPy's type; None if its values are not numbers.
        kind: the class of the values, in a word.
        cost: bytes that are read for it: its values, or the chunks that hold them.
    """

    def __init__(
        self,
        path: str,
        content: "Content",
        is_bfloat16: bool,
        space: bytes,
        kind: bytes,
        layout: bytes,
        filters: typing.Any,
    ) -> None:
        self.path, self._content = path, content
        self.shape = _shape(path, space)
        self.kind = _CLASSES[kind[0] & 15] if kind[0] & 15 < len(_CLASSES) else "other"
        self.dtype: typing.Any = _dtype(kind, is_bfloat16)
        size = self.dtype.itemsize if self.dtype is not None else 1
        self.cost = self._bytes = math.prod(self.shape) * size
        self._filters = _filter_ids(path, filters)
        self._find(layout)

    def values(self) -> np.ndarray:
        """Returns the array: a view of the file, or the content of its chunks.

        Raises:
            WeightsError: values that are not numbers or are missing, or damaged chunks.
        """
        if self.dtype is None:
            refuse_numbers(self.path, self.kind)
        if not self._bytes:
            return np.empty(self.shape, self.dtype)
        if self._chunk is not None:
            return self._from_chunks()
        if isinstance(self._place, int):
            self._content.check(self._place, self._bytes)
            data, start = self._content.raw(), self._place
        else:
            data, start = self._place, 0
        count = math.prod(self.shape)
        return np.frombuffer(data, self.dtype, count, start).reshape(self.shape)

    def _find(self, layout: bytes) -> None:
        """Locates the values: an address, bytes, or chunks of a shape."""
        version = layout[0]
        self._chunk: typing.Any = None
        self._place: typing.Any = None
        if version in (1, 2):
            form, place = layout[2], 8
        elif version in (3, 4):
            form, place = layout[1], 2
        else:
            form = None
        if form == 1:
            (self._place,) = struct.unpack_from("<Q", layout, place)
            self._check_written(self._place)
            self._content.check(self._place, self._bytes if self._place else 0)
        elif form == 0 and version > 2:
            (size,) = struct.unpack_from("<H", layout, place)
            self._place = bytes(layout[place + 2 : place + 2 + size])
            if len(self._place) != self._bytes and self.dtype is not None:
                self._refuse(f"has {size} bytes for values of {self._bytes}")
        elif form == 2 and version == 3:
            self._find_chunks(layout)
        else:
            how: dict[int | None, str] = {
                2: "chunks of libver='latest'",
                3: "another file (virtual)",
            }
            self._refuse(
                f"has its values in {how.get(form, 'an unknown place')}: a file of weights "
                "has them in itself, as h5py writes them by default"
            )
        if self._filters and form != 2:
            self._refuse("has filters, but no chunks")

    def _check_written(self, address: int) -> None:
        if address == UNDEFINED:
            if self._bytes:
                self._refuse(f"of shape {self.shape} is not in the file: never written")
            self._place = 0

    def _find_chunks(self, layout: typing.Any) -> None:
        axes, self._tree = struct.unpack_from("<BQ", layout, 2)
        self._check_written(self._tree)
        if axes != len(self.shape) + 1:
            self._refuse(f"has chunks of {axes - 1} axes, values of {len(self.shape)}")
        self._chunk = struct.unpack_from(f"<{axes - 1}I", layout, 11)
        if 0 in self._chunk:
            self._refuse(f"has chunks of shape {self._chunk}")
        if self.dtype is None:
            return
        size = math.prod(self._chunk) * self.dtype.itemsize
        pairs = zip(self.shape, self._chunk, strict=True)
        self._counts = [-(-side // part) for side, part in pairs]
        count = math.prod(self._counts)
        # The tree stores at least an address, a size and a position of each chunk.
        if count * (24 + 8 * axes - 8) > len(self._content):
            self._refuse(f"of shape {self.shape} is not in the file")
        if size > self._bytes + _CHUNK_TO_SPARE:
            self._refuse(f"has chunks of {self._chunk}, values of {self.shape}")
        self.cost = max(self._bytes, count * size)

    def _refuse(self, what: typing.Any) -> None:
        raise WeightsError(f"{self.path} {what}")

    def _from_chunks(self) -> typing.Any:
        places = self._chunk_places()
        values = np.empty(self.shape, self.dtype)
        for place in itertools.product(*map(range, self._counts)):
            start = tuple(n * side for n, side in zip(place, self._chunk, strict=True))
            chunk = self._read_chunk(*places[start])
            target = tuple(
                slice(at, at + side)
                for at, side in zip(start, self._chunk, strict=True)
            )
            part = values[target]
            part[...] = chunk[tuple(map(slice, part.shape))]
        return values

    def _chunk_places(self) -> dict[tuple[int, ...], tuple[int, int, int]]:
        """{first index: (bytes, filters left out, address)} of every chunk."""
        places: dict[tuple[int, ...], tuple[int, int, int]] = {}
        axes = len(self.shape)
        leaf: tuple[int, ...]
        for leaf in leaves(self._content, self._tree, 1, f"II{axes + 1}Q"):
            size, mask, *begin, _, address = leaf
            start = tuple(begin)
            if start in places:
                self._refuse(f"has a chunk twice, at {start}")
            places[start] = size, mask, address
        if len(places) != math.prod(self._counts):
            self._refuse(
                f"has {len(places)} of {math.prod(self._counts)} chunks: the others were "
                "never written"
            )
        for place in itertools.product(*map(range, self._counts)):
            start = tuple(n * side for n, side in zip(place, self._chunk, strict=True))
            if start not in places:
                self._refuse(f"has no chunk at {start}")
        return places

    def _read_chunk(self, size: int, mask: int, address: int) -> np.ndarray:
        self._content.check(address, size)
        data = self._content.raw()[address : address + size]
        size_in_memory = math.prod(self._chunk) * self.dtype.itemsize
        for number in reversed(range(len(self._filters))):
            if not mask >> number & 1:
                data = self._unfiltered(self._filters[number], data, size_in_memory)
        if len(data) != size_in_memory:
            self._refuse(
                f"has a chunk of {len(data):,} bytes instead of {size_in_memory:,}"
            )
        return np.frombuffer(data, self.dtype).reshape(self._chunk)

    def _unfiltered(
        self, which: typing.Any, data: typing.Any, size_in_memory: typing.Any
    ) -> typing.Any:
        if which == _GZIP:
            # A checksum of 4 bytes may be inside; longer data are refused.
            stream = zlib.decompressobj()
            data = stream.decompress(data, size_in_memory + 5)
            if not stream.eof:
                self._refuse("has a chunk that ends too early, or too late")
        elif which == _SHUFFLE:
            size = self.dtype.itemsize
            whole = len(data) - len(data) % size
            mixed = np.frombuffer(data, "u1", whole).reshape(size, -1)
            data = mixed.T.tobytes() + bytes(data[whole:])
        else:
            data, stored = data[:-4], data[-4:]
            if len(stored) < 4 or _fletcher32(data) != _words(stored):
                self._refuse("has a chunk whose checksum does not fit")
        return data


def _shape(path: str, space: bytes) -> tuple[int]:
    version, axes = space[0], space[1]
    if version not in (1, 2) or axes > _MOST_AXES:
        raise WeightsError(f"{path} has {axes} axes: weights have up to {_MOST_AXES}")
    if version == 2 and space[3] == 2:
        raise WeightsError(f"{path} is empty")
    return struct.unpack_from(f"<{axes}Q", space, 8 if version == 1 else 4)


def _dtype(kind: bytes, is_bfloat16: bool) -> np.dtype | None:
    """NumPy's type for the datatype message `kind`; None if it is not a number."""
    form, bits, _, _, size = struct.unpack_from("<4BI", kind)
    order = "<>"[bits & 1]
    if form & 15 == 0:
        start, wide = struct.unpack_from("<HH", kind, 8)
        if size not in (1, 2, 4, 8) or (start, wide) != (0, 8 * size):
            return None
        return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
    if form & 15 == 5 and size == 2 and is_bfloat16:
        return BFLOAT16
    if form & 15 != 1 or bits & 64:
        return None
    start, wide, *places = struct.unpack_from("<HH4BI", kind, 8)
    dtype = _FLOATS.get((size, *places))
    if dtype is None or (start, wide) != (0, 8 * size):
        return None
    return np.dtype(dtype).newbyteorder(order)


def _filter_ids(path: str, data: typing.Any) -> tuple[typing.Any, ...]:
    if data is None:
        return ()
    version, count = data[0], data[1]
    place, ids = 8 if version == 1 else 2, []
    for _ in range(count):
        (which,) = struct.unpack_from("<H", data, place)
        if which not in _FILTERS:
            name = {4: "szip", 32000: "lzf"}.get(which, f"number {which}")
            raise WeightsError(
                f"{path} is compressed by {name}: {', '.join(_FILTERS.values())} are read"
            )
        if version == 1:
            name, _, numbers = struct.unpack_from("<HHH", data, place + 2)
            place += 8 + -(-name // 8) * 8 + 4 * (numbers + numbers % 2)
        else:
            (numbers,) = struct.unpack_from("<H", data, place + 4)
            place += 6 + 4 * numbers
        ids.append(which)
    return tuple(ids)


def _fletcher32(data: typing.Any) -> typing.Any:
    """The two sums of HDF5's checksum, of 16-bit words, the first byte the higher."""
    words = np.frombuffer(bytes(data) + b"\0" * (len(data) % 2), ">u2").astype("int64")
    back = np.arange(len(words), 0, -1)
    return int(words.sum() % 65535), int((words * back % 65535).sum() % 65535)


def _words(stored: typing.Any) -> typing.Any:
    """The two sums in the four bytes of a stored checksum."""
    first, second = struct.unpack("<HH", stored)
    return first % 65535, second % 65535
