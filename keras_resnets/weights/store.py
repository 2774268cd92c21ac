"""Fetches the file of a record: shipped, or downloaded, resumed and checked."""

import contextlib
import hashlib
import os
import pathlib
import re
import stat
import typing
import urllib.parse
from collections.abc import Iterator

from keras_resnets.errors import NotWritten
from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.networks import extent
from keras_resnets.networks import variants
from keras_resnets.system.progress import ProgressBar
from keras_resnets.weights import pins
from keras_resnets.weights import transfer
from keras_resnets.weights.readers.preset import PRESET
from keras_resnets.weights.records import SHIPPED

if typing.TYPE_CHECKING:
    from keras_resnets.weights.records import Record


TRAINED = pathlib.Path(__file__).parent / "trained"
HUB = "hf://"
# A broken connection is resumed this many times in one call.
ATTEMPTS = 4
# Bytes that a file of unknown size may have.
MOST = 2_000_000_000
# Bytes per parameter in a checkpoint: float32, and as much again for a momentum and a
# moving average.
_BYTES_EACH, _BYTES_MORE = 12, 16_000_000
_TAG_SUFFIX = ".version"
# Do not follow links, and do not block at a pipe.
_CAREFUL = sum(
    getattr(os, name, 0)
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)


def cache_folder() -> pathlib.Path:
    """Returns the folder of downloads: `$KERAS_RESNETS_CACHE`, else the user's cache."""
    chosen = os.environ.get("KERAS_RESNETS_CACHE")
    if chosen:
        return pathlib.Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "keras_resnets"


def is_offline() -> bool:
    """Whether `KERAS_RESNETS_OFFLINE` forbids downloads."""
    return os.environ.get("KERAS_RESNETS_OFFLINE", "0") not in ("", "0")


def most_bytes(record: "Record") -> int:
    """Returns how many bytes the file of a record may have, by the size of its network."""
    values = extent.extent(variants.VARIANTS[record.variant]).parameters
    return min(MOST, _BYTES_EACH * values + _BYTES_MORE)


def pin_of(record: "Record", part: str = "") -> pathlib.Path:
    """Returns the path of the pin of a record's file or of a preset's part; see `pins`."""
    part = part and f".{part}"
    return cache_folder() / f"{record.variant}.{record.tag}{part}{pins.SUFFIX}"


def proof_of(record: "Record") -> str:
    """Describes how the file of a record is verified: `"sha256, pinned"`."""
    kind, _, digits = record.hash.partition(":")
    hash_kind = (
        kind if len(digits) >= 32 or not digits else f"{kind} ({len(digits)} digits)"
    )
    pins_of = [pin_of(record, part) for part in _parts(record)]
    pinned = not record.shipped and all(pin.is_file() for pin in pins_of)
    return (
        ", ".join(filter(None, (hash_kind, "pinned" if pinned else "")))
        or "at first download"
    )


def fetch(record: "Record") -> pathlib.Path:
    """Returns the path of a record's file, downloaded if it is not in the cache.

    Args:
        record: a `Record`.

    Raises:
        WeightsError: offline, no connection, an address that is gone, a file whose
            hash is not the record's, or not that of the first download.
    """
    if record.shipped:
        return TRAINED / record.location.removeprefix(SHIPPED)
    on_hub = record.location.startswith(HUB)
    paths = _fetch_from_hub(record) if on_hub else [_fetch_from_web(record)]
    note = _unproven(record)
    for path, part in zip(paths, _parts(record), strict=True):
        _check_hash(path, record.hash, str(path))
        try:
            pins.check(path, pin_of(record, part), note)
        except NotWritten:
            # A shared cache may be read-only.
            pass
        note = ""
    return paths[0].parent if record.location.endswith("/") else paths[0]


def _parts(record: "Record") -> typing.Any:
    """The files of a record by name: a preset of KerasHub has two; else one, unnamed."""
    return PRESET if record.location.endswith("/") else ("",)


def _unproven(record: "Record") -> str:
    """The warning about a file without a complete known hash; else empty."""
    _, _, digits = record.hash.partition(":")
    if len(digits) >= 32:
        return ""
    why = (
        f"{len(digits)} digits of its hash are known" if digits else "no hash is known"
    )
    if record.location.startswith("http:"):
        why += ", and its connection was not protected (http)"
    return f"{record.variant} {record.tag}: {why}"


def _fetch_from_web(record: "Record") -> typing.Any:
    suffix = pathlib.PurePosixPath(urllib.parse.urlparse(record.location).path).suffix
    path = cache_folder() / f"{record.variant}.{record.tag}{suffix}"
    if not path.is_file():
        if is_offline():
            raise WeightsError(
                f"{record.variant} {record.tag} is not in the cache {path.parent}, and "
                "KERAS_RESNETS_OFFLINE forbids to download it"
            )
        download(record.location, path, record.hash, most_bytes(record))
    return path


def _fetch_from_hub(record: "Record") -> typing.Any:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise WeightsError(
            f"{record.variant} {record.tag} lies on the Hugging Face hub: "
            "pip install 'keras-resnets[hub]'"
        ) from None
    repository, _, name = record.location.removeprefix(HUB).rpartition("/")
    try:
        paths = [
            _one_of_hub(huggingface_hub, record, repository, file)
            for file in ([name] if name else PRESET)
        ]
    except errors.LocalEntryNotFoundError:
        raise WeightsError(
            f"{record.variant} {record.tag} is not in the cache {cache_folder()}, and "
            f"{record.location} cannot be reached"
            + (" (KERAS_RESNETS_OFFLINE)" if is_offline() else "")
        ) from None
    except WeightsError:
        raise
    except Exception as error:
        # Any exception of that library and of its own libraries.
        raise WeightsError(
            f"{record.location} was not downloaded: {first_line(error)}"
        ) from None
    for path in paths:
        blob = path.resolve().name
        if re.fullmatch("[0-9a-f]{64}", blob):
            # The hub names large files by their SHA-256.
            _check_hash(path, f"sha256:{blob}", record.location)
    return paths


def _one_of_hub(
    hub: typing.Any, record: "Record", repository: typing.Any, name: str
) -> typing.Any:
    """Path of a file of a repository, from the cache or downloaded."""
    folder = cache_folder() / "hub"
    path = hub.try_to_load_from_cache(repository, name, folder)
    if not isinstance(path, str):
        if not is_offline():
            _check_size_on_hub(hub, repository, name, record)
        path = hub.hf_hub_download(
            repository, name, cache_dir=folder, local_files_only=is_offline()
        )
    return pathlib.Path(path)


def _check_size_on_hub(
    hub: typing.Any, repository: typing.Any, name: str, record: "Record"
) -> None:
    """Raises `WeightsError` if the hub's file is larger than the record's can be."""
    facts = hub.get_hf_file_metadata(hub.hf_hub_url(repository, name))
    size, most = facts.size, most_bytes(record)
    if size is not None and size > most:
        raise WeightsError(transfer.too_large(record.location, size, most))


def download(url: str, path: pathlib.Path, digest: str = "", most: int = MOST) -> None:
    """Downloads `url` to `path`, which appears whole or not at all.

    The bytes received before a break stay beside it as `<name>.part`, and are resumed
    from: within this call, and, if a hash can verify that the parts belong together, in
    the next one.

    Args:
        url: http or https.
        path: file to write; its folder is created.
        digest: `"sha256:"` or `"md5:"` and the first hex digits, or empty.
        most: the most bytes that it may have.

    Raises:
        WeightsError: see `fetch`.
    """
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part")
    transfer.check_address(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opened(part) as file, _locked(file):
            if path.is_file():
                # Another process was faster.
                return
            if not digest:
                _begin_anew(part, file)
            _receive(url, part, file, digest, most)
            try:
                _check_hash(part, digest, transfer.shown_address(url))
            except WeightsError:
                part.unlink()
                raise
            os.replace(part, path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written: {error.strerror or first_line(error)}"
        ) from None


def _opened(part: pathlib.Path) -> typing.Any:
    """Opens the file to download into: not a link, a pipe or a hard link."""
    options = os.O_RDWR | os.O_CREAT | os.O_APPEND | _CAREFUL
    with contextlib.suppress(FileNotFoundError):
        _check_own(part, os.lstat(part))
    file = os.fdopen(os.open(part, options, 0o666), "r+b")
    try:
        _check_own(part, os.fstat(file.fileno()))
    except WeightsError:
        file.close()
        raise
    return file


def _check_own(part: pathlib.Path, facts: typing.Any) -> None:
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        raise WeightsError(
            f"{part} is not a regular file but a link, a pipe or a folder; delete it"
        )


def _begin_anew(part: pathlib.Path, file: typing.Any) -> None:
    file.truncate(0)
    _version(part).unlink(missing_ok=True)


def _version(part: pathlib.Path) -> typing.Any:
    """The path of the version of a broken download."""
    return part.with_name(part.name + _TAG_SUFFIX)


def _receive(
    url: str, part: pathlib.Path, file: typing.Any, digest: str, most: int
) -> typing.Any:
    for attempt in range(ATTEMPTS):
        try:
            return _receive_rest(url, part, file, digest, most)
        except transfer.Lost as error:
            lost = error
        if attempt + 1 == ATTEMPTS:
            have = file.seek(0, os.SEEK_END)
            kept = f"; {have:,} bytes are kept for the next try" * bool(have)
            place = transfer.shown_address(url)
            raise WeightsError(f"{place} was not downloaded: {lost}{kept}") from None


def _receive_rest(
    url: str, part: pathlib.Path, file: typing.Any, digest: str, most: int
) -> None:
    """Appends to `file` what it lacks of `url`."""
    have, tag = file.seek(0, os.SEEK_END), _read_tag(part)
    if not tag or have > most:
        have = 0
    with contextlib.ExitStack() as stack:
        try:
            answer = stack.enter_context(transfer.ask(url, have, tag, most))
        except transfer.OtherPart:
            _begin_anew(part, file)
            raise
        if answer is None:
            # No bytes follow the received ones; the hash shows whether they are complete.
            _version(part).unlink(missing_ok=True)
            return
        if not answer.start:
            _begin_anew(part, file)
        if not answer.has_end and not digest:
            raise WeightsError(
                f"{transfer.shown_address(url)} does not say where the file ends, and "
                "there is no hash to check that it is complete"
            )
        if answer.tag:
            _write_tag(part, answer.tag)
        _copy(answer, part, file, most, transfer.shown_address(url))
    _version(part).unlink(missing_ok=True)


def _copy(
    answer: typing.Any, part: pathlib.Path, file: typing.Any, most: int, place: str
) -> None:
    bar, have = ProgressBar(answer.total or 0, "MB"), answer.start
    try:
        for chunk in answer.chunks():
            have += len(chunk)
            if have > most:
                _begin_anew(part, file)
                raise WeightsError(transfer.too_large(place, None, most))
            file.write(chunk)
            bar(have)
    finally:
        file.flush()
        bar.close()
    if answer.total is not None and have != answer.total:
        raise transfer.Lost(
            f"the connection was lost at {have:,} of {answer.total:,} bytes"
        )


def _read_tag(part: pathlib.Path) -> typing.Any:
    """The version of the received bytes; empty if it is unknown."""
    try:
        file = os.fdopen(os.open(_version(part), os.O_RDONLY | _CAREFUL), "rb")
        with file:
            text = file.read(1000).decode("ascii")
    except (OSError, ValueError):
        return ""
    return text if transfer.is_tag(text) else ""


def _write_tag(part: pathlib.Path, tag: str) -> None:
    place = _version(part)
    place.unlink(missing_ok=True)
    with open(place, "x", encoding="ascii") as file:
        file.write(tag)


def _check_hash(path: pathlib.Path, digest: str, place: str) -> None:
    """Raises `WeightsError` unless a file's hash begins with the known digits."""
    kind, _, digits = digest.partition(":")
    if not digits:
        return
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, kind).hexdigest()
    if not actual.startswith(digits):
        raise WeightsError(
            f"{place} has the {kind} {actual}; it should begin with {digits}: it is not "
            "used"
        )


@contextlib.contextmanager
def _locked(file: typing.Any) -> Iterator[None]:
    """One process at a time; others wait, where the system can lock files."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    # Some network file systems have no locks.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
    yield
