"""The bytes of an HDF5 file, and its trees, read within bounds."""

import struct
import typing
from collections.abc import Iterator

from keras_resnets.errors import WeightsError

# HDF5's undefined address.
UNDEFINED = 0xFFFFFFFFFFFFFFFF
# ResNet-1202 takes 0.2 million steps; a million take 2 s.
_MOST_STEPS = 1_000_000
# Trees of files of 4 GB have 3 levels; more is a loop.
_DEEPEST_TREE = 8


class Content:
    """The bytes of a file, with a bound on how many its structure may ask for.

    Args:
        data: a `bytes` or `mmap.mmap`.
    """

    def __init__(self, data: typing.Any) -> None:
        self._data, self._left, self._steps = data, 2 * len(data), 0

    def __len__(self) -> int:
        return len(self._data)

    def take(self, start: int, count: int) -> bytes:
        """Returns `count` bytes of structure from `start`.

        Raises:
            WeightsError: a range outside the file, or structure that repeats itself.
        """
        self.check(start, count)
        self.spend(count)
        return self._data[start : start + count]

    def unpack(self, layout: str, start: int) -> tuple[typing.Any, ...]:
        """Unpacks numbers in a `struct` layout (little-endian) from `start`."""
        return struct.unpack(
            f"<{layout}", self.take(start, struct.calcsize("<" + layout))
        )

    def spend(self, count: int) -> None:
        """Counts `count` bytes of structure, in one step."""
        self._left -= count
        self._steps += 1
        if self._left < 0 or self._steps > _MOST_STEPS:
            raise WeightsError(
                "its structure repeats itself: an honest file of "
                f"{len(self):,} bytes has less"
            )

    def check(self, start: int, count: int) -> None:
        """Raises `WeightsError` for a range outside the file."""
        if start + count > len(self._data):
            raise WeightsError(
                f"it points to {count:,} bytes at {start:,}, outside the file's "
                f"{len(self):,}"
            )

    def raw(self) -> typing.Any:
        """Returns the `bytes` or `mmap.mmap` itself, for values."""
        return self._data


def leaves(
    content: Content, address: int, kind: int, key: str, level: typing.Any = None
) -> Iterator[tuple[int, ...]]:
    """Yields the leaf entries of a version-1 B-tree: its key's numbers, the address.

    Args:
        content: the bytes of the file.
        address: the address of the tree's root.
        kind: 0 for groups, 1 for chunks.
        key: `struct` layout of a key.
        level: the level that the node must have; None for the root.
    """
    signature, node_kind, own, count = content.unpack("4sBBH", address)
    if (
        signature != b"TREE"
        or node_kind != kind
        or own != (own if level is None else level)
    ):
        raise WeightsError(f"it has no tree at {address:,}")
    if own > _DEEPEST_TREE:
        raise WeightsError(f"it has a tree that is more than {_DEEPEST_TREE} deep")
    entry = struct.Struct(f"<{key}Q")
    entries = content.take(address + 24, count * entry.size)
    for numbers in entry.iter_unpack(entries):
        content.spend(0)
        if own:
            yield from leaves(content, numbers[-1], kind, key, own - 1)
        else:
            yield numbers
