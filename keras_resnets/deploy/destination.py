"""Where the folders of targets are written, checked before images are read."""

import os
import pathlib
from collections.abc import Sequence

from keras_resnets.deploy.row import Target
from keras_resnets.errors import InvalidArgument
from keras_resnets.io import files

# Patterns of what every target's folder holds. The first identifies such a folder: without
# it none is replaced.
COMMON = ("report.json", "README.md", "labels.txt", "model.*", "saved_model.json")


def patterns(target: Target) -> tuple[str, ...]:
    """Patterns of all files that the folder of a target may hold."""
    return (*COMMON, *target.files)


def check(
    folder: str | os.PathLike[str], rows: Sequence[Target], overwrite: bool
) -> None:
    """Checks that the folders of all targets can be written.

    Args:
        folder: their common folder; it may be missing, its parent may not.
        rows: of the table.
        overwrite: whether the folders of the same targets are replaced.

    Raises:
        InvalidArgument: a place that cannot be written to, a folder that exists without
            `overwrite`, or one with files of others in it.
    """
    path = pathlib.Path(folder)
    if path.exists() and not path.is_dir():
        raise InvalidArgument(
            f"the output of deploy is a folder, with one for each target in it; {path} is "
            "a file"
        )
    if not path.is_dir():
        files.check_folder(path, COMMON)
        return
    for row in rows:
        files.check_folder(path / row.name, patterns(row), overwrite)
