"""Reads Protobuf messages in place, within bounds.

Protobuf libraries create an object of a hundred bytes from as few as two, without a limit,
and TensorFlow's message classes require TensorFlow. This module reads only the requested
fields, and limits their number.
"""

import math
import mmap
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

# ResNet-152 has 5,000 as ONNX, and 360,000 of 13 bytes as Keras' SavedModel; reading this
# many takes three seconds.
_FIELDS = 2_000_000
# Parts of one message; of a graph these are nodes, weights and names: ResNet-152 has 1,500
# as ONNX, and 12,000 in all as Keras' SavedModel.
_PARTS = 200_000
_BYTES_A_FIELD, _FREE = 4, 100_000
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


class Damaged(ValueError):
    """The bytes are not a message, or not of the expected kind."""


def product(sides: Iterable[int]) -> int:
    """Returns the number of values of a shape, at most 2**62."""
    return min(math.prod(sides), 1 << 62)


class Message:
    """A part of a file that is a message, a string or packed numbers.

    Args:
        content: the file, as bytes or `mmap`.
        start, end: the range of the part.
        left: list with the number of fields that may still be read.
    """

    __slots__ = ("content", "end", "left", "start")

    def __init__(
        self, content: Any, start: int = 0, end: int | None = None, left: Any = None
    ) -> None:
        self.content, self.start = content, start
        self.end = len(content) if end is None else end
        self.left = left
        if left is None:
            self.left = [min(_FIELDS, _FREE + len(content) // _BYTES_A_FIELD)]

    def __len__(self) -> int:
        return self.end - self.start

    def fields(self) -> Iterator[tuple[int, Any]]:
        """Yields (number, value): an int, or a `Message`, also for fixed-width fields."""
        content, place, end, left = self.content, self.start, self.end, self.left
        value: Any
        while place < end:
            left[0] -= 1
            if left[0] < 0:
                raise Damaged("it has more fields than a network takes")
            key = content[place]
            place += 1
            # Most keys and lengths have one byte.
            if key > 127:
                key, place = self._varint(place - 1)
            number, kind = key >> 3, key & 7
            if not number:
                raise Damaged(f"byte {place - 1:,} is not a field of a message")
            if kind == _VARINT:
                value, place = self._varint(place)
            elif kind == _BYTES:
                size, begin = content[place] if place < end else 128, place + 1
                if size > 127:
                    size, begin = self._varint(place)
                place = begin + size
                value = Message(content, begin, place, left)
            elif kind in (_EIGHT, _FOUR):
                begin, place = place, place + (8 if kind == _EIGHT else 4)
                value = Message(content, begin, place, left)
            else:
                raise Damaged(f"byte {place - 1:,} is not a field of a message")
            if place > end:
                raise Damaged(f"field {number} ends {place - end:,} bytes too late")
            yield number, value

    def _varint(self, place: int) -> tuple[int, int]:
        content, end, value, shift = self.content, self.end, 0, 0
        while place < end and shift < 70:
            byte = content[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1, place
            shift += 7
        raise Damaged("a number in it has no end")

    def grouped(self) -> dict[int, list[Any]]:
        """Returns the `Message`s of all fields by their numbers, in one pass."""
        groups: dict[int, list[Any]] = {}
        count = 0
        for number, value in self.fields():
            if not isinstance(value, int):
                groups.setdefault(number, []).append(value)
                count += 1
                if count > _PARTS:
                    raise Damaged(f"a message in it has more than {_PARTS:,} parts")
        return groups

    def parts(self, number: int) -> list[Any]:
        """Returns the `Message`s of a field, in order."""
        return self.grouped().get(number, [])

    def part(self, number: int) -> Any:
        """Returns a field's only piece, or all of them joined; may be empty."""
        pieces = self.parts(number)
        return Joined(pieces, self.left) if len(pieces) != 1 else pieces[0]

    def number(self, number: int, default: int = 0) -> int:
        """Returns the last integer of a field, signed."""
        value = default
        for field, content in self.fields():
            if field == number and isinstance(content, int):
                value = content - (1 << 64) if content >> 63 else content
        return value

    def numbers(self, number: int) -> list[int]:
        """Returns the integers of a repeated field, packed or not, signed; at most 64."""
        values: list[int] = []
        for field, content in self.fields():
            if field == number:
                values += [content] if isinstance(content, int) else content.packed(65)
            if len(values) > 64:
                raise Damaged("a shape has more than 64 sides")
        return [value - (1 << 64) if value >> 63 else value for value in values]

    def packed(self, most: int) -> list[int]:
        """Returns consecutive varints, at most `most`."""
        values: list[int] = []
        place = self.start
        while place < self.end and len(values) < most:
            value, place = self._varint(place)
            values.append(value)
        return values

    def bytes(self, longest: int = 1 << 16) -> Any:
        """Returns the content, cut at `longest`."""
        return bytes(self.content[self.start : min(self.end, self.start + longest)])

    def text(self, number: int, longest: int = 1 << 16) -> str:
        """Returns the last string of a field, cut; bytes that are not UTF-8 are escaped."""
        texts = self.parts(number)
        whole = texts[-1].bytes(longest) if texts else b""
        return whole.decode("utf-8", "backslashreplace")

    def entries(self, number: int) -> Any:
        """Yields (key, `Message`) of a map from strings to messages."""
        for entry in self.parts(number):
            yield entry.text(1), entry.part(2)


class Joined(Message):
    """A message in several pieces, which protobuf treats as one."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Any, left: Any) -> None:
        super().__init__(b"", left=left)
        self._pieces = pieces

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def fields(self) -> Iterator[tuple[int, Any]]:
        """See `Message.fields`."""
        for piece in self._pieces:
            yield from piece.fields()


def opened(path: Any) -> Any:
    """Maps a file into memory.

    Args:
        path: the file.

    Returns:
        A bytes-like `mmap`, which is closed with its last reference.

    Raises:
        Damaged: an empty file.
    """
    with open(path, "rb") as file:
        if not pathlib.Path(path).stat().st_size:
            raise Damaged("it is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
