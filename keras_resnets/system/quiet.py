"""Hides the logs of native libraries."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO
from typing import TextIO

from keras_resnets.errors import ExportError
from keras_resnets.errors import TrainingError
from keras_resnets.system import interrupts

# The terminal's stream while standard error is redirected to a file.
_terminal: TextIO | None = None
# Whether logs are shown (`--verbose`).
_are_shown = False


@contextlib.contextmanager
def shown_logs(yes: bool = True) -> Iterator[None]:
    """Disables `native_logs_hidden` inside the block if `yes`."""
    global _are_shown
    before, _are_shown = _are_shown, yes
    try:
        yield
    finally:
        _are_shown = before


def terminal() -> TextIO:
    """Returns the visible standard error, also while logs are hidden."""
    return _terminal or sys.stderr


@contextlib.contextmanager
def native_logs_hidden() -> Iterator[None]:
    """Hides what C++ libraries write to stderr.

    If an unexpected exception is raised, all of it is shown.
    """
    if _are_shown:
        yield
        return
    failed: list[bool] = []
    with interrupts.made(_hide, lambda hidden: _show(*hidden, bool(failed))):
        try:
            yield
        except (ExportError, TrainingError, ValueError, OSError, KeyboardInterrupt):
            raise
        except BaseException:
            # A library may have turned an interrupt into another exception.
            if not interrupts.received():
                failed.append(True)
            raise


def _hide() -> tuple[IO[bytes], int, TextIO | None]:
    """Redirects descriptor 2 to a file; returns the arguments of `_show`."""
    global _terminal
    sys.stderr.flush()
    log, kept, before = tempfile.TemporaryFile(), os.dup(2), _terminal
    _terminal = before or os.fdopen(os.dup(kept), "w", errors="backslashreplace")
    os.dup2(log.fileno(), 2)
    return log, kept, before


def _show(log: IO[bytes], kept: int, before: TextIO | None, failed: bool) -> None:
    global _terminal
    sys.stderr.flush()
    os.dup2(kept, 2)
    os.close(kept)
    if before is None and _terminal is not None:
        _terminal.close()
    _terminal = before
    with log:
        if failed:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
