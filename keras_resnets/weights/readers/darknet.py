"""Darknet's .weights: a short header, then one stream of float32."""

import functools
import pathlib
import struct

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.arrays import MappedFile
from keras_resnets.weights.readers.checkpoint import Checkpoint


def is_darknet(head: bytes) -> bool:
    """Whether `head` is the beginning of a darknet file of version 0.1 to 0.9."""
    if len(head) < 16:
        return False
    major, minor, revision = struct.unpack("<3i", head[:12])
    return major == 0 and 0 < minor < 10 and 0 <= revision < 100


def read_darknet(path: pathlib.Path) -> Checkpoint:
    """Returns a `Checkpoint` with one entry, `"floats"`; the network assigns them."""
    file = MappedFile(path)
    major, minor, _ = struct.unpack("<3i", file.bytes(0, 12))
    if not 0 <= major < 10 or not 0 <= minor < 100:
        raise WeightsError(f"it claims darknet's version {major}.{minor}")
    # `seen`, the images trained on, has grown from 4 to 8 bytes.
    start = 20 if major * 10 + minor >= 2 else 16
    count, rest = divmod(len(file) - start, 4)
    if count < 1 or rest:
        raise WeightsError(f"{len(file):,} bytes are not a header and float32 numbers")
    floats = functools.partial(file.array, start, "<f4", (count,))
    return Checkpoint(path, "darknet", {"floats": floats})
