"""Files that appear whole or not at all."""

import contextlib
import fnmatch
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import NotWritten
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_path
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.system import interrupts

# The prefix of this package's temporary folders.
_OWN = "keras_resnets_"
_NOTHING = "; nothing was written"


def check_destination(
    path: str | os.PathLike[str], suffix: str, overwrite: bool = False
) -> pathlib.Path:
    """Returns the path to write to, checked before any work is done.

    Raises:
        InvalidArgument: another suffix, a folder that is missing or not writable, or
            an existing file without `overwrite`.
    """
    path = check_path("path", path)
    if not path.name.endswith(suffix):
        raise InvalidArgument(
            f"the output file must end in {suffix}; got {str(path)!r}"
        )
    _check_name(path)
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder; name a file ending in {suffix}")
    if _is_special(path):
        raise InvalidArgument(
            f"{path} is a device or a pipe, which would be replaced by the file: name "
            "a file"
        )
    check_free(path, overwrite)
    _check_writable(path.parent)
    return path


def check_folder(
    path: str | os.PathLike[str], own: Sequence[str], overwrite: bool = False
) -> pathlib.Path:
    """Returns the folder to write, checked before any work is done.

    Args:
        path: the folder.
        own: patterns of the contents of such a folder, such as `variables/*.index`: the
            first is a file that it must hold to be replaced, and nothing else may be in
            it.
        overwrite: replace an existing folder.

    Raises:
        InvalidArgument: a place that cannot be written to, an existing folder without
            `overwrite`, or something else under that name.
    """
    path = check_path("path", path)
    _check_name(path)
    if not path.name or path.name == "..":
        raise InvalidArgument(f"the output must be a folder of its own; got {path}")
    if os.path.lexists(path):
        check_replaceable(path, own)
    check_free(path, overwrite)
    _check_writable(path.parent)
    return path


def check_replaceable(path: pathlib.Path, own: Sequence[str]) -> None:
    """Raises `InvalidArgument` unless a folder holds only its own files.

    Replacing it deletes its contents: links, folders in use and foreign files must not
    be deleted by a command.

    Args:
        path: an existing folder.
        own: see `check_folder`.
    """
    if path.is_symlink():
        raise InvalidArgument(f"{path} is a link: name the folder that it leads to")
    if not path.is_dir() or not (path / own[0]).is_file():
        raise InvalidArgument(
            f"{path} exists and is not a folder with a {own[0]}: it is not replaced"
        )
    whole = path.resolve()
    homes = [pathlib.Path.cwd(), pathlib.Path(os.path.expanduser("~")).resolve()]
    if any(home == whole or whole in home.parents for home in homes):
        raise InvalidArgument(
            f"{path} is the current or the home folder, or above it: it is not replaced"
        )
    if os.path.ismount(path):
        raise InvalidArgument(f"{path} is a mounted file system: it is not replaced")
    foreign = next(_foreign(path, path, own), None)
    if foreign is not None:
        raise InvalidArgument(
            f"{path} contains {printable(foreign, 80)!r} besides its own files "
            f"({', '.join(own)}): it is not replaced"
        )


def _foreign(
    path: pathlib.Path, folder: str | os.PathLike[str], own: Sequence[str]
) -> Iterator[str]:
    """Yields the relative paths of a folder's contents that match no pattern of `own`."""
    folders = {pattern.rpartition("/")[0] for pattern in own}
    with os.scandir(folder) as entries:
        for entry in entries:
            place = pathlib.Path(entry.path).relative_to(path).as_posix()
            if entry.is_dir(follow_symlinks=False) and place in folders:
                yield from _foreign(path, entry.path, own)
            elif not entry.is_file(follow_symlinks=False) or not any(
                fnmatch.fnmatchcase(place, pattern) for pattern in own
            ):
                yield place


def _check_name(path: pathlib.Path) -> None:
    """Raises `InvalidArgument` for a name that C++ libraries cannot take."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InvalidArgument(
            f"the name of what is written must be UTF-8; got {printable(str(path))}"
        ) from None


def _is_special(path: pathlib.Path) -> bool:
    """Whether `path` exists and is not a file, or is a link to a device."""
    if path.is_symlink() and os.readlink(path).startswith(("/dev/", "/proc/")):
        return True
    return path.exists() and not path.is_file()


def check_free(path: pathlib.Path, overwrite: bool) -> None:
    """Raises `InvalidArgument` if `path` exists and must not be overwritten."""
    # Of a text, "no" would be true as well.
    check_choice("overwrite", overwrite, (True, False))
    if path.exists() and not overwrite:
        raise InvalidArgument(
            f"{path} exists; --overwrite (overwrite=True) replaces it"
        )


def _check_writable(folder: pathlib.Path) -> None:
    if not folder.is_dir():
        raise InvalidArgument(f"there is no folder {str(folder)!r} to write into")
    try:
        # A write is tried: permissions alone miss root, read-only mounts and full disks.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidArgument(
            f"the folder {str(folder)!r} is not writable: {error.strerror}"
        ) from None


def size(path: str | os.PathLike[str]) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else filter(pathlib.Path.is_file, path.rglob("*"))
    return sum(file.stat().st_size for file in files)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the same folder; moves it to `path` on success.

    Raises:
        NotWritten: a full disk, or a folder that is gone; the previous file is kept.
    """
    path = pathlib.Path(path)
    with (
        _failures_reported(path),
        interrupts.made(lambda: _new_file(path), _remove) as temporary,
    ):
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike[str], own: Sequence[str]
) -> Iterator[pathlib.Path]:
    """Yields a temporary folder beside `path`; moves it to `path` on success.

    Args:
        path: the folder.
        own: see `check_folder`.

    Raises:
        NotWritten: see `atomic_file`.
        InvalidArgument: a foreign file has appeared in the folder that is replaced.
    """
    path = pathlib.Path(path)

    def unmake(folder: pathlib.Path) -> None:
        # The previous folder would be removed with the temporary one.
        if (folder / "old").exists() and not path.exists():
            os.replace(folder / "old", path)
        _remove_folder(folder)

    with (
        _failures_reported(path),
        interrupts.made(
            lambda: _new_folder(path.parent, _prefix(path)), unmake
        ) as outer,
    ):
        # One level down, so that the replaced folder can be moved in beside it.
        temporary = outer / "new"
        temporary.mkdir()
        yield temporary
        for file in filter(pathlib.Path.is_file, temporary.rglob("*")):
            _to_disk(file)
        with interrupts.held():
            if os.path.lexists(path):
                check_replaceable(path, own)
                os.replace(path, outer / "old")
            os.replace(temporary, path)


@contextlib.contextmanager
def scratch_folder() -> Iterator[pathlib.Path]:
    """Yields a temporary folder, a `pathlib.Path`, and removes it at the end.

    Raises:
        NotWritten: no room for temporary files, or no folder for them.
    """
    with interrupts.made(lambda: _new_folder(None, _OWN), _remove_folder) as folder:
        try:
            yield folder
        except OSError as error:
            if isinstance(error, NotWritten) or not _concerns(error, folder):
                raise
            raise NotWritten(
                f"a temporary file in {printable(_system_place())} (TMPDIR names "
                f"the folder) could not be written: {_reason(error)}{_NOTHING}"
            ) from error


@contextlib.contextmanager
def own_temporaries() -> Iterator[None]:
    """Puts all temporary files of the process into a folder that is removed at the end.

    TensorFlow and others remove theirs only when the process ends normally.
    """
    before = tempfile.tempdir
    with contextlib.ExitStack() as stack:
        # Not every command needs room for temporary files.
        with contextlib.suppress(OSError):
            folder = stack.enter_context(
                interrupts.made(lambda: _new_folder(None, _OWN), _remove_folder)
            )
            tempfile.tempdir = str(folder)
            stack.enter_context(_settings_of_matplotlib(folder))
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def _settings_of_matplotlib(folder: pathlib.Path) -> Iterator[None]:
    """Lets matplotlib keep its settings in `folder` if there is no home to write to.

    It would create a temporary folder in `folder`, and fail to remove it at exit.
    """
    home = os.path.expanduser("~")
    if "MPLCONFIGDIR" in os.environ or (
        os.path.isdir(home) and os.access(home, os.W_OK)
    ):
        yield
        return
    os.environ["MPLCONFIGDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("MPLCONFIGDIR", None)


def _system_place() -> str:
    """The folder of the system's temporary files, without this package's subfolder."""
    folder, name = os.path.split(tempfile.gettempdir())
    return folder if name.startswith(_OWN) else os.path.join(folder, name)


def _prefix(path: pathlib.Path) -> str:
    """The prefix of the temporary file or folder of `path`."""
    # A name may have 255 bytes, and a character up to four of them.
    return f".{path.name[:48]}."


def _new_file(path: pathlib.Path) -> pathlib.Path:
    """Creates an empty file beside `path`, with the system's default permissions."""
    while True:
        temporary = path.with_name(_prefix(path) + secrets.token_hex(4))
        with contextlib.suppress(FileExistsError):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return temporary


def _new_folder(beside: str | os.PathLike[str] | None, prefix: str) -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(dir=beside, prefix=prefix))


def _remove(file: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


def _remove_folder(folder: pathlib.Path) -> None:
    # Windows keeps a file that is in use.
    shutil.rmtree(folder, ignore_errors=True)


def _to_disk(path: pathlib.Path) -> None:
    """Waits until a file is on disk: some systems report a full disk only here."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def after_writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Adds to a `NotWritten` of a second output that the first one was written.

    Example:
        >>> with after_writing("a.tflite"):
        ...     pass  # draw its plot
    """
    try:
        yield
    except NotWritten as error:
        message = str(error).removesuffix(_NOTHING)
        raise NotWritten(f"{message}; {printable(str(path))} was written") from error


@contextlib.contextmanager
def _failures_reported(path: pathlib.Path) -> Iterator[None]:
    """Turns an `OSError` about a file into a `NotWritten` that names the file."""
    try:
        yield
    except OSError as error:
        own = _concerns(error, path.with_name(_prefix(path))) or _concerns(error, path)
        if isinstance(error, NotWritten) or not own:
            raise
        kept = "; the previous content was kept"
        raise NotWritten(
            f"{printable(str(path))} could not be written: {_reason(error)}"
            f"{kept if os.path.lexists(path) else _NOTHING}"
        ) from error


def _concerns(error: OSError, start: pathlib.Path) -> bool:
    """Whether an `OSError` names a file whose path begins with `start`, or no file.

    Other errors concern an image that cannot be read, or a closed standard output.
    """
    if isinstance(error, BrokenPipeError):
        return False
    # A copy names its source first, and what it writes second.
    names = [x for x in (error.filename, error.filename2) if isinstance(x, str | bytes)]
    return not names or any(os.fsdecode(x).startswith(str(start)) for x in names)


def _reason(error: OSError) -> str:
    return error.strerror or first_line(error)


@contextlib.contextmanager
def alone(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Excludes other processes that write into `folder` through this function."""
    try:
        import fcntl
    except ImportError:
        # On Windows the second replacement of an open file fails by itself.
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


def lock(path: str | os.PathLike[str]) -> "Lock | None":
    """Takes a lock that excludes other processes, and that ends with this process.

    Args:
        path: a file that is created for the lock, and removed with it.

    Returns:
        A `Lock`; None if another process holds it. If the file system has no locks,
        every process gets one.
    """
    try:
        import fcntl
    except ImportError:
        return Lock(path, None)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            # A folder that is not writable is reported by the first write.
            return Lock(path, None)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            return Lock(path, descriptor)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return Lock(path, descriptor)
        # The previous holder has removed the file.
        os.close(descriptor)


class Lock:
    """A held lock; see `lock`."""

    def __init__(self, path: str | os.PathLike[str], descriptor: int | None) -> None:
        self._path, self._descriptor = path, descriptor

    def close(self) -> None:
        """Releases the lock."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            os.close(self._descriptor)
            self._descriptor = None
