"""Reads a flatbuffer in place, and checks every offset and length before using it.

The Python library has no verifier, and its readers and TFLite's runtimes trust the file.
"""

import mmap
import struct
import typing

from keras_resnets.export.protobuf import Damaged

# Tables and vector items that are read; the largest network here has 10,000.
_PARTS = 500_000
_SIZES = {"b": 1, "B": 1, "f": 4, "i": 4, "I": 4, "q": 8, "Q": 8}


class File:
    """The bytes of a flatbuffer.

    Args:
        content: bytes or `mmap`.
        identifier: the four bytes after the first offset.

    Attributes:
        root: its `Table`.
    """

    def __init__(self, content: bytes | mmap.mmap, identifier: bytes) -> None:
        if len(content) < 8 or content[4:8] != identifier:
            raise Damaged(f"it does not start like a {identifier.decode()} file")
        self.content, self._remaining = content, _PARTS
        self.root = Table(self, self.number("I", 0))

    def number(self, kind: str, place: int) -> typing.Any:
        """The number at an offset; `kind` is a format character of `struct`."""
        self._check(place, _SIZES[kind])
        return struct.unpack_from(f"<{kind}", self.content, place)[0]

    def _check(self, place: int, size: int) -> None:
        if place < 0 or place + size > len(self.content):
            raise Damaged(
                f"it points to byte {place + size:,} of {len(self.content):,}"
            )

    def vector(self, place: int, size: int) -> tuple[int, int]:
        """(begin, length) of a vector; `size` is the bytes of a value."""
        count = self.number("I", place)
        self._check(place + 4, count * size)
        return place + 4, count

    def visit(self, count: int = 1) -> None:
        """Counts parts of the file that are read; raises if they are too many."""
        self._remaining -= count
        if self._remaining < 0:
            raise Damaged(f"it has more than {_PARTS:,} parts")


class Table:
    """A table of a flatbuffer; fields are read by their numbers.

    Args:
        file: the `File`.
        place: where it begins.
    """

    __slots__ = ("_fields", "_file", "_place")

    def __init__(self, file: File, place: int) -> None:
        file.visit()
        self._file, self._place = file, place
        fields = place - file.number("i", place)
        # The bytes of this list, those of the table, then each field's offset in the table.
        head = file.number("I", fields)
        length, size = head & 0xFFFF, head >> 16
        if length < 4 or length % 2 or size < 4:
            raise Damaged(f"there is no list of fields at byte {fields:,}")
        file._check(fields, length)
        file._check(place, size)
        self._fields = struct.unpack_from(
            f"<{length // 2 - 2}H", file.content, fields + 4
        )
        if any(offset >= size or 0 < offset < 4 for offset in self._fields):
            raise Damaged(f"the table at byte {place:,} has a field beyond its end")

    def number(self, field: int, kind: str, default: typing.Any = 0) -> typing.Any:
        """The number in a field."""
        place = self._at(field)
        return default if place is None else self._file.number(kind, place)

    def table(self, field: int) -> "Table | None":
        """The table in a field, or None."""
        place = self._target(field)
        return None if place is None else Table(self._file, place)

    def tables(self, field: int) -> "list[Table]":
        """The tables of the vector in a field."""
        begin, count = self._vector(field, 4)
        self._file.visit(count)
        places = range(begin, begin + 4 * count, 4)
        return [Table(self._file, p + self._file.number("I", p)) for p in places]

    def numbers(self, field: int, kind: str = "i") -> tuple[typing.Any, ...]:
        """The numbers of the vector in a field."""
        begin, count = self._vector(field, _SIZES[kind])
        self._file.visit(count)
        return struct.unpack_from(f"<{count}{kind}", self._file.content, begin)

    def length(self, field: int, size: int = 1) -> int:
        """The length of the vector in a field; `size` is the bytes of a value."""
        return self._vector(field, size)[1]

    def text(self, field: int, longest: int = 1 << 16) -> str:
        """The string in a field, truncated; bytes that are not UTF-8 are escaped."""
        begin, count = self._vector(field, 1)
        text = self._file.content[begin : begin + min(count, longest)]
        return text.decode("utf-8", "backslashreplace")

    def _at(self, field: int) -> int | None:
        if field >= len(self._fields) or not self._fields[field]:
            return None
        return self._place + self._fields[field]

    def _target(self, field: int) -> int | None:
        place = self._at(field)
        return None if place is None else place + self._file.number("I", place)

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        place = self._target(field)
        return (0, 0) if place is None else self._file.vector(place, size)
