"""Reads the list of variables of a TensorFlow checkpoint, without TensorFlow.

`variables.index` is a table of LevelDB: sorted keys in blocks, each with a message
(BundleEntryProto) that gives the file and the position of a variable.
"""

import pathlib
import struct
import typing

from keras_resnets.errors import printable
from keras_resnets.export import protobuf

INDEX = "variables.index"
_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
# A variable takes about 60 bytes here; this package's largest network has 2,000.
_LARGEST = 64 << 20
_SHARDS = 10_000

# DataType of TensorFlow: NumPy's name, bytes per value.
_TYPES = {
    1: ("float32", 4),
    2: ("float64", 8),
    3: ("int32", 4),
    4: ("uint8", 1),
    5: ("int16", 2),
    6: ("int8", 1),
    7: ("string", 0),
    8: ("complex64", 8),
    9: ("int64", 8),
    10: ("bool", 1),
    11: ("qint8", 1),
    12: ("quint8", 1),
    13: ("qint32", 4),
    14: ("bfloat16", 2),
    15: ("qint16", 2),
    16: ("quint16", 2),
    17: ("uint16", 2),
    18: ("complex128", 16),
    19: ("float16", 2),
    20: ("resource", 0),
    21: ("variant", 0),
    22: ("uint32", 4),
    23: ("uint64", 8),
}


def name_of(dtype: int) -> str:
    """Returns NumPy's name of a TensorFlow type, by its number."""
    return _TYPES.get(dtype, ("unknown", 0))[0]


def size_of(dtype: int, count: int) -> int:
    """Returns the bytes of `count` values of a type; 0 for strings and handles."""
    return _TYPES.get(dtype, ("unknown", 8))[1] * count


def check_folder(folder: pathlib.Path) -> bool:
    """Raises `protobuf.Damaged` unless a SavedModel's own files are complete.

    Args:
        folder: a `pathlib.Path`.

    Returns:
        Whether there are variables: a graph of constants has none.
    """
    for name in ("saved_model.pb", "fingerprint.pb"):
        if (folder / name).exists() and not (folder / name).is_file():
            raise protobuf.Damaged(f"{name} is not a file")
    variables = folder / "variables"
    index = variables / INDEX
    if not variables.exists() or (variables.is_dir() and not index.exists()):
        return False
    if not index.is_file():
        raise protobuf.Damaged(f"variables/{INDEX} is not a file")
    _check_index(index)
    return True


def _check_index(path: pathlib.Path) -> None:
    size = path.stat().st_size
    if size > _LARGEST:
        raise protobuf.Damaged(f"{path.name} has {size:,} bytes; {_LARGEST:,} at most")
    content = path.read_bytes()
    entries = list(_entries(content))
    if not entries or entries[0][0] != b"":
        raise protobuf.Damaged(f"{path.name} lists no variables")
    shards = entries[0][1].number(1)
    if not 1 <= shards <= _SHARDS:
        raise protobuf.Damaged(f"{path.name} names {shards:,} files")
    sizes: dict[typing.Any, int] = {}
    for key, entry in entries[1:]:
        _check_entry(path, printable(key, 60), entry, shards, sizes)


def _check_entry(
    path: pathlib.Path, name: str, entry: typing.Any, shards: int, sizes: typing.Any
) -> None:
    dims = [dim.number(1) for dim in entry.part(2).parts(2)]
    shard, offset, size = (entry.number(number) for number in (3, 4, 5))
    if entry.parts(7):
        # Slices have their own entries.
        return
    if not 0 <= shard < shards or min([0, offset, size, *dims]) < 0 or len(dims) > 64:
        raise protobuf.Damaged(f"the variable {name!r} has no valid position")
    if shard not in sizes:
        data = path.with_suffix(f".data-{shard:05d}-of-{shards:05d}")
        if not data.is_file():
            raise protobuf.Damaged(f"variables has no {data.name}")
        sizes[shard] = data.stat().st_size
    dtype = entry.number(1)
    expected_bytes = size_of(dtype, protobuf.product(dims))
    if expected_bytes and expected_bytes != size:
        raise protobuf.Damaged(
            f"the variable {name!r} takes {expected_bytes:,} bytes; its entry has {size:,}"
        )
    if offset + size > sizes[shard]:
        raise protobuf.Damaged(
            f"the variable {name!r} ends {offset + size - sizes[shard]:,} bytes behind "
            "the end of its file"
        )


def _entries(content: bytes) -> typing.Iterator[typing.Any]:
    """Yields (key, `protobuf.Message`) of a table."""
    if len(content) < _FOOTER or _magic(content) != _MAGIC:
        raise protobuf.Damaged(
            "variables.index is not a list of variables, or a part of one"
        )
    footer = protobuf.Message(content, len(content) - _FOOTER, len(content) - 8)
    _, _, begin, size = _handles(footer, 4)
    # The keys, which share prefixes, are shorter than this in total.
    left = [64 * len(content)]
    for _, start, end in _block(content, begin, size, left):
        place, length = _handles(protobuf.Message(content, start, end), 2)
        for key, start, end in _block(content, place, length, left):
            yield key, protobuf.Message(content, start, end)


def _magic(content: bytes) -> int:
    return struct.unpack_from("<Q", content, len(content) - 8)[0]


def _handles(message: typing.Any, count: int) -> list[int]:
    numbers = message.packed(count)
    if len(numbers) < count:
        raise protobuf.Damaged("variables.index has no blocks")
    return numbers[:count]


def _block(
    content: bytes, begin: int, size: int, left: typing.Any
) -> typing.Iterator[typing.Any]:
    """Yields (key, start, end) of the entries of a block."""
    # The compression and a checksum follow the block.
    if size < 4 or begin + size + 5 > len(content):
        raise protobuf.Damaged("variables.index has a block beyond its end")
    if content[begin + size]:
        raise protobuf.Damaged(
            "variables.index is compressed, which TensorFlow never does"
        )
    restarts = struct.unpack_from("<I", content, begin + size - 4)[0]
    end = begin + size - 4 * (1 + restarts)
    place, key = begin, b""
    while place < end:
        message = protobuf.Message(content, place, end)
        shared, fresh, length = _handles(message, 3)
        place += sum(_bytes_of(number) for number in (shared, fresh, length))
        left[0] -= 1 + shared
        if shared > len(key) or place + fresh + length > end or left[0] < 0:
            raise protobuf.Damaged("variables.index has an entry beyond its block")
        key = key[:shared] + bytes(content[place : place + fresh])
        place += fresh
        yield key, place, place + length
        place += length


def _bytes_of(number: int) -> int:
    """Returns the number of bytes of a varint, which holds seven bits per byte."""
    return max(1, -(-number.bit_length() // 7))
