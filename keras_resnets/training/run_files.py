"""Writes the files of a run whole, or reports the failure in one line."""

import contextlib
import pathlib
from collections.abc import Iterator

from keras_resnets.errors import NotWritten
from keras_resnets.errors import TrainingError
from keras_resnets.io.files import atomic_file


@contextlib.contextmanager
def landing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """`files.atomic_file`, with `TrainingError` for a full disk or a missing folder."""
    with failures_as_training_errors(), atomic_file(path) as temporary:
        yield temporary


@contextlib.contextmanager
def failures_as_training_errors() -> Iterator[None]:
    """Turns the failure of a write into a `TrainingError`."""
    try:
        yield
    except NotWritten as error:
        raise TrainingError(str(error)) from None
