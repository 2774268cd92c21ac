"""Reads the opcodes of a pickle and makes plain data of them, nothing else.

Python's own `pickle` calls functions and changes objects as a file asks it to. Here a
file can name only what a table lists, and each value is one of these: a number, a text,
a tuple, a list, a dict by strings, an immutable record of the caller, or `INERT`. None of
them is ever hashed, compared or printed with its contents, since a few bytes can nest
more than any program could traverse.
"""

import pickletools
import struct
import typing
from collections.abc import Callable

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers.pickle_machine import INERT
from keras_resnets.weights.readers.pickle_machine import ITEM
from keras_resnets.weights.readers.pickle_machine import OBJECT
from keras_resnets.weights.readers.pickle_machine import TUPLE
from keras_resnets.weights.readers.pickle_machine import Machine
from keras_resnets.weights.readers.pickle_machine import Name

# Two seconds of reading; 16 MB of what programs write has fewer.
_MOST_OPCODES = 4_000_000
# Python's own pickler ends at a thousand.
_MOST_MARKS = 10_000
# Rebuilding a tensor takes at most ten; copying a million would be slow.
MOST_ARGUMENTS = 100
_FOUR = struct.Struct("<I").unpack_from


def read_pickle(
    content: typing.Any,
    start: int,
    stop: int,
    names: dict[tuple[str, str], Name],
    refer: Callable[..., typing.Any],
) -> tuple[typing.Any, ...]:
    """Reads one pickle.

    Args:
        content: bytes or a `mmap.mmap`.
        start: where the pickle begins in it.
        stop: where `content` ends for it.
        names: dict from (module, name) to `Name`.
        refer: function of the reader, which counts memory by its `spend`, and of a
            persistent reference; returns the object that it refers to.

    Returns:
        (value, position after the pickle).

    Raises:
        WeightsError: a name that is not in the table, an opcode that data do not need,
            damage, or more data than the pickle's length allows.
    """
    reader = Machine(content, start, stop, names, refer)
    try:
        return _run(reader), reader.at
    except WeightsError:
        raise
    except (IndexError, TypeError, ValueError, struct.error):
        raise WeightsError(f"its pickle is damaged at byte {reader.at:,}") from None


def _run(reader: Machine) -> int | list[str] | dict[str, dict[str, int] | int]:
    """Reads up to STOP."""
    content = reader.content
    try:
        for _ in range(_MOST_OPCODES):
            opcode = content[reader.at]
            reader.at += 1
            _HANDLERS[opcode](reader)
    except _Stop:
        return reader.stack.pop()
    raise WeightsError(f"its pickle has more than {_MOST_OPCODES:,} opcodes")


class _Stop(Exception):
    """Signals the end of the pickle."""


def _stop(reader: Machine) -> None:
    raise _Stop


def _refuse(reader: typing.Any) -> None:
    opcode = reader.content[reader.at - 1]
    description = {code.code: code for code in pickletools.opcodes}.get(chr(opcode))
    if description is None:
        raise WeightsError(f"its pickle has the byte {opcode} for an opcode")
    raise WeightsError(f"its pickle uses the opcode {description.name}: refused")


# The most frequent opcodes: without a call inside.


def _one_byte(reader: Machine) -> None:
    reader.stack.append(reader.content[reader.at])
    reader.at += 1


def _get(reader: Machine) -> None:
    reader.stack.append(reader.memo[reader.content[reader.at]])
    reader.at += 1


def _get_four(reader: typing.Any) -> None:
    reader.stack.append(reader.memo[_FOUR(reader.content, reader.at)[0]])
    reader.at += 4


def _put_four(reader: Machine) -> None:
    (number,) = _FOUR(reader.content, reader.at)
    reader.at += 4
    if number == len(reader.memo):
        reader.memo.append(reader.stack[-1])
    else:
        reader.put(number)


def _memoize(reader: typing.Any) -> None:
    reader.memo.append(reader.stack[-1])


def _text_four(reader: Machine) -> None:
    (count,) = _FOUR(reader.content, reader.at)
    reader.at += 4
    reader.text(count)


def _global(reader: Machine) -> None:
    reader.name(reader.line(), reader.line())


def _stack_global(reader: typing.Any) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    reader.name(module, name)


def _int(reader: typing.Any) -> None:
    line = reader.line()
    value = {"00": False, "01": True}.get(line, INERT)
    # Protocol 1 writes decimal numbers: 64 bits have at most 20 characters.
    reader.stack.append(int(line) if value is INERT and len(line) <= 20 else value)


def _tuple(reader: Machine) -> None:
    values = reader.above_mark()
    reader.push(tuple(values), TUPLE + ITEM * len(values))


def _dict(reader: typing.Any) -> None:
    values = reader.above_mark()
    reader.push({}, OBJECT)
    reader.entries(values[::2], values[1::2])


def _mark(reader: Machine) -> None:
    reader.marks.append(len(reader.stack))
    if len(reader.marks) > _MOST_MARKS:
        raise WeightsError(f"its pickle nests more than {_MOST_MARKS:,} values")


def _set_item(reader: typing.Any) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    reader.entries((key,), (value,))


def _set_items(reader: Machine) -> None:
    values = reader.above_mark()
    reader.entries(values[::2], values[1::2])


def _append(reader: typing.Any) -> None:
    value = reader.stack.pop()
    reader.items([value])


def _add_items(reader: typing.Any) -> None:
    reader.above_mark()
    if reader.stack[-1] is not INERT:
        raise WeightsError("its pickle adds items outside of a set: refused")


def _frozen_set(reader: typing.Any) -> None:
    reader.above_mark()
    reader.stack.append(INERT)


def _call(
    reader: Machine,
    name: Name,
    arguments: tuple[typing.Any, ...],
    may: Callable[..., typing.Any],
) -> None:
    if type(name) is not Name or name.call is None or not may(name):
        raise WeightsError("its pickle calls something that is not a tensor: refused")
    if type(arguments) is not tuple or len(arguments) > MOST_ARGUMENTS:
        raise WeightsError("its pickle calls something without its arguments: refused")
    reader.stack.append(name.call(reader, *arguments))


def _reduce(reader: Machine) -> None:
    arguments, name = reader.stack.pop(), reader.stack.pop()
    _call(reader, name, arguments, lambda name: True)


def _new(reader: typing.Any) -> None:
    arguments, name = reader.stack.pop(), reader.stack.pop()
    _call(reader, name, arguments, lambda name: name.is_class)


def _new_by_words(reader: typing.Any) -> None:
    reader.stack.pop()
    _new(reader)


def _build(reader: typing.Any) -> None:
    """Skips attributes of dicts (`_metadata`) and of options, which are not needed."""
    reader.stack.pop()
    target = reader.stack[-1]
    if target is not INERT and type(target) is not dict:
        raise WeightsError("its pickle changes what it made by BUILD: refused")


# What Python's picklers write for data in protocols 2 to 5.
_READ = {
    "\x80": lambda r: r.skip(1),
    "\x95": lambda r: r.skip(8),
    ".": _stop,
    "(": _mark,
    "0": lambda r: r.stack.pop(),
    "1": lambda r: r.above_mark(),
    "N": lambda r: r.stack.append(None),
    "\x88": lambda r: r.stack.append(True),
    "\x89": lambda r: r.stack.append(False),
    "I": _int,
    "J": lambda r: r.stack.append(r.number("<i")),
    "K": _one_byte,
    "M": lambda r: r.stack.append(r.number("<H")),
    "\x8a": lambda r: r.whole(r.number("B")),
    "\x8b": lambda r: r.whole(r.number("<i")),
    "G": lambda r: r.inert(8),
    "X": _text_four,
    "\x8c": lambda r: r.text(r.number("B")),
    "\x8d": lambda r: r.text(r.number("<Q")),
    "T": lambda r: r.ascii(r.number("<i")),
    "U": lambda r: r.ascii(r.number("B")),
    "B": lambda r: r.inert(r.number("<I")),
    "C": lambda r: r.inert(r.number("B")),
    "\x8e": lambda r: r.inert(r.number("<Q")),
    "\x96": lambda r: r.inert(r.number("<Q")),
    ")": lambda r: r.stack.append(()),
    "t": _tuple,
    "\x85": lambda r: r.above(1),
    "\x86": lambda r: r.above(2),
    "\x87": lambda r: r.above(3),
    "]": lambda r: r.push([], OBJECT),
    "l": lambda r: r.push(r.above_mark(), OBJECT),
    "a": _append,
    "e": lambda r: r.items(r.above_mark()),
    "}": lambda r: r.push({}, OBJECT),
    "d": _dict,
    "s": _set_item,
    "u": _set_items,
    "\x8f": lambda r: r.stack.append(INERT),
    "\x90": _add_items,
    "\x91": _frozen_set,
    "q": lambda r: r.put(r.number("B")),
    "r": _put_four,
    "\x94": _memoize,
    "h": _get,
    "j": _get_four,
    "c": _global,
    "\x93": _stack_global,
    "Q": lambda r: r.stack.append(r.refer(r, r.stack.pop())),
    "R": _reduce,
    "\x81": _new,
    "\x92": _new_by_words,
    "b": _build,
}
_HANDLERS = [_READ.get(chr(opcode), _refuse) for opcode in range(256)]
