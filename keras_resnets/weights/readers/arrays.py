"""Memory-mapped arrays of the number types that checkpoints hold."""

import functools
import math
import mmap

import numpy as np

from keras_resnets.errors import WeightsError

# bfloat16 is no type of NumPy's: its bits are the upper half of a float32.
BFLOAT16 = "bfloat16"


class MappedFile:
    """A file of which arrays are views."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self):
        return len(self._map)

    def bytes(self, start, count):
        """`count` bytes from `start`.

        Raises:
            WeightsError: a range outside the file.
        """
        self._check(start, count)
        return self._map[start : start + count]

    def array(self, start, dtype, shape):
        """A view of the file, or a function of one for types that are converted.

        Args:
            start: first byte.
            dtype: little-endian NumPy type, or `BFLOAT16`.
            shape: of the array, row by row.

        Raises:
            WeightsError: a range outside the file.
        """
        stored = np.dtype("<u2" if dtype == BFLOAT16 else dtype)
        count = math.prod(shape)
        self._check(start, count * stored.itemsize)
        flat = np.frombuffer(self._map, stored, count, start) if count else []
        return np.asarray(flat, stored).reshape(shape)

    def maker(self, start, dtype, shape):
        """What makes the array that `array` views, in the type that we compute in."""
        return functools.partial(converted, self.array(start, dtype, shape), dtype)

    def _check(self, start, count):
        if start < 0 or count < 0 or start + count > len(self._map):
            raise WeightsError(
                f"a tensor of {count:,} bytes at {start:,} lies outside the file's "
                f"{len(self._map):,}"
            )


def converted(array, dtype):
    """`array` as float32 where it holds floating point, and as it is elsewhere."""
    if dtype == BFLOAT16:
        return (array.astype("<u4") << 16).view("<f4")
    if array.dtype.kind == "f":
        return array.astype("<f4", copy=False)
    return array
