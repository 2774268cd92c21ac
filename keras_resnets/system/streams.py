"""Standard output and error in any state: closed, full, ASCII only or broken."""

import codecs
import io
import os
import sys
import typing
from typing import TextIO

# A shell's exit code for a process that wrote to a closed pipe: 128 plus SIGPIPE.
READER_GONE = 141


def read_names_as_utf8() -> None:
    """Restarts the command if the locale has only ASCII (`LC_ALL=C`).

    Otherwise class names would be decoded as surrogates, and C++ libraries take only
    UTF-8 names.
    """
    encoding = codecs.lookup(sys.getfilesystemencoding()).name
    if os.name != "posix" or encoding == "utf-8" or not sys.orig_argv[1:]:
        return
    # For its child processes as well.
    os.environ["PYTHONUTF8"] = "1"
    words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execv(sys.executable, words)


def occupy() -> None:
    """Opens those of the three standard descriptors that are closed (`>&-`).

    Otherwise the next opened file would get that number, and the output of native
    libraries.
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
    """Makes every standard stream writable and able to show every character.

    A character that the stream's encoding lacks is shown by its number.
    """
    occupy()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # The descriptor stays open when the stream is closed.
            stream = os.fdopen(number, "w" if number else "r", closefd=False)
            setattr(sys, name, stream)
        if number and _is_plain(stream, number):
            stream.flush()
            setattr(sys, name, _like(stream, _Raw(number)))


def can_redraw(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which a line can be drawn again.

    One of `TERM=dumb` (an editor's shell, some build logs) shows each drawing behind the
    one before, and escape sequences as they are.
    """
    try:
        return stream.isatty() and not is_dumb()
    except (OSError, ValueError):
        return False


def is_dumb() -> bool:
    """Returns whether the terminal can only print lines (`TERM=dumb`)."""
    return os.environ.get("TERM") == "dumb"


def complain(line: str) -> None:
    """Prints a line on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def broken() -> OSError | None:
    """Returns the `OSError` of a failed write to standard output, or None."""
    raw = _raw_of(sys.stdout)
    return raw.failure if isinstance(raw, _Raw) else None


def ended(code: int, prog: str) -> int:
    """Flushes standard output and returns the exit code of a command.

    Args:
        code: the exit code otherwise.
        prog: the name of the command.

    Returns:
        `code`; `READER_GONE` if the reader of standard output has closed it (`| head`);
        at least 1, with a line that says why, if it could not be written (a full disk).
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
    """A standard stream that fails once, and then discards what is written.

    So Python's last flush, and later prints, do not fail again. Standard error does not
    fail at all, since failures are reported there.

    Attributes:
        failure: the `OSError` of the failed write, or None.
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
    """Whether Python made the stream for the descriptor; others capture the output."""
    if type(stream) is not io.TextIOWrapper:
        return False
    raw = _raw_of(stream)
    return type(raw) is io.FileIO and raw.fileno() == number


def _raw_of(stream: TextIO) -> object:
    # An unbuffered stream has no buffer in between.
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _like(stream: io.TextIOWrapper, raw: io.FileIO) -> io.TextIOWrapper:
    """A text stream with the settings of `stream` over `raw` that shows every character."""
    layer: typing.Any = raw if stream.write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        layer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
