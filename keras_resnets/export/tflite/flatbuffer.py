"""A flatbuffer, read where it lies: every offset and length is looked at before it is used.

The library for Python has no verifier, and its readers and the runtimes of TFLite follow
whatever a file says.
"""

import mmap
import struct
import typing

from keras_resnets.export.protobuf import Damaged

# Parts of a file that are looked at; the largest of our networks has 10,000.
_PARTS = 500_000
_SIZES = {"b": 1, "B": 1, "f": 4, "i": 4, "I": 4, "q": 8, "Q": 8}


class File:
    """The bytes of a flatbuffer.

    Args:
        content: bytes or `mmap`.
        identifier: four bytes that stand behind the first offset.

    Attributes:
        root: its `Table`.
    """

    def __init__(self, content: bytes | mmap.mmap, identifier: bytes) -> None:
        if len(content) < 8 or content[4:8] != identifier:
            raise Damaged(f"it does not begin as a {identifier.decode()} file does")
        self.content, self._left = content, _PARTS
        self.root = Table(self, self.number("I", 0))

    def number(self, kind: str, place: int) -> typing.Any:
        """The number at a place; `kind` as `struct` has it."""
        self._check(place, _SIZES[kind])
        return struct.unpack_from(f"<{kind}", self.content, place)[0]

    def _check(self, place: int, size: int) -> None:
        if place < 0 or place + size > len(self.content):
            raise Damaged(
                f"it points at byte {place + size:,} of {len(self.content):,} in all"
            )

    def vector(self, place: int, size: int) -> tuple[int, int]:
        """(begin, length) of a vector of values of so many bytes."""
        count = self.number("I", place)
        self._check(place + 4, count * size)
        return place + 4, count

    def visit(self, count: int = 1) -> None:
        """Counts parts of the file that are looked at."""
        self._left -= count
        if self._left < 0:
            raise Damaged(f"it has more than {_PARTS:,} parts")


class Table:
    """A table of a flatbuffer: its fields by their numbers.

    Args:
        file: the `File`.
        place: where it begins.
    """

    __slots__ = ("_fields", "_file", "_place")

    def __init__(self, file: File, place: int) -> None:
        file.visit()
        self._file, self._place = file, place
        fields = place - file.number("i", place)
        # Two sizes, then a place in the table for each field; the second is the table's.
        head = file.number("I", fields)
        length, size = head & 0xFFFF, head >> 16
        if length < 4 or length % 2 or size < 4:
            raise Damaged(f"byte {fields:,} begins no list of fields")
        file._check(fields, length)
        file._check(place, size)
        self._fields = struct.unpack_from(
            f"<{length // 2 - 2}H", file.content, fields + 4
        )
        if any(offset >= size or 0 < offset < 4 for offset in self._fields):
            raise Damaged(f"the table at byte {place:,} has a field beyond its end")

    def number(self, field: int, kind: str, default: typing.Any = 0) -> typing.Any:
        """A number among the fields."""
        place = self._at(field)
        return default if place is None else self._file.number(kind, place)

    def table(self, field: int) -> "Table | None":
        """A table among the fields, or None."""
        place = self._target(field)
        return None if place is None else Table(self._file, place)

    def tables(self, field: int) -> "list[Table]":
        """The tables of a vector among the fields."""
        begin, count = self._vector(field, 4)
        self._file.visit(count)
        places = range(begin, begin + 4 * count, 4)
        return [Table(self._file, p + self._file.number("I", p)) for p in places]

    def numbers(self, field: int, kind: str = "i") -> tuple[typing.Any, ...]:
        """The numbers of a vector among the fields, as a tuple."""
        begin, count = self._vector(field, _SIZES[kind])
        self._file.visit(count)
        return struct.unpack_from(f"<{count}{kind}", self._file.content, begin)

    def length(self, field: int, size: int = 1) -> int:
        """How many values of so many bytes a vector among the fields has."""
        return self._vector(field, size)[1]

    def text(self, field: int, longest: int = 1 << 16) -> str:
        """A text among the fields, cut; what is no UTF-8 is escaped."""
        begin, count = self._vector(field, 1)
        whole = self._file.content[begin : begin + min(count, longest)]
        return whole.decode("utf-8", "backslashreplace")

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
