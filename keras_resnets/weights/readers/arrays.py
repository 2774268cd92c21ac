"""Memory-mapped arrays of the number types that checkpoints hold."""

import functools
import math
import mmap

import ml_dtypes
import numpy as np

from keras_resnets.errors import WeightsError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def refuse_numbers(name, kind):
    """Raises: numbers of `kind` are no weights.

    Raises:
        WeightsError: always, with the tensor's name and what is read.
    """
    raise WeightsError(
        f"{name} holds {kind} numbers; weights are float16, bfloat16, float32 or "
        "float64 (a quantized checkpoint is not read)"
    )


def checked(name, array, variance=False):
    """`array`, where its numbers can be weights in float32.

    Args:
        name: the tensor's, for the error.
        array: of any number type.
        variance: whether its numbers are variances, which are not below 0.

    Raises:
        WeightsError: whole or complex numbers, NaN, infinity, numbers beyond float32,
            or negative variances.
    """
    if array.dtype.kind != "f" and array.dtype != BFLOAT16:
        refuse_numbers(name, array.dtype.name)
    with np.errstate(over="ignore"):
        single = np.asarray(array, "float32")
    if not np.isfinite(single).all():
        if np.isnan(single).any():
            what = "NaN"
        elif array.dtype == np.float64 and np.isfinite(array).all():
            what = "numbers beyond the range of float32"
        else:
            what = "infinite numbers"
        raise WeightsError(f"{name} holds {what}: such weights compute nothing")
    if variance and single.size and single.min() < 0:
        raise WeightsError(f"{name} holds the variance {single.min():g}: below 0")
    return array


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
        """A view of the file.

        Args:
            start: first byte.
            dtype: little-endian NumPy type.
            shape: of the array, row by row.

        Raises:
            WeightsError: a range outside the file.
        """
        dtype, count = np.dtype(dtype), math.prod(shape)
        self._check(start, count * dtype.itemsize)
        flat = np.frombuffer(self._map, dtype, count, start) if count else []
        return np.asarray(flat, dtype).reshape(shape)

    def maker(self, start, dtype, shape):
        """What makes the array that `array` views; a wrong range is found at once."""
        return functools.partial(np.asarray, self.array(start, dtype, shape))

    def _check(self, start, count):
        if start < 0 or count < 0 or start + count > len(self._map):
            raise WeightsError(
                f"a tensor of {count:,} bytes at {start:,} lies outside the file's "
                f"{len(self._map):,}"
            )
