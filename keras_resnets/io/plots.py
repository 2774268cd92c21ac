"""Plots as PNG files, which appear whole or not at all; matplotlib draws them."""

import io
import os
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.io import files


def check_place(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of a plot, checked before any work is done.

    Raises:
        InvalidArgument: a suffix other than `.png`, a path that cannot be written, or
            no matplotlib, which the extra `report` installs.
    """
    path = files.check_destination(path, ".png", overwrite=True)
    check_library()
    return path


def check_library() -> None:
    """Raises `InvalidArgument` if matplotlib is missing, or refuses its settings."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InvalidArgument(
            "a plot needs matplotlib: pip install 'keras-resnets[report]'"
        ) from None
    except Exception as error:
        # It reads $MPLBACKEND and matplotlibrc when it is imported.
        raise InvalidArgument(
            f"a plot needs matplotlib, which cannot be imported: {first_line(error)}"
        ) from None


def save(figure: typing.Any, path: str | os.PathLike[str], dpi: int) -> None:
    """Writes a `matplotlib.figure.Figure`; an older file is replaced.

    Raises:
        NotWritten: see `files.atomic_file`.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi, format="png")
    with files.atomic_file(path) as temporary:
        temporary.write_bytes(drawn.getbuffer())
