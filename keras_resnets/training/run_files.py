"""Files of a run that appear whole, or whose failure is told in one line."""

import contextlib
import pathlib
from collections.abc import Iterator

from keras_resnets.errors import NotWritten
from keras_resnets.errors import TrainingError
from keras_resnets.io.files import atomic_file


@contextlib.contextmanager
def landing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """`files.atomic_file`; a full disk or a folder that is gone is a `TrainingError`."""
    with told(), atomic_file(path) as temporary:
        yield temporary


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Makes a `TrainingError` of a file that could not be written."""
    try:
        yield
    except NotWritten as error:
        raise TrainingError(str(error)) from None
