"""Keeps the chatter of native libraries off the terminal."""

import contextlib
import os
import sys
import tempfile

from keras_resnets.errors import ExportError
from keras_resnets.errors import TrainingError


@contextlib.contextmanager
def native_logs_hidden():
    """Keeps what C++ libraries write to stderr off the terminal.

    Where something unexpected is raised, all of it is shown after all.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
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
            if failed:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
