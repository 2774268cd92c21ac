"""Keeps the chatter of native libraries off the terminal."""

import contextlib
import os
import sys
import tempfile

from keras_resnets.errors import ExportError
from keras_resnets.errors import TrainingError

# Where the terminal is while standard error goes into a file.
_terminal = None


def terminal():
    """Standard error as a person sees it, also while logs are hidden."""
    return _terminal or sys.stderr


@contextlib.contextmanager
def native_logs_hidden():
    """Keeps what C++ libraries write to stderr off the terminal.

    Where something unexpected is raised, all of it is shown after all.
    """
    global _terminal
    sys.stderr.flush()
    kept, before = os.dup(2), _terminal
    with tempfile.TemporaryFile() as log:
        _terminal = before or os.fdopen(os.dup(kept), "w")
        os.dup2(log.fileno(), 2)
        failed = False
        try:
            yield
        except (ExportError, TrainingError, ValueError, OSError):
            raise
        except BaseException:
            failed = True
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if before is None:
                _terminal.close()
            _terminal = before
            if failed:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
