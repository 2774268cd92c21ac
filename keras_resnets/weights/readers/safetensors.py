"""The safetensors format: a JSON header with offsets, then the data."""

import functools
import json
import math
import re

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.arrays import BFLOAT16
from keras_resnets.weights.readers.arrays import MappedFile
from keras_resnets.weights.readers.arrays import refuse_numbers
from keras_resnets.weights.readers.checkpoint import Checkpoint

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
# Number types of the format that no weights of ours can have.
_OTHER_DTYPES = re.compile(r"(F|I|U|C)\d+(_\w+)?|E\d+M\d+\w*|BOOL")
# The format's own limit.
_LARGEST_HEADER = 100_000_000


def read_safetensors(path):
    """The `Checkpoint` of a .safetensors file; its tensors are views of the file."""
    file = MappedFile(path)
    length = int.from_bytes(file.bytes(0, 8), "little")
    if length > min(_LARGEST_HEADER, len(file) - 8):
        raise WeightsError(f"its header claims {length:,} bytes of {len(file):,}")
    header = json.loads(file.bytes(8, length), object_pairs_hook=_unique)
    metadata = header.pop("__metadata__", None)
    makers, ranges = {}, []
    for name, entry in header.items():
        shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
            raise WeightsError(f"{name} has no whole shape and offsets: {entry}")
        ranges.append((start, stop))
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None and _OTHER_DTYPES.fullmatch(entry["dtype"]):
            makers[name] = functools.partial(refuse_numbers, name, entry["dtype"])
            continue
        if (
            stop - start
            != math.prod(shape) * np.dtype(_DTYPES[entry["dtype"]]).itemsize
        ):
            raise WeightsError(f"{name} of shape {shape} does not fill its {entry}")
        makers[name] = file.maker(8 + length + start, dtype, shape)
    _check_without_holes(ranges, len(file) - 8 - length)
    return Checkpoint(path, "safetensors", makers, metadata)


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise WeightsError("its header names a tensor twice")
    return found


def _check_without_holes(ranges, size):
    position = 0
    for start, stop in sorted(ranges):
        if start != position:
            raise WeightsError(f"its data overlap or have a hole at byte {start:,}")
        position = stop
    if position != size:
        raise WeightsError(
            f"its data have {size:,} bytes; the header says {position:,}"
        )


def write_safetensors(file, tensors, metadata=None):
    """Writes arrays in the order given.

    Args:
        file: open for writing bytes.
        tensors: mapping from name to NumPy array.
        metadata: mapping of strings for the header, or None.
    """
    header, position = {}, 0
    if metadata:
        header["__metadata__"] = dict(metadata)
    for name, array in tensors.items():
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in tensors.values():
        file.write(np.ascontiguousarray(array).tobytes())
