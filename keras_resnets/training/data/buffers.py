"""Reuses the memory of batches."""

import collections
import typing
import weakref

import numpy as np

# Bytes; TensorFlow and JAX need this alignment to use an array without copying it.
_ALIGNMENT = 64
_MOST_FREE = 12


class Buffers:
    """Uninitialized float32 arrays of one shape, in memory that is no longer in use.

    The system has to provide and clear new memory for every batch, which takes a tenth
    of the time of a batch of photos. Memory is in use while any array refers to it,
    including tensors that TensorFlow, JAX or PyTorch made from such an array.

    Args:
        shape: shape of the arrays.
    """

    def __init__(self, shape: tuple[typing.Any, ...]) -> None:
        self._shape, self._size = tuple(shape), 4 * int(np.prod(shape))
        # Both ends of a deque are safe to use from any thread.
        self._free: collections.deque[np.ndarray] = collections.deque(maxlen=_MOST_FREE)

    def take(self, count: int) -> np.ndarray:
        """Returns an uninitialized array with the first `count` rows of the shape."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._size + _ALIGNMENT, "uint8")
        holder = _Holder(memory)
        weakref.finalize(holder, self._free.append, memory).atexit = False
        raw = np.asarray(holder)
        first = -raw.ctypes.data % _ALIGNMENT
        values = raw[first : first + self._size].view("float32")
        return values.reshape(self._shape)[:count]


class _Holder:
    """An object that lives as long as the NumPy array made from it, and its views."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__
