"""Standard output and error as a command finds them: closed, full, narrow or broken off."""

import codecs
import io
import os
import sys
import typing
from typing import TextIO

# What a shell says of a process that wrote to a pipe whose reader had gone: 128 and the
# number of SIGPIPE.
READER_GONE = 141


def read_names_as_utf8() -> None:
    """Starts the command anew where the locale has ASCII alone (`LC_ALL=C`).

    Names of classes would come out of it as halves of characters, and libraries in C++
    take names in UTF-8 alone.
    """
    encoding = codecs.lookup(sys.getfilesystemencoding()).name
    if os.name != "posix" or encoding == "utf-8" or not sys.orig_argv[1:]:
        return
    # For the processes that it starts as well.
    os.environ["PYTHONUTF8"] = "1"
    words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execv(sys.executable, words)


def occupy() -> None:
    """Opens what of the three descriptors is closed (`>&-`).

    The next file that is opened would get its number, and with it what native libraries
    print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def prepare() -> None:
    """Gives every standard stream a place, and a way to show every character.

    One that the stream's encoding does not have is shown by its number.
    """
    occupy()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # The descriptor stays open when the stream goes.
            stream = os.fdopen(number, "w" if number else "r", closefd=False)
            setattr(sys, name, stream)
        if number and _is_plain(stream, number):
            stream.flush()
            setattr(sys, name, _like(stream, _Raw(number)))


def complain(line: str) -> None:
    """Prints a line on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def broken() -> OSError | None:
    """The `OSError` that a write to standard output ended in; None where all went out."""
    raw = _raw_of(sys.stdout)
    return raw.failure if isinstance(raw, _Raw) else None


def ended(code: int, prog: str) -> int:
    """The exit code of a command, when all that it printed has gone out.

    Args:
        code: what it would be.
        prog: the name of the command.

    Returns:
        `code`; `READER_GONE` where whoever read standard output has left (`| head`); at
        least 1, with a line of why, where it could not be written (a full disk).
    """
    try:
        sys.stdout.flush()
    except OSError:
        if broken() is None:
            raise
    failure, code = broken(), code or 0
    if failure is None or code > 128:
        return code
    if isinstance(failure, BrokenPipeError):
        return READER_GONE
    complain(
        f"{prog}: failed: standard output could not be written: {failure.strerror}"
    )
    return code or 1


class _Raw(io.FileIO):
    """A standard stream that fails once, and then lets go what it is given.

    So Python's last flush, and whoever prints after the failure, are not told again.
    Standard error does not fail at all: it is where failures are told.

    Attributes:
        failure: the `OSError` that it ended in.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: typing.Any) -> int:
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
                if self.fileno() == 1:
                    error.filename = "standard output"
                    raise
        return memoryview(data).nbytes


def _is_plain(stream: TextIO, number: int) -> bool:
    """Whether Python made a stream for a descriptor; others catch what is printed."""
    if type(stream) is not io.TextIOWrapper:
        return False
    raw = _raw_of(stream)
    return type(raw) is io.FileIO and raw.fileno() == number


def _raw_of(stream: TextIO) -> object:
    # An unbuffered stream has it at once.
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _like(stream: io.TextIOWrapper, raw: io.FileIO) -> io.TextIOWrapper:
    """A text stream as another is, over `raw`, that shows every character."""
    layer: typing.Any = raw if stream.write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        layer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
