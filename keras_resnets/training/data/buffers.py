"""Memory for batches that is used again."""

import sys
import threading

import numpy as np

# Bytes; what TensorFlow and JAX count on to take an array over without copying it.
_ALIGNMENT = 64
_MOST_KEPT = 12
# The list, the loop's name and the call's argument.
_OURS = 3


class Buffers:
    """Empty float32 arrays of one shape, out of memory that nobody holds any more.

    Fresh memory has to be fetched from the system and cleared for every batch, which
    took a tenth of the time of a batch of photos. Memory counts as held as long as
    Python counts a reference to it besides this object's: any array that looks at it
    is one, and so is what TensorFlow, JAX or PyTorch made of such an array.

    Args:
        shape: of the arrays.
    """

    def __init__(self, shape):
        self._shape, self._size = tuple(shape), 4 * int(np.prod(shape))
        self._kept, self._lock = [], threading.Lock()

    def take(self, count):
        """An empty array of the first `count` rows of the shape."""
        with self._lock:
            raw = self._free()
            first = -raw.ctypes.data % _ALIGNMENT
            whole = raw[first : first + self._size].view("float32")
        return whole.reshape(self._shape)[:count]

    def _free(self):
        for raw in self._kept:
            if sys.getrefcount(raw) == _OURS:
                return raw
        raw = np.empty(self._size + _ALIGNMENT, "uint8")
        if len(self._kept) < _MOST_KEPT:
            self._kept.append(raw)
        return raw
