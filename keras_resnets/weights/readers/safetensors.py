"""The safetensors format: a JSON header with offsets, then the data."""

import functools
import json
import math
import pathlib
import re
import typing

import numpy as np

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers.arrays import BFLOAT16
from keras_resnets.weights.readers.arrays import MappedFile
from keras_resnets.weights.readers.arrays import check_shape
from keras_resnets.weights.readers.arrays import refuse_numbers
from keras_resnets.weights.readers.checkpoint import MOST_TENSORS
from keras_resnets.weights.readers.checkpoint import Checkpoint
from keras_resnets.weights.readers.checkpoint import check_name
from keras_resnets.weights.readers.checkpoint import too_many

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
# Number types of the format that weights of this package cannot have.
_OTHER_DTYPES = re.compile(r"[FIUC]\d{1,3}(_\w{1,20})?|E\d{1,2}M\d{1,2}\w{0,20}")
_ENTRY = {"dtype": str, "shape": list, "data_offsets": list}
# Bytes for 50,000 tensors with names as networks have. The format's own limit is
# 100 MB, which take gigabytes in Python.
_LARGEST_HEADER = 8_000_000


def read_safetensors(path: pathlib.Path) -> Checkpoint:
    """Returns the `Checkpoint` of a .safetensors file; tensors are views of the file."""
    file = MappedFile(path)
    length = int.from_bytes(file.bytes(0, 8), "little")
    if length > len(file) - 8:
        raise WeightsError(f"its header claims {length:,} bytes of {len(file):,}")
    if length > _LARGEST_HEADER:
        raise WeightsError(
            f"its header has {length:,} bytes; up to {_LARGEST_HEADER:,} are read"
        )
    header = json.loads(file.bytes(8, length), object_pairs_hook=_unique)
    if type(header) is not dict:
        raise WeightsError("its header is not a table of tensors")
    metadata = _metadata(header.pop("__metadata__", None))
    if len(header) > MOST_TENSORS:
        raise too_many()
    makers: dict[str, typing.Any] = {}
    ranges = []
    for name, entry in header.items():
        check_name(name)
        kind, shape, (start, stop) = _claims(name, entry)
        ranges.append((start, stop))
        if kind not in _DTYPES:
            makers[name] = functools.partial(refuse_numbers, name, kind)
            continue
        dtype = np.dtype(_DTYPES[kind])
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise WeightsError(
                f"{name} of {kind} and shape {shape} does not fill bytes {start:,} to "
                f"{stop:,}"
            )
        makers[name] = functools.partial(file.array, 8 + length + start, dtype, shape)
    _check_without_holes(ranges, len(file) - 8 - length)
    return Checkpoint(path, "safetensors", makers, metadata)


def _claims(name: str, entry: dict[str, typing.Any]) -> tuple[typing.Any, ...]:
    """(number type, shape, range of bytes) of a tensor in the header."""
    if type(entry) is not dict or {k: type(v) for k, v in entry.items()} != _ENTRY:
        raise WeightsError(f"{name} has no dtype, shape and data_offsets, or others")
    kind, shape = entry["dtype"], tuple(entry["shape"])
    if kind not in _DTYPES and not _OTHER_DTYPES.fullmatch(kind):
        raise WeightsError(f"{name} has an unknown dtype: {printable(kind, 30)}")
    check_shape(name, shape)
    offsets = tuple(entry["data_offsets"])
    if len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
        raise WeightsError(f"{name} must have two data_offsets")
    return kind, shape, offsets


def _metadata(metadata: dict[str, str]) -> dict[str, str]:
    if metadata is None:
        return {}
    if type(metadata) is not dict or not all(type(v) is str for v in metadata.values()):
        raise WeightsError("its __metadata__ is not a table of strings")
    return metadata


def _unique(pairs: list[typing.Any]) -> dict[str, typing.Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise WeightsError("its header names a tensor twice")
    return entries


def _check_without_holes(ranges: list[tuple[int, int]], size: int) -> None:
    position = 0
    for start, stop in sorted(ranges):
        if start != position or stop < start or stop > size:
            raise WeightsError(
                f"its data overlap, have a hole, or end behind the file at byte "
                f"{position:,}: a tensor lies outside the file or in another"
            )
        position = stop
    if position != size:
        raise WeightsError(
            f"its data have {size:,} bytes; the header says {position:,}"
        )


def write_safetensors(
    file: typing.BinaryIO,
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes arrays in their given order.

    Args:
        file: open for writing bytes.
        tensors: mapping from name to NumPy array.
        metadata: mapping of strings for the header, or None.
    """
    header: dict[str, typing.Any] = {}
    position = 0
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
