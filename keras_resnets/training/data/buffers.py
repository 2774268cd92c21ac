"""Memory for batches that is used again."""

import collections
import typing
import weakref

import numpy as np

# Bytes; what TensorFlow and JAX count on to take an array over without copying it.
_ALIGNMENT = 64
_MOST_KEPT = 12


class Buffers:
    """Empty float32 arrays of one shape, out of memory that nobody holds any more.

    Fresh memory has to be fetched from the system and cleared for every batch, which
    takes a tenth of the time of a batch of photos. Memory is held by any array that
    looks at it, and so by what TensorFlow, JAX or PyTorch made of such an array.

    Args:
        shape: of the arrays.
    """

    def __init__(self, shape: tuple[typing.Any, ...]) -> None:
        self._shape, self._size = tuple(shape), 4 * int(np.prod(shape))
        # Both ends of a deque are safe to use from any thread.
        self._free: collections.deque = collections.deque(maxlen=_MOST_KEPT)

    def take(self, count: int) -> np.ndarray:
        """An empty array of the first `count` rows of the shape."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._size + _ALIGNMENT, "uint8")
        holder = _Holder(memory)
        weakref.finalize(holder, self._free.append, memory).atexit = False
        raw = np.asarray(holder)
        first = -raw.ctypes.data % _ALIGNMENT
        whole = raw[first : first + self._size].view("float32")
        return whole.reshape(self._shape)[:count]


class _Holder:
    """Lives as long as an array that NumPy made of it, or a view of one."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__
