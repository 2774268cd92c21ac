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
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder; name a file ending in {suffix}")
    check_free(path, overwrite)
    _check_writable(path.parent)
    return path


def check_folder(path, content, overwrite=False):
    """The folder to write, checked before any work is done.

    Args:
        path: the folder.
        content: a file that a folder must hold to be replaced.
        overwrite: replace an existing one.

    Raises:
        InvalidArgument: a place that cannot be written to, an existing folder without
            `overwrite`, or something else under that name.
    """
    path = pathlib.Path(path)
    if path.exists() and not (path / content).is_file():
        raise InvalidArgument(
            f"{path} exists and is no folder with a {content}: it is not replaced"
        )
    check_free(path, overwrite)
    _check_writable(path.parent)
    return path


def check_free(path, overwrite):
    """Raises `InvalidArgument` where something is at `path` that shall stay."""
    if path.exists() and not overwrite:
        raise InvalidArgument(
            f"{path} exists; --overwrite (overwrite=True) replaces it"
        )


def _check_writable(folder):
    if not folder.is_dir():
        raise InvalidArgument(f"there is no folder {str(folder)!r} to write into")
    try:
        # Tried, not asked: root, read-only mounts and full disks answer differently.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidArgument(
            f"the folder {str(folder)!r} is not writable: {error.strerror}"
        ) from None


def size(path):
    """Bytes of a file, or of all files in a folder."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else filter(pathlib.Path.is_file, path.rglob("*"))
    return sum(file.stat().st_size for file in files)


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


@contextlib.contextmanager
def atomic_folder(path):
    """Yields a temporary folder beside `path`; moved to `path` if all went well."""
    path = pathlib.Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as made:
        # One folder down, so that what is replaced can be moved in beside it.
        temporary, replaced = pathlib.Path(made, "new"), pathlib.Path(made, "old")
        temporary.mkdir()
        yield temporary
        if path.exists():
            os.replace(path, replaced)
        try:
            os.replace(temporary, path)
        except BaseException:
            # What stood there would go with the temporary folder.
            if replaced.exists() and not path.exists():
                os.replace(replaced, path)
            raise


@contextlib.contextmanager
def alone(folder):
    """Makes others wait that land a file in `folder` through this function."""
    try:
        import fcntl
    except ImportError:
        # Windows: there the second replacement of an open file fails by itself.
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
