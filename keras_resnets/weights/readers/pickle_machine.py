"""What the opcodes of a pickle work on: a stack, marks, a memo, and memory that counts.

What a pickle makes is bounded by its length: `_MEMORY` bytes for each of its bytes.
Lists of small tuples and of empty dicts, the costliest that programs write, take 7 and
11.
"""

import dataclasses
import struct
import typing
from collections.abc import Callable

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable

# Bytes of memory for each byte of a pickle, and for the smallest.
_MEMORY, _LEAST = 12, 1 << 20
# A module's or a class's name.
_LONGEST_LINE = 500
# Of a whole number that counts or identifies something; longer ones are states of
# random generators.
_LONGEST_NUMBER = 32
# What a list or dict, a text, a tuple, its item, and an entry of a dict take.
OBJECT, _TEXT, TUPLE, ITEM, _ENTRY = 64, 50, 40, 8, 50
_SIZES = {"B": 1, "<H": 2, "<i": 4, "<I": 4, "<Q": 8}


class _Inert:
    """The class of `INERT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "INERT"


# Stands for every object that no tensor needs: an option, a float, a set.
INERT = _Inert()


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Name:
    """What a pickle may name.

    Attributes:
        value: what the name stands for.
        call: function of the reader and of the arguments; None: it cannot be called.
        is_class: whether `copyreg.__newobj__` may call it too.
    """

    value: object = None
    call: Callable | None = None
    is_class: bool = False


class Machine:
    """The state of reading one pickle; see `opcodes.read_pickle`."""

    __slots__ = (
        "at",
        "content",
        "marks",
        "memo",
        "names",
        "refer",
        "spent",
        "stack",
        "start",
        "stop",
    )

    def __init__(
        self,
        content: typing.Any,
        start: int,
        stop: int,
        names: dict[tuple[str, str], Name],
        refer: Callable[..., typing.Any],
    ) -> None:
        self.content, self.start, self.at, self.stop = content, start, start, stop
        self.names, self.refer = names, refer
        self.stack: list[typing.Any] = []
        self.marks: list[typing.Any] = []
        self.memo: list[typing.Any] = []
        self.spent = 0

    def spend(self, memory: int) -> None:
        """Counts `memory` bytes that a value takes."""
        self.spent += memory
        if self.spent > _MEMORY * (self.at - self.start) + _LEAST:
            raise WeightsError(
                f"its pickle makes more than {_MEMORY} bytes of data of each of its own"
            )

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes."""
        start, self.at = self.at, self.at + count
        if count < 0 or self.at > self.stop:
            raise WeightsError(f"its pickle has {count:,} bytes where it ends")
        return self.content[start : self.at]

    def skip(self, count: int) -> None:
        """Passes over `count` bytes."""
        if not 0 <= count <= self.stop - self.at:
            raise WeightsError(f"its pickle has {count:,} bytes where it ends")
        self.at += count

    def number(self, layout: str) -> int:
        """The next whole number, packed as `layout` says."""
        (number,) = struct.unpack_from(layout, self.content, self.at)
        self.at += _SIZES[layout]
        return number

    def line(self) -> str:
        """The text up to the next end of a line."""
        end = self.content.find(
            b"\n", self.at, min(self.stop, self.at + _LONGEST_LINE + 1)
        )
        if end < 0:
            raise WeightsError(
                f"its pickle has a line of more than {_LONGEST_LINE} characters"
            )
        text = self.content[self.at : end].decode()
        self.at = end + 1
        return text

    def push(
        self,
        value: object,
        memory: int,
    ) -> None:
        """Puts a value that takes `memory` bytes onto the stack."""
        self.spend(memory)
        self.stack.append(value)

    def text(self, count: int) -> None:
        """Pushes the next `count` bytes as a text."""
        # As Python's: names of files may have bytes that are no UTF-8.
        text = self.bytes(count).decode("utf-8", "surrogatepass")
        self.spend(_TEXT + len(text) * (1 if text.isascii() else 4))
        self.stack.append(text)

    def ascii(self, count: int) -> None:
        """Pushes a `str` of Python 2, which may be any bytes."""
        content = self.bytes(count)
        text = content.decode("ascii") if content.isascii() else INERT
        self.push(text, _TEXT + count)

    def whole(self, count: int) -> None:
        """Pushes the next `count` bytes as a whole number."""
        if count > _LONGEST_NUMBER:
            self.skip(count)
            self.stack.append(INERT)
        else:
            content = self.bytes(count)
            self.stack.append(int.from_bytes(content, "little", signed=True))

    def inert(self, count: int) -> None:
        """Pushes what the next `count` bytes say, which no tensor needs."""
        self.skip(count)
        self.stack.append(INERT)

    def above_mark(self) -> list[typing.Any]:
        """Takes what lies above the last mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def above(self, count: int) -> None:
        """Takes the last `count` values, as a tuple."""
        values = tuple(self.stack[-count:])
        if len(values) != count:
            raise IndexError
        self.spend(TUPLE + ITEM * count)
        del self.stack[-count:]
        self.stack.append(values)

    def put(self, number: int) -> None:
        """Remembers the last value."""
        value, memo = self.stack[-1], self.memo
        if number > self.at - self.start:
            raise WeightsError(f"its pickle numbers its memo {number:,}: refused")
        if number >= len(memo):
            # Python 2 counts from 1.
            memo.extend([INERT] * (number + 1 - len(memo)))
        memo[number] = value

    def name(self, module: str, name: str) -> None:
        """Pushes what the table has for a name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError
        try:
            self.stack.append(self.names[module, name])
        except KeyError:
            asked = printable(f"{module[:200]}.{name[:200]}")
            raise WeightsError(
                f"its pickle asks for {asked}, which is no tensor: refused"
            ) from None

    def entries(self, keys: list[str], values: list[typing.Any]) -> None:
        """Adds entries to the dict on the stack; only texts are names."""
        entries = self.stack[-1]
        if type(entries) is not dict:
            raise WeightsError("its pickle sets items of what is no dict: refused")
        self.spend(_ENTRY * len(keys))
        for key, value in zip(keys, values, strict=True):
            if type(key) is str:
                entries[key] = value

    def items(self, values: list[str]) -> None:
        """Adds values to the list on the stack."""
        items = self.stack[-1]
        if type(items) is not list:
            raise WeightsError("its pickle appends to what is no list: refused")
        items.extend(values)
