"""Ctrl-C, SIGTERM and SIGHUP: whatever a command does, it ends in one line.

A signal becomes an exception, so that every `finally` runs. Three things stand in its way:
libraries lose exceptions (in `__del__`, in a callback of C++), an import that breaks off
in the middle of a library of C++ may crash, and code in C does not listen. So the
exception is raised again until it arrives; in an import, and where nothing helps, the
process ends by itself, once it has undone what `made` and `at_the_end` know of.

Only a command listens to signals; in a program that imports this package `made` and
`held` do no more than their blocks say.
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

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)
# Seconds after which an exception that has not arrived is raised again.
_AGAIN = 0.25
# A second signal within this time is the first one, sent to the process and its group.
_TWICE = 0.5
# Seconds that a process has for its end. Who sends SIGTERM kills after 10, as a rule.
_PATIENCE = 8.0


T = typing.TypeVar("T")
# What `signal.getsignal` returns.
Handler = Callable[[int, types.FrameType | None], typing.Any] | int | None


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, on the road of Ctrl-C."""


class _State:
    """What is going on in this process: one command, or a program that is none."""

    def __init__(
        self, prog: str = "keras-resnets", main: int | None = None, stderr: int = 2
    ) -> None:
        self.prog, self.main, self.stderr = prog, main, stderr
        # Whether `run` is at work; the first signal, when it came, if the end was told.
        self.inside, self.told = False, False
        self.received: int | None = None
        self.since = 0.0
        # Patience of each block, what is to be undone, what is to be said.
        self.held: list[float] = []
        self.undo: dict[object, Callable[[], object]] = {}
        self.remarks: list[str] = []
        self.ending = _thread.allocate_lock()
        # Of a command that has come to its end; what was told of lost exceptions before.
        self.code: int | None = None
        self.hook = sys.unraisablehook


_now = _State()


def received() -> bool:
    """Whether a signal has come that ends the command."""
    return _now.received is not None


def remark(text: str | None) -> None:
    """Adds to the line that an interrupted command ends in, such as how to go on.

    Args:
        text: printable, on one line; None for nothing.
    """
    if text and _now.main is not None:
        _now.remarks.append(text)


def check() -> None:
    """Raises what a `held` block has held back; called where it is safe to stop.

    Raises:
        KeyboardInterrupt: a signal has come.
    """
    if received() and not _now.told:
        if not _now.inside:
            _end()
        raise _exception()


class held:
    """Holds signals back while the block runs, for what must not be left half done.

    Args:
        patience: seconds after which a signal is raised in the block after all.
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
    """Calls `undo` where the process ends before the block has; it may return a remark.

    No exception reaches the block then: this is for the end that no `finally` sees.
    """
    key = object()
    try:
        _now.undo[key] = undo
        yield
    finally:
        _now.undo.pop(key, None)


@contextlib.contextmanager
def made(make: Callable[[], T], unmake: Callable[[T], object]) -> Iterator[T]:
    """What `make` returns, for a block; `unmake` takes it away, however that ends.

    No signal comes between making a thing and knowing of it: a temporary file, a process.
    """
    key, found = object(), []
    try:
        with held():
            found.append(make())
            _now.undo[key] = lambda: unmake(found[0])
        yield found[0]
    finally:
        with held():
            if found:
                unmake(found[0])
            _now.undo.pop(key, None)


def run(work: Callable[[], object], prog: str = "keras-resnets") -> int:
    """Calls `work` in a command that ends in one line when a signal comes.

    Args:
        work: function of nothing.
        prog: the command's name, for the line.

    Returns:
        0, or the exit code of the signal: 130 of Ctrl-C, 143 of SIGTERM, 129 of SIGHUP.
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
            # A library may have made another exception of it.
            _now.received = _now.received or signal.SIGINT
        return _conclude() if received() else 0
    finally:
        if before is not None:
            _deafen(before)


def _conclude() -> int:
    """Tells the end of an interrupted command; returns its exit code."""
    # Whoever ends the process now must not tell it a second time.
    _now.told = True
    _now.ending.acquire(blocking=False)
    _undo_all()
    # Either may be closed, or None.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(_line(sys.stderr.isatty()))
        sys.stderr.flush()
    return _code()


def _code() -> int:
    """What a process exits with that a signal has ended."""
    return 128 + (_now.received or 0)


def leave(code: int) -> None:
    """Ends the process, past what libraries do at the very end.

    There Python does not listen to signals any more, while TensorFlow takes its time. A
    command that was interrupted goes at once: libraries wait for threads, or crash where
    they were broken off.
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
    """Takes the signals over for all of a command's life, before it imports anything."""
    if listen():
        # What is registered first is called last.
        atexit.register(_go_if_done)


def is_command() -> bool:
    """Whether this process is the command, and not a program that imports the package."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    if program == "-m":
        # So it is called while `python -m` looks for the module.
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
    """Takes the signals over from here on; returns the handlers that were there.

    What is ignored stays so: nohup and a shell's background jobs want it. Nothing is done
    outside the main thread, where Python allows no handlers.
    """
    global _now
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    taken: dict[int, Handler] = {
        n: h for n, h in found.items() if h not in (signal.SIG_IGN, None)
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
    """Puts the handlers of before back."""
    global _now
    if not before:
        # There were none: nothing of another thread's command is touched.
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
    """A signal, or the timer that comes again; in the main thread, between two steps."""
    if _now.told:
        return
    first = _now.received is None
    if first:
        if number not in _SIGNALS:
            return
        _now.received, _now.since = number, time.monotonic()
        if hasattr(signal, "setitimer"):
            # A timer interrupts what a thread of Python cannot: waiting for a lock.
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
    """Whether the main thread is in a `finally` or `except` of such an exception."""
    error = sys.exception()
    for _ in range(100):
        if error is None or isinstance(error, KeyboardInterrupt):
            break
        error = error.__context__
    return error is not None


def _imports(frame: types.FrameType | None) -> bool:
    """Whether a module is being imported there."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _unraisable(unraisable: typing.Any) -> None:
    """Keeps quiet where an exception gets lost that is raised again anyway."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        _now.hook(unraisable)


def _watch(taken: Mapping[int, Handler]) -> None:
    """Begins a thread that ends the process where the main thread cannot."""
    if not hasattr(signal, "setitimer") or not taken:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Whatever the main thread does, C writes the number of a signal there.
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
            # The timer's signals come as well.
            known = [number for number in numbers if number in _SIGNALS]
            if known and first is None:
                first, began, ends = known[0], now, now + _PATIENCE
            elif known and now - began > _TWICE:
                # The main thread has its turn first.
                again, ends = True, min(ends, now + _AGAIN)
        # Who presses Ctrl-C once has time for what must not be left half done.
        waits = first == signal.SIGINT and not again and math.inf in _now.held
        if now > ends and not waits:
            _now.received = _now.received or first
            _end()
            # Somebody else was about to, and does not come to it.
            time.sleep(_PATIENCE)
            os._exit(128 + (first or 0))
    os.close(reading)


def _end() -> None:
    """Ends the process here and now, in one line; returns where another thread does."""
    if not _now.ending.acquire(blocking=False):
        return
    _undo_all()
    line = _line(os.isatty(_now.stderr))
    with contextlib.suppress(OSError):
        os.write(_now.stderr, line.encode(errors="backslashreplace"))
    os._exit(_code())


def _undo_all() -> None:
    """Takes away what is left of the work, the latest first."""
    for key in reversed(list(_now.undo)):
        undo = _now.undo.pop(key, None)
        try:
            said = undo() if undo else None
        except Exception:
            # The end must come; what cannot be taken away stays.
            continue
        if isinstance(said, str):
            remark(said)


def _line(is_terminal: bool) -> str:
    word = "interrupted" if _now.received == signal.SIGINT else "terminated"
    said = list(dict.fromkeys(_now.remarks))
    line = "; ".join([f"{_now.prog}: {word}", *said])
    # On a terminal over what a progress bar has left.
    return f"\r\x1b[K{line}\n" if is_terminal else f"{line}\n"
