"""Memory-mapped arrays of the number types that checkpoints hold."""

import math
import mmap
import pathlib
import typing

import ml_dtypes
import numpy as np

from keras_resnets.errors import WeightsError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# The limit of NumPy before 2.
_MOST_AXES = 32
# Elements of the largest possible file: no product of two such counts overflows NumPy.
_LARGEST = 1 << 48


def refuse_numbers(name: str, kind: typing.Any) -> None:
    """Raises for numbers of `kind`, which cannot be weights.

    Raises:
        WeightsError: always, with the tensor's name and the types that are read.
    """
    raise WeightsError(
        f"{name} contains {kind} numbers; weights are float16, bfloat16, float32 or "
        "float64 (of a quantized network, pass the float checkpoint)"
    )


def checked(name: str, array: np.ndarray, variance: bool = False) -> np.ndarray:
    """Returns `array` if its numbers can be weights in float32.

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
        raise WeightsError(f"{name} contains {what}: such weights compute nothing")
    if variance and single.size and single.min() < 0:
        raise WeightsError(f"{name} contains the variance {single.min():g}: below 0")
    return array


def check_shape(name: str, shape: tuple[typing.Any, ...]) -> None:
    """Raises unless a file's shape of a tensor is valid.

    Raises:
        WeightsError: not a tuple of whole numbers, or more numbers than a file can have.
    """
    _check_whole(name, shape)
    if math.prod(n or 1 for n in shape) > _LARGEST:
        raise WeightsError(f"{name} of shape {shape} has too many numbers")


def _check_whole(name: str, numbers: tuple[typing.Any, ...]) -> None:
    if type(numbers) is not tuple or len(numbers) > _MOST_AXES:
        raise WeightsError(f"{name} has no whole shape of up to {_MOST_AXES} axes")
    if not all(type(n) is int and 0 <= n <= _LARGEST for n in numbers):
        raise WeightsError(
            f"{name} has no whole shape, strides and place, of up to {_LARGEST:,}"
        )


class MappedFile:
    """A memory-mapped file; its arrays are views. `content` is the map."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, "rb") as file:
            self.content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self.content)

    def bytes(self, start: int, count: int) -> bytes:
        """Returns `count` bytes from `start`.

        Raises:
            WeightsError: a range outside the file.
        """
        self._check(start, count)
        return self.content[start : start + count]

    def array(
        self, start: int, dtype: np.dtype | str, shape: tuple[typing.Any, ...]
    ) -> np.ndarray:
        """Returns a view of the file.

        Args:
            start: first byte.
            dtype: little-endian NumPy type.
            shape: of the array, row by row.

        Raises:
            WeightsError: a range outside the file.
        """
        dtype, count = np.dtype(dtype), math.prod(shape)
        self._check(start, count * dtype.itemsize)
        flat: typing.Any = []
        if count:
            flat = np.frombuffer(self.content, dtype, count, start)
        return np.asarray(flat, dtype).reshape(shape)

    def view(
        self,
        name: str,
        place: tuple[int, int],
        dtype: np.dtype,
        shape: tuple[typing.Any, ...],
        strides: tuple[typing.Any, ...],
        offset: int = 0,
    ) -> np.ndarray:
        """Returns a view of a part of the file; every claim of the file is checked here.

        Args:
            name: the tensor's, for the error.
            place: (first byte, count of bytes) of the part.
            dtype: little-endian NumPy type.
            shape: tuple of sizes.
            strides: tuple of the numbers from one to the next, by axis.
            offset: number of the part that the view begins with.

        Returns:
            A read-only array whose numbers all lie inside the part.

        Raises:
            WeightsError: invalid shape or strides, or numbers outside the part.
        """
        check_shape(name, shape)
        _check_whole(name, strides)
        _check_whole(name, (offset,))
        if len(shape) != len(strides):
            raise WeightsError(f"{name} has {len(shape)} sizes, {len(strides)} strides")
        if 0 in shape:
            return np.zeros(shape, dtype)
        dtype, (start, size) = np.dtype(dtype), place
        self._check(start, size)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if (last + 1) * dtype.itemsize > size:
            raise WeightsError(
                f"{name} of shape {shape} with strides {strides} lies outside its "
                f"{size:,} bytes"
            )
        # NumPy looks whether they lie inside the file, too.
        steps = [s * dtype.itemsize for s in strides]
        return np.ndarray(
            shape, dtype, self.content, start + offset * dtype.itemsize, steps
        )

    def _check(self, start: int, count: int) -> None:
        if start < 0 or count < 0 or start + count > len(self.content):
            raise WeightsError(
                f"a tensor of {count:,} bytes at {start:,} lies outside the file's "
                f"{len(self.content):,}"
            )
