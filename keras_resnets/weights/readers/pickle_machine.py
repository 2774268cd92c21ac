"""The state that the opcodes of a pickle change: a stack, marks, a memo, a memory count.

The length of a pickle bounds what it makes: `_MEMORY` bytes for each of its bytes. Lists
of small tuples and of empty dicts, the costliest that programs write, take 7 and 11.
"""

import dataclasses
import struct
import typing
from collections.abc import Callable

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable

# What to do with an object that has weights, in messages.
SAVE_STATE = "write torch.save(model.state_dict(), FILE)"
# Bytes of memory for each byte of a pickle, and the least for any pickle.
_MEMORY, _LEAST = 12, 1 << 20
# The name of a module or a class.
_LONGEST_LINE = 500
# Bytes of a whole number that counts or identifies something; longer ones are states
# of random generators.
_LONGEST_NUMBER = 32
# Bytes that a list or dict, a text, a tuple, its item, and an entry of a dict take.
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
    """An object that a pickle may name.

    Attributes:
        value: the object.
        call: function of the reader and of the arguments; None if it cannot be called.
        is_class: whether `copyreg.__newobj__` may call it too.
    """

    value: object = None
    call: Callable[..., object] | None = None
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
        """Returns the next `count` bytes."""
        start, self.at = self.at, self.at + count
        if count < 0 or self.at > self.stop:
            raise WeightsError(f"its pickle has {count:,} bytes where it ends")
        return self.content[start : self.at]

    def skip(self, count: int) -> None:
        """Skips `count` bytes."""
        if not 0 <= count <= self.stop - self.at:
            raise WeightsError(f"its pickle has {count:,} bytes where it ends")
        self.at += count

    def number(self, layout: str) -> int:
        """Returns the next whole number, packed as `layout`."""
        (number,) = struct.unpack_from(layout, self.content, self.at)
        self.at += _SIZES[layout]
        return number

    def line(self) -> str:
        """Returns the text up to the next end of a line."""
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
        """Pushes a value that takes `memory` bytes onto the stack."""
        self.spend(memory)
        self.stack.append(value)

    def text(self, count: int) -> None:
        """Pushes the next `count` bytes as a text."""
        # As Python does: file names may have bytes that are not UTF-8.
        text = self.bytes(count).decode("utf-8", "surrogatepass")
        self.spend(_TEXT + len(text) * (1 if text.isascii() else 4))
        self.stack.append(text)

    def ascii(self, count: int) -> None:
        """Pushes a `str` of Python 2, which may hold any bytes."""
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
        """Pushes `INERT` for the next `count` bytes, which no tensor needs."""
        self.skip(count)
        self.stack.append(INERT)

    def above_mark(self) -> list[typing.Any]:
        """Pops the values above the last mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def above(self, count: int) -> None:
        """Replaces the last `count` values by a tuple of them."""
        values = tuple(self.stack[-count:])
        if len(values) != count:
            raise IndexError
        self.spend(TUPLE + ITEM * count)
        del self.stack[-count:]
        self.stack.append(values)

    def put(self, number: int) -> None:
        """Stores the last value in the memo."""
        value, memo = self.stack[-1], self.memo
        if number > self.at - self.start:
            raise WeightsError(f"its pickle numbers its memo {number:,}: refused")
        if number >= len(memo):
            # Python 2 counts from 1.
            memo.extend([INERT] * (number + 1 - len(memo)))
        memo[number] = value

    def name(self, module: str, name: str) -> None:
        """Pushes the table's entry for a name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError
        try:
            self.stack.append(self.names[module, name])
        except KeyError:
            asked = printable(f"{module[:200]}.{name[:200]}")
            raise WeightsError(
                f"its pickle asks for {asked}, which is not a tensor: refused; load it "
                f"with its own program, and {SAVE_STATE}"
            ) from None

    def entries(self, keys: list[str], values: list[typing.Any]) -> None:
        """Adds entries to the dict on the stack; only string keys are kept."""
        entries = self.stack[-1]
        if type(entries) is not dict:
            raise WeightsError("its pickle sets items outside of a dict: refused")
        self.spend(_ENTRY * len(keys))
        for key, value in zip(keys, values, strict=True):
            if type(key) is str:
                entries[key] = value

    def items(self, values: list[str]) -> None:
        """Adds values to the list on the stack."""
        items = self.stack[-1]
        if type(items) is not list:
            raise WeightsError("its pickle appends outside of a list: refused")
        items.extend(values)
