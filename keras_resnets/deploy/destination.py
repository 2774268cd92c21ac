"""Checks of the output folders, before images are read."""

import os
from collections.abc import Sequence

from keras_resnets.deploy.target import Target
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_path
from keras_resnets.io import files

# Patterns of the files in every target's folder. Only a folder with the first of them is
# recognized as such, and may be replaced.
COMMON = ("report.json", "README.md", "labels.txt", "model.*", "saved_model.json")


def patterns(target: Target) -> tuple[str, ...]:
    """Returns the patterns of all files that a target's folder may contain."""
    return (*COMMON, *target.files)


def check(
    folder: str | os.PathLike[str], rows: Sequence[Target], overwrite: bool
) -> None:
    """Checks that the folders of all targets can be written.

    Args:
        folder: common folder; it need not exist, but its parent must.
        rows: the targets.
        overwrite: whether existing folders of the same targets are replaced.

    Raises:
        InvalidArgument: a folder cannot be written to, exists without `overwrite`, or
            contains files that `deploy` did not write.
    """
    path = check_path("folder", folder)
    if path.exists() and not path.is_dir():
        raise InvalidArgument(
            "the output of deploy is a folder with a subfolder for each target; got "
            f"{path}, which is a file"
        )
    if not path.is_dir():
        files.check_folder(path, COMMON)
        return
    for row in rows:
        files.check_folder(path / row.name, patterns(row), overwrite)
