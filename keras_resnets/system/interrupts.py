"""Ctrl-C, SIGTERM and SIGHUP end a command cleanly, with one line.

A signal becomes an exception, so that every `finally` runs. There are three obstacles:
libraries lose exceptions (in `__del__`, in a C++ callback), interrupting the import of a
C++ library may crash, and C code does not react. So the exception is raised again until
it arrives; during an import, and if all else fails, the process ends itself, after it
has undone what `made` and `at_the_end` registered.

Only a command handles signals; in a program that imports this package `made` and
`held` have no further effect.
"""

import _thread
import atexit
import contextlib
import math
import os
import signal
import sys
import time
import types
import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

from keras_resnets.system import streams

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)
# Seconds until an exception that has not arrived is raised again.
_AGAIN = 0.25
# A second signal within this time is the same one, sent to the process and its group.
_TWICE = 0.5
# Seconds until a process must have ended. SIGTERM is usually followed by SIGKILL after 10.
_PATIENCE = 8.0


T = typing.TypeVar("T")
# What `signal.getsignal` returns.
Handler = Callable[[int, types.FrameType | None], typing.Any] | int | None


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, handled like Ctrl-C."""


class _State:
    """The state of this process: one command, or another program."""

    def __init__(
        self, prog: str = "keras-resnets", main: int | None = None, stderr: int = 2
    ) -> None:
        self.prog, self.main, self.stderr = prog, main, stderr
        # Whether `run` is active; whether the end was reported; the first signal, its time.
        self.inside, self.reported = False, False
        self.received: int | None = None
        self.since = 0.0
        # Patience of each `held` block, actions to undo, remarks to print.
        self.held: list[float] = []
        self.undo: dict[object, Callable[[], object]] = {}
        self.remarks: list[str] = []
        self.ending = _thread.allocate_lock()
        # Exit code of a finished command; the previous hook for lost exceptions.
        self.code: int | None = None
        self.hook = sys.unraisablehook


_now = _State()


def received() -> bool:
    """Whether a signal has arrived that ends the command."""
    return _now.received is not None


def remark(text: str | None) -> None:
    """Adds a remark to the last line of an interrupted command, such as how to resume.

    Args:
        text: printable, on one line; None for no remark.
    """
    if text and _now.main is not None:
        _now.remarks.append(text)


def check() -> None:
    """Raises an exception that a `held` block has deferred; call it where it is safe.

    Raises:
        KeyboardInterrupt: a signal has arrived.
    """
    if received() and not _now.reported:
        if not _now.inside:
            _end()
        raise _exception()


class held:
    """Defers signals while the block runs, for work that must not be left half done.

    Args:
        patience: seconds after which a signal is raised in the block nevertheless.
    """

    def __init__(self, patience: float = math.inf) -> None:
        self._patience = patience

    def __enter__(self) -> None:
        if _thread.get_ident() == _now.main:
            _now.held.append(self._patience)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if _thread.get_ident() == _now.main:
            _now.held.pop()
            if kind is None and not _is_held() and not _unwinds():
                check()


@contextlib.contextmanager
def at_the_end(undo: Callable[[], object]) -> Iterator[None]:
    """Calls `undo` if the process ends within the block; it may return a remark.

    This covers an end of the process in which no exception reaches the block.
    """
    key = object()
    try:
        _now.undo[key] = undo
        yield
    finally:
        _now.undo.pop(key, None)


@contextlib.contextmanager
def made(make: Callable[[], T], unmake: Callable[[T], object]) -> Iterator[T]:
    """Yields the result of `make`; `unmake` removes it, however the block ends.

    Signals are deferred until the result, such as a temporary file, is registered.
    """
    key, objects = object(), []
    try:
        with held():
            objects.append(make())
            _now.undo[key] = lambda: unmake(objects[0])
        yield objects[0]
    finally:
        with held():
            if objects:
                unmake(objects[0])
            _now.undo.pop(key, None)


def run(work: Callable[[], object], prog: str = "keras-resnets") -> int:
    """Calls `work` in a command that ends with one line when a signal arrives.

    Args:
        work: function without arguments.
        prog: the command's name, for the line.

    Returns:
        0, or the exit code of the signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    before = None if _now.main else listen(prog)
    _now.prog = prog
    try:
        try:
            _now.inside = True
            work()
            _now.inside = False
        except BaseException as error:
            _now.inside = False
            if not received() and not isinstance(error, KeyboardInterrupt):
                raise
            # A library may have turned it into another exception.
            _now.received = _now.received or signal.SIGINT
        return _conclude() if received() else 0
    finally:
        if before is not None:
            _deafen(before)


def _conclude() -> int:
    """Reports the end of an interrupted command; returns its exit code."""
    # The end must not be reported a second time.
    _now.reported = True
    _now.ending.acquire(blocking=False)
    _undo_all()
    # Either may be closed, or None.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(_line(sys.stderr.isatty()))
        sys.stderr.flush()
    return _code()


def _code() -> int:
    """Returns the exit code after a signal."""
    return 128 + (_now.received or 0)


def leave(code: int) -> None:
    """Ends the process without the exit handlers of libraries.

    During these Python no longer handles signals, while TensorFlow takes its time. An
    interrupted command exits at once: libraries would wait for threads, or crash.
    """
    if code - 128 in _SIGNALS:
        _go(code)
    _now.code = code
    sys.exit(code)


def _go(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        # Either may be closed, or None.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _go_if_done() -> None:
    if _now.code is not None:
        _go(_now.code)


def begin() -> None:
    """Handles signals for the whole life of a command, before it imports anything."""
    if listen():
        # The first registered function is called last.
        atexit.register(_go_if_done)


def is_command() -> bool:
    """Whether this process is a command, not a program that imports the package."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    if program == "-m":
        # The name of the program while `python -m` looks for the module.
        words = sys.orig_argv
        package = __package__.partition(".")[0]
        return words[words.index("-m") + 1 :][:1] == [package]
    folder, name = os.path.split(program)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    scripts = os.path.join(os.path.dirname(package), "export")
    with contextlib.suppress(OSError):
        return (
            os.path.splitext(name)[0] == "keras-resnets"
            or os.path.abspath(folder) == scripts
        )
    return False


def listen(prog: str = "keras-resnets") -> dict[int, Handler]:
    """Handles signals from now on; returns the previous handlers.

    Ignored signals stay ignored, as nohup and a shell's background jobs require. Outside
    the main thread, where Python allows no handlers, nothing is done.
    """
    global _now
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    taken: dict[int, Handler] = {
        n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)
    }
    state = _State(prog, _thread.get_ident(), _copied(2))
    try:
        for number in taken:
            signal.signal(number, _handle)
    except ValueError:
        os.close(state.stderr)
        return {}
    _now = state
    sys.unraisablehook = _unraisable
    _watch(taken)
    return taken


def _copied(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _deafen(before: Mapping[int, Handler]) -> None:
    """Restores the previous handlers."""
    global _now
    if not before:
        # There were none: the state of another thread's command is not touched.
        if _now.main is None:
            _now = _State()
        return
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        # Its reader, the thread that watches, ends.
        os.close(signal.set_wakeup_fd(-1))
    os.close(_now.stderr)
    sys.unraisablehook = _now.hook
    _now = _State()
    for number, handler in before.items():
        signal.signal(number, handler)


def _handle(number: int, frame: types.FrameType | None) -> None:
    """Handles a signal or the repeating timer, in the main thread."""
    if _now.reported:
        return
    first = _now.received is None
    if first:
        if number not in _SIGNALS:
            return
        _now.received, _now.since = number, time.monotonic()
        if hasattr(signal, "setitimer"):
            # A timer interrupts waiting for a lock, which a Python thread cannot.
            signal.signal(signal.SIGALRM, _handle)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
    elif number in _SIGNALS and time.monotonic() - _now.since > _TWICE:
        _end()
    if _is_held() or (not first and _unwinds()):
        return
    if not _now.inside or _imports(frame):
        _end()
    raise _exception()


def _exception() -> KeyboardInterrupt:
    return KeyboardInterrupt() if _now.received == signal.SIGINT else Terminated()


def _is_held() -> bool:
    waited = time.monotonic() - _now.since
    return bool(_now.held) and waited < _now.held[-1]


def _unwinds() -> bool:
    """Whether the main thread is in a `finally` or `except` of such an interrupt."""
    error = sys.exception()
    for _ in range(100):
        if error is None or isinstance(error, KeyboardInterrupt):
            break
        error = error.__context__
    return error is not None


def _imports(frame: types.FrameType | None) -> bool:
    """Whether `frame` is inside an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _unraisable(unraisable: typing.Any) -> None:
    """Hides the message about a lost interrupt, which is raised again anyway."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        _now.hook(unraisable)


def _watch(taken: Mapping[int, Handler]) -> None:
    """Starts a thread that ends the process if the main thread cannot."""
    if not hasattr(signal, "setitimer") or not taken:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Python's C handler writes the signal's number there, whatever the main thread does.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _thread.start_new_thread(_watch_over, (reading,))


def _watch_over(reading: int) -> None:
    import select

    first, began, ends, again = None, 0.0, math.inf, False
    while True:
        wait = None if first is None else 0.1
        ready, _, _ = select.select([reading], [], [], wait)
        now = time.monotonic()
        if ready:
            numbers = os.read(reading, 64)
            if not numbers:
                break
            # The timer's signals arrive as well.
            signals = [number for number in numbers if number in _SIGNALS]
            if signals and first is None:
                first, began, ends = signals[0], now, now + _PATIENCE
            elif signals and now - began > _TWICE:
                # The main thread is given time to end first.
                again, ends = True, min(ends, now + _AGAIN)
        # After a single Ctrl-C, work that must not be left half done is finished.
        waits = first == signal.SIGINT and not again and math.inf in _now.held
        if now > ends and not waits:
            _now.received = _now.received or first
            _end()
            # Another thread was ending the process, but has not finished.
            time.sleep(_PATIENCE)
            os._exit(128 + (first or 0))
    os.close(reading)


def _end() -> None:
    """Ends the process now, with one line; returns if another thread is doing so."""
    if not _now.ending.acquire(blocking=False):
        return
    _undo_all()
    line = _line(os.isatty(_now.stderr))
    with contextlib.suppress(OSError):
        os.write(_now.stderr, line.encode(errors="backslashreplace"))
    os._exit(_code())


def _undo_all() -> None:
    """Undoes unfinished work, the latest first."""
    for key in reversed(list(_now.undo)):
        undo = _now.undo.pop(key, None)
        try:
            text = undo() if undo else None
        except Exception:
            # The process must end; work that cannot be undone stays.
            continue
        if isinstance(text, str):
            remark(text)


def _line(is_terminal: bool) -> str:
    word = "interrupted" if _now.received == signal.SIGINT else "terminated"
    remarks = list(dict.fromkeys(_now.remarks))
    line = "; ".join([f"{_now.prog}: {word}", *remarks])
    # On a terminal, overwrite the remains of a progress bar.
    can_wipe = is_terminal and not streams.is_dumb()
    return f"\r\x1b[K{line}\n" if can_wipe else f"{line}\n"
