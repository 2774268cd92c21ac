"""Files of a run that appear whole, or whose failure is told in one line."""

import contextlib

from keras_resnets.errors import NotWritten
from keras_resnets.errors import TrainingError
from keras_resnets.files import atomic_file


@contextlib.contextmanager
def landing(path):
    """`files.atomic_file`; a full disk or a folder that is gone is a `TrainingError`."""
    try:
        with atomic_file(path) as temporary:
            yield temporary
    except NotWritten as error:
        raise TrainingError(str(error)) from None
