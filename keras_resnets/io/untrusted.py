"""Files that come from strangers: opened without waiting, read within bounds."""

import json
import os
import stat
import typing
from typing import BinaryIO

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.errors import printable

# Bytes of a text: the class names and weights of 20,000 classes, or the record of a run
# with all the names that it left out, take less than 2 MB. A JSON text of so many
# brackets takes 16 times its size as Python objects.
MOST_TEXT = 4 << 20


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A file opened for reading bytes; never a pipe, a socket or a device.

    Opening those waits for whoever writes to them, and reading them may never end.

    Args:
        path: of the file.

    Raises:
        OSError: no such file, or one that is no regular file.
    """
    waits_not = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | waits_not)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is a folder, pipe, socket or device, not a file")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_text(path: str | os.PathLike[str], what: str, most: int = MOST_TEXT) -> str:
    """The text of a small file in UTF-8, with a byte order mark or without.

    Args:
        path: of the file.
        what: it should be, for the message, such as `"the record of a run"`.
        most: bytes that it may have.

    Raises:
        InvalidArgument: a file that cannot be read, is larger, or is no such text.
    """
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise OSError(f"it has more than {most / 2**20:.0f} MB")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        reason = "it is no text in UTF-8"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
    raise InvalidArgument(
        f"{printable(str(path))} must be {what}; it cannot be read: {reason}"
    )


def shown(value: object, longest: int = 60) -> str:
    """A value that a file says, for a message; of whatever kind and depth."""
    try:
        return printable(repr(value), longest)
    except RecursionError:
        return f"a nested {type(value).__name__}"


def parse_json(
    text: str | bytes, path: str | os.PathLike[str], what: str, **options: typing.Any
) -> typing.Any:
    """What a JSON text says.

    Args:
        text: of `read_text`.
        path: of its file, for the message.
        what: it should be, for the message.
        **options: of `json.loads`.

    Raises:
        InvalidArgument: no JSON, or one that is nested too deeply.
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = first_line(error)
    raise InvalidArgument(
        f"{printable(str(path))} is no JSON: {reason}; it must be {what}"
    )
