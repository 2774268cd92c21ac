"""Progress of long steps on a terminal: title, bar and elapsed time.

It is one line on standard error, which is redrawn and finally removed. Nothing is shown if
standard error is not a terminal, or cannot redraw a line (`TERM=dumb`). Progress bars are
always drawn; the steps inside this package are shown only within `steps_shown`, which
commands use.
"""

import contextlib
import dataclasses
import os
import sys
import threading
import time
import typing
from collections.abc import Iterator

from keras_resnets.errors import printable
from keras_resnets.system import interrupts
from keras_resnets.system import quiet
from keras_resnets.system import streams
from keras_resnets.system import text_table

# Seconds that a step takes before it is worth a line, and between two drawings of one.
_PATIENCE, _AGAIN = 0.5, 0.25
_WHEEL = "|/-\\"
# Characters of a bar, inside a step half as many; and of a title that is cut.
_WIDTH, _SHORTEST = 40, 8
# Whether nobody wants to see bars (`--quiet`), and whether steps are shown at all.
_is_hidden = False
_has_steps = False


@contextlib.contextmanager
def hidden(yes: bool = True) -> Iterator[None]:
    """Hides all bars and steps in the block if `yes`."""
    global _is_hidden
    before, _is_hidden = _is_hidden, yes
    try:
        yield
    finally:
        _is_hidden = before


@contextlib.contextmanager
def steps_shown(title: str) -> Iterator[None]:
    """Shows the steps in the block, and `title` while there is no step."""
    global _has_steps
    before, _has_steps = _has_steps, True
    try:
        with step(title):
            yield
    finally:
        _has_steps = before


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Shows a step while the context lasts; a nested step is shown in its place.

    Args:
        title: description of the step; unprintable characters are escaped.
    """
    if not _has_steps or _is_hidden or not streams.can_redraw(quiet.terminal()):
        yield
        return
    entry = _Step(printable(title))
    with interrupts.at_the_end(_line.wipe):
        _line.begin(entry)
        try:
            yield
        finally:
            _line.end(entry)


def count(done: float, total: float, unit: str) -> None:
    """Updates the bar of the current step, if one is shown."""
    _line.tell(_bar(done, total, _WIDTH // 2), _numbers(done, total, unit))


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Removes the progress line while the block prints to the terminal."""
    _line.stand_aside(True)
    try:
        yield
    finally:
        _line.stand_aside(False)


@dataclasses.dataclass(eq=False)
class _Step:
    title: str
    bar: str = ""
    numbers: str = ""
    began: float = dataclasses.field(default_factory=time.monotonic)

    def text(self, now: float, stream: typing.TextIO) -> str:
        """Returns the line; if it is too long, without its bar, then with a cut title."""
        took, width = now - self.began, _columns(stream) - 1
        wheel = _WHEEL[int(took / _AGAIN) % len(_WHEEL)]
        title = f"{wheel} {_encodable(self.title, stream)}"
        clock = f"  {int(took) // 60}:{int(took) % 60:02}"
        bare = f"  {self.numbers}{clock}" if self.numbers else clock
        whole = f"  {self.bar} {self.numbers}{clock}" if self.bar else bare
        if text_table.width_of(title + whole) <= width:
            return title + whole
        return _cut(title, max(width - len(bare), _SHORTEST)) + bare


class _Line:
    """The progress line of the terminal, which several threads draw."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._steps: list[_Step] = []
        self._width, self._aside = 0, 0
        self._awake = threading.Event()
        self._painter: threading.Thread | None = None

    def begin(self, entry: _Step) -> None:
        with self._lock:
            self._steps.append(entry)
            if self._painter is None:
                self._awake.clear()
                self._painter = threading.Thread(target=self._paint, daemon=True)
                self._painter.start()

    def end(self, entry: _Step) -> None:
        with self._lock:
            self._steps.remove(entry)
            self.wipe()
            painter = self._painter
            if self._steps or painter is None:
                return
            self._painter = None
            self._awake.set()
        painter.join(1)

    def tell(self, bar: str, numbers: str) -> bool:
        """Updates the current step; returns False if there is none."""
        with self._lock:
            if not self._steps:
                return False
            entry = self._steps[-1]
            changed = (entry.bar, entry.numbers) != (bar, numbers)
            entry.bar, entry.numbers = bar, numbers
            if changed:
                self._show()
            return True

    def stand_aside(self, yes: bool) -> None:
        with self._lock:
            self._aside += 1 if yes else -1
            if yes:
                self.wipe()

    def draw(self, text: str, stream: typing.TextIO) -> None:
        with self._lock:
            text = _cut(_encodable(text, stream), _columns(stream) - 1)
            width = text_table.width_of(text)
            _write(stream, "\r" + text + " " * (self._width - width))
            self._width = width

    def wipe(self) -> None:
        with self._lock:
            if self._width:
                _write(quiet.terminal(), "\r" + " " * self._width + "\r")
            self._width = 0

    def _show(self) -> None:
        if self._steps and not self._aside:
            stream = quiet.terminal()
            self.draw(self._steps[-1].text(time.monotonic(), stream), stream)

    def _paint(self) -> None:
        while not self._awake.wait(_AGAIN):
            with self._lock:
                if threading.current_thread() is not self._painter:
                    return
                if self._steps and (
                    self._width or time.monotonic() - self._steps[-1].began >= _PATIENCE
                ):
                    self._show()


_line = _Line()


class ProgressBar:
    """A progress bar on a terminal; within a step, a part of the step's line.

    Args:
        total: the number at the end; each call can update it.
        unit: the unit of the numbers; with `"MB"` the numbers are bytes.
    """

    def __init__(self, total: float, unit: str) -> None:
        self._total, self._unit = total, unit
        self._stream = quiet.terminal()
        self._shown = streams.can_redraw(self._stream) and not _is_hidden

    def __call__(self, done: float, total: float | None = None) -> None:
        self._total = self._total if total is None else total
        if not self._shown:
            return
        numbers = _numbers(done, self._total, self._unit)
        if not _line.tell(_bar(done, self._total, _WIDTH // 2), numbers):
            bar = _bar(done, self._total, _WIDTH)
            _line.draw(f"{bar} {numbers}", self._stream)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar."""
        if self._shown and not _line.tell("", ""):
            _line.wipe()


def _bar(done: float, total: float, width: int) -> str:
    full = round(width * min(done / max(total, 1), 1.0))
    return "#" * full + "." * (width - full)


def _numbers(done: float, total: float, unit: str) -> str:
    numbers = [f"{n / 1e6:,.1f}" if unit == "MB" else f"{n:,}" for n in (done, total)]
    return f"{' of '.join(numbers)} {unit}".rstrip()


def _columns(stream: typing.TextIO) -> int:
    """Returns the smaller of the terminal's columns and `COLUMNS`."""
    columns = 0
    with contextlib.suppress(OSError, ValueError):
        columns = os.get_terminal_size(stream.fileno()).columns
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and 0 < int(asked[:4]):
        columns = min(columns or int(asked[:4]), int(asked[:4]))
    return columns or 80


def _encodable(text: str, stream: typing.TextIO) -> str:
    """Returns the text with escapes for characters that the stream cannot encode."""
    encoding = stream.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _cut(text: str, width: int) -> str:
    """Cuts `text` to the width of the terminal, where a longer line would wrap."""
    while text_table.width_of(text) > width:
        text = text[:-1]
    return text


def _write(stream: typing.TextIO, text: str) -> None:
    # If the terminal has been closed, the work continues.
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def _forget() -> None:
    """Resets the state in a forked child, which has no drawing thread and may be locked."""
    global _line
    _line = _Line()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
