"""Atomic writing of a run's files, with `TrainingError` on failure."""

import contextlib
import pathlib
from collections.abc import Iterator

from keras_resnets.errors import NotWritten
from keras_resnets.errors import TrainingError
from keras_resnets.io.files import atomic_file


@contextlib.contextmanager
def landing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Calls `files.atomic_file`; raises `TrainingError` if the file cannot be written."""
    with failures_as_training_errors(), atomic_file(path) as temporary:
        yield temporary


@contextlib.contextmanager
def failures_as_training_errors() -> Iterator[None]:
    """Turns the failure of a write into a `TrainingError`."""
    try:
        yield
    except NotWritten as error:
        raise TrainingError(str(error)) from None
