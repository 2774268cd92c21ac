"""The errors of this package, and helpers for their messages."""

import collections.abc
import difflib
import numbers
import os
import pathlib
import reprlib
import typing
from collections.abc import Collection
from collections.abc import Iterable

_Kinds = type | tuple[type, ...]


class InvalidArgument(ValueError):
    """A value that cannot be used: the message gives the rule and what is allowed."""


class UnknownLayer(InvalidArgument):
    """A layer of a model that this package does not compute in integers.

    Args:
        fact: the layer, and what is not known.
        instead: what to use in its place; "" if there is nothing.
    """

    def __init__(self, fact: str, instead: str = "") -> None:
        # Both are arguments, so that another process gets the same error by pickle.
        super().__init__(fact, instead)
        self.fact, self.instead = fact, instead

    def __str__(self) -> str:
        advice = "quantize after training to 8 bits with the engine 'converter'"
        return f"{self.fact}: {self.instead}{', or ' if self.instead else ''}{advice}"


class WeightsError(ValueError):
    """A weights file that cannot be read, or that does not fit the model."""


class ExportError(RuntimeError):
    """An exported file that differs from its model."""


class NotWritten(OSError):
    """A file that could not be written, with the reason and what was kept."""


class TrainingError(RuntimeError):
    """A training that cannot continue."""


class TrainingNote(UserWarning):
    """An assumption or omission of a training, which continues."""


# Long values are cut before they are formatted, not afterwards.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxtuple = _SHORT.maxlist = 12


def nearest(value: object, allowed: Iterable[str], count: int = 3) -> list[str]:
    """Returns the allowed names that are most similar to `value`, best first.

    Underscores, hyphens and case are ignored: `resnet_50` should find `resnet50` before
    `resnext50_32x4d`.
    """
    plain = {name: name.lower().replace("_", "").replace("-", "") for name in allowed}
    # Comparing takes as long as the product of the lengths.
    query = shown(value).strip("'\"").lower().replace("_", "").replace("-", "")
    ranked = sorted(
        plain,
        key=lambda name: difflib.SequenceMatcher(None, query, plain[name]).ratio(),
        reverse=True,
    )
    return [
        name
        for name in ranked[:count]
        # 0.6 is difflib's own limit. Below it are words such as mean, for max.
        if difflib.SequenceMatcher(None, query, plain[name]).ratio() >= 0.6
    ]


def shown(value: object, longest: int = 100) -> str:
    """Formats a value for a message: Python's repr as one printable line, cut.

    Args:
        value: any value, however large.
        longest: the most characters that are shown.

    Example:
        >>> shown([7] * 1000)
        '[7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, ...]'
    """
    try:
        text = _SHORT.repr(value)
    except ValueError:
        # Python refuses to format integers of thousands of digits.
        text = f"a {type(value).__name__} of thousands of digits"
    return printable(text, longest)


def printable(text: str | bytes, longest: int = 200) -> str:
    r"""Makes untrusted text printable on a terminal: one line, escaped, cut.

    Control characters (escape sequences, line ends, marks of writing direction) and
    characters that cannot be encoded are shown as `\x1b`.

    Args:
        text: a string, or bytes in UTF-8.
        longest: the most characters that are shown.

    Example:
        >>> printable("layer1\x1b[2J")
        'layer1\\x1b[2J'
    """
    if isinstance(text, bytes):
        text = text[: 4 * longest].decode("utf-8", "surrogateescape")
    cut = text[:longest]
    shown = "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in cut
    )
    return shown[:longest] + ("..." if len(text) > longest else "")


def counted(number: int, word: str) -> str:
    """Returns a number of things: `1 image`, `2 images`.

    Example:
        >>> counted(1, "image"), counted(1200, "image")
        ('1 image', '1,200 images')
    """
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def some(names: Collection[object], most: int = 3, longest: int = 100) -> str:
    """Returns the first few of some names for a message, printable and cut.

    Args:
        names: the names.
        most: how many are shown.
        longest: the most characters that are shown of each.

    Example:
        >>> some(["cat", "dog", "owl", "yak"])
        'cat, dog, owl, ...'
    """
    shown = [printable(str(name), longest) for name in list(names)[:most]]
    return ", ".join(shown) + (", ..." if len(names) > most else "")


def first_line(error: BaseException | str) -> str:
    """Returns the first line of another library's error, printable and cut.

    A heading (`Graph execution error:`) is skipped if more follows.
    """
    text = str(error)[:10_000]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.endswith(":")] or lines or [repr(error)]
    return printable(said[0], 300)


def check_choice(argument: str, value: object, allowed: Collection[object]) -> None:
    """Raises `InvalidArgument` unless `value` is one of `allowed`."""
    if isinstance(value, collections.abc.Hashable) and value in allowed:
        return
    near = nearest(value, [str(name) for name in allowed], count=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    options = ", ".join(repr(name) for name in allowed)
    raise InvalidArgument(
        f"{argument} must be one of {options}; got {shown(value)}{hint}"
    )


def check_type(argument: str, value: object, kinds: _Kinds, rule: str) -> None:
    """Raises `InvalidArgument` unless `value` is an instance of one of `kinds`.

    Args:
        argument: its name, for the message.
        value: what was given.
        kinds: a class, or several.
        rule: what it must be, for the message: `a Preprocessing`.
    """
    if not isinstance(value, kinds):
        kind = "None" if value is None else f"{type(value).__name__} {shown(value)}"
        raise InvalidArgument(f"{argument} must be {rule}; got {kind}")


def check_path(
    argument: str, value: object, rule: str = "the path of a file or folder"
) -> pathlib.Path:
    """Returns `value` as a path.

    Raises:
        InvalidArgument: it is no string and no `os.PathLike` of one.
    """
    check_type(argument, value, (str, os.PathLike), rule)
    path = os.fspath(typing.cast("str | os.PathLike[str]", value))
    if not isinstance(path, str):
        raise InvalidArgument(f"{argument} must be {rule}; got {shown(path)}")
    return pathlib.Path(path)


def check_range(
    argument: str, value: object, low: float, high: float, inclusive: bool = True
) -> None:
    """Raises `InvalidArgument` unless `low <= value <= high` (or `< high`)."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = float(value)
        if low <= value and (value <= high if inclusive else value < high):
            return
    end = "]" if inclusive else ")"
    raise InvalidArgument(
        f"{argument} must lie in [{low}, {high}{end}; got {shown(value)}"
    )


def check_positive_int(argument: str, value: object) -> int:
    """Returns `value` as `check_whole` does, which must be at least 1."""
    return check_whole(argument, value, 1)


def check_whole(argument: str, value: object, least: int = 0) -> int:
    """Returns a whole number of Python or NumPy as Python's.

    Raises:
        InvalidArgument: something else, or a number below `least`.
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        if int(value) >= least:
            return int(value)
    raise InvalidArgument(
        f"{argument} must be a whole number >= {least}; got {shown(value)}"
    )
