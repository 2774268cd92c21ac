"""Untrusted files: opened without blocking, read within bounds."""

import codecs
import json
import os
import stat
import typing
from typing import BinaryIO

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import printable

# Bytes of a text: the class names and weights of 20,000 classes, or the record of a run
# with all skipped names, take less than 2 MB. A JSON text of nothing but brackets takes
# 16 times its size as Python objects.
MOST_TEXT = 4 << 20


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for reading bytes; refuses pipes, sockets and devices.

    Opening those blocks until another process writes, and reading them may never end.

    Args:
        path: the file.

    Raises:
        OSError: no such file, or not a regular file.
    """
    no_wait = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | no_wait)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is a folder, pipe, socket or device, not a file")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_text(path: str | os.PathLike[str], what: str, most: int = MOST_TEXT) -> str:
    """Reads a small text file in UTF-8, or in UTF-16 with a byte order mark.

    UTF-16 is what Excel calls Unicode text, and what the older PowerShell writes.

    Args:
        path: the file.
        what: the expected content, for the message, such as `"the record of a run"`.
        most: the most bytes that it may have.

    Raises:
        InvalidArgument: a file that cannot be read, is larger, or is not such text.
    """
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise OSError(f"it has more than {most / 2**20:.0f} MB")
        is_wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        reason = "it is not text in UTF-8"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
    raise InvalidArgument(
        f"{printable(str(path))} must be {what}; it cannot be read: {reason}"
    )


def shown(value: object, longest: int = 60) -> str:
    """Formats a value from a file for a message, of any kind and depth."""
    try:
        return printable(repr(value), longest)
    except RecursionError:
        return f"a nested {type(value).__name__}"


def parse_json(
    text: str | bytes, path: str | os.PathLike[str], what: str, **options: typing.Any
) -> typing.Any:
    """Parses a JSON text.

    Args:
        text: a text of `read_text`.
        path: its file, for the message.
        what: the expected content, for the message.
        **options: options of `json.loads`.

    Raises:
        InvalidArgument: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = first_line(error) if text.strip() else "it is empty"
        if isinstance(error, json.JSONDecodeError) and _has_spare_comma(error):
            reason = f"a comma too many in front of line {error.lineno}'s bracket"
    raise InvalidArgument(
        f"{printable(str(path))} is not JSON: {reason}; it must be {what}"
    )


def _has_spare_comma(error: json.JSONDecodeError) -> bool:
    """Returns whether JSON is invalid because of a comma before a closing bracket."""
    # Python 3.13 points at the comma, earlier ones at the bracket.
    rest = error.doc[error.pos :].lstrip(", \t\r\n")
    before = error.doc[: error.pos + 1].rstrip("]} \t\r\n")
    return rest.startswith(("]", "}")) and before.endswith(",")
