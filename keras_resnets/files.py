"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import tempfile

from keras_resnets.errors import InvalidArgument


def check_destination(path, suffix, overwrite=False):
    """The path to write to, checked before any work is done.

    Raises:
        InvalidArgument: another suffix, a folder that is missing or not writable, or
            an existing file without `overwrite`.
    """
    path = pathlib.Path(path)
    if not path.name.endswith(suffix):
        raise InvalidArgument(
            f"the output file must end in {suffix}; got {str(path)!r}"
        )
    folder = path.parent
    if not folder.is_dir():
        raise InvalidArgument(f"there is no folder {str(folder)!r} to write into")
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder; name a file ending in {suffix}")
    if path.exists() and not overwrite:
        raise InvalidArgument(
            f"{path} exists; --overwrite (overwrite=True) replaces it"
        )
    try:
        # Tried, not asked: root, read-only mounts and full disks answer differently.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidArgument(
            f"the folder {str(folder)!r} is not writable: {error.strerror}"
        ) from None
    return path


@contextlib.contextmanager
def atomic_file(path):
    """Yields a temporary path in the same folder; moved to `path` if all went well."""
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    # mkstemp makes files for the owner alone; the file gets the usual permissions.
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
