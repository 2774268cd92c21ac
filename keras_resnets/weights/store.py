"""Where the file of a record is: here, or downloaded: resumed, checked, landed whole."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import urllib.error
import urllib.parse
import urllib.request

from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.progress import ProgressBar
from keras_resnets.weights.readers.preset import PRESET
from keras_resnets.weights.records import SHIPPED

TRAINED = pathlib.Path(__file__).parent / "trained"
HUB = "hf://"
# Seconds without a byte after which the connection counts as lost.
TIMEOUT = 30
# A connection that breaks off is taken up again so many times in one call.
ATTEMPTS = 4
_CHUNK = 1 << 20


class _Lost(Exception):
    """A connection that broke off in the middle."""


_BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    _Lost,
)


def cache_folder():
    """Where downloads lie: `$KERAS_RESNETS_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("KERAS_RESNETS_CACHE")
    if chosen:
        return pathlib.Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "keras_resnets"


def is_offline():
    """Whether `KERAS_RESNETS_OFFLINE` forbids downloads."""
    return os.environ.get("KERAS_RESNETS_OFFLINE", "0") not in ("", "0")


def fetch(record):
    """Path of a record's file, which is downloaded where the cache has it not.

    Args:
        record: a `Record`.

    Raises:
        WeightsError: offline, no connection, an address that is gone, or a file with
            another hash than the record's.
    """
    if record.shipped:
        return TRAINED / record.location.removeprefix(SHIPPED)
    if record.location.startswith(HUB):
        return _fetch_from_hub(record)
    suffix = pathlib.PurePosixPath(urllib.parse.urlparse(record.location).path).suffix
    path = cache_folder() / f"{record.variant}.{record.tag}{suffix}"
    if not path.is_file():
        if is_offline():
            raise WeightsError(
                f"{record.variant} {record.tag} is not in the cache {path.parent}, and "
                "KERAS_RESNETS_OFFLINE forbids to download it"
            )
        download(record.location, path, record.hash)
    return path


def _fetch_from_hub(record):
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
            huggingface_hub.hf_hub_download(
                repository,
                file,
                cache_dir=cache_folder() / "hub",
                local_files_only=is_offline(),
            )
            for file in ([name] if name else PRESET)
        ]
    except errors.LocalEntryNotFoundError:
        raise WeightsError(
            f"{record.variant} {record.tag} is not in the cache {cache_folder()}, and "
            f"{record.location} cannot be reached"
            + (" (KERAS_RESNETS_OFFLINE)" if is_offline() else "")
        ) from None
    except (OSError, errors.HfHubHTTPError, ValueError) as error:
        raise WeightsError(
            f"{record.location} was not downloaded: {first_line(error)}"
        ) from None
    path = pathlib.Path(paths[0])
    return path if name else path.parent


def download(url, path, digest=""):
    """Brings `url` to `path`, which appears whole or not at all.

    What was received before a break stays beside it as `<name>.part`, and is gone on
    from: within this call, and by the next one.

    Args:
        url: http or https.
        path: file to write; its folder is made.
        digest: `"sha256:"` or `"md5:"` and the first hex digits, or empty.

    Raises:
        WeightsError: see `fetch`.
    """
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as file, _locked(file):
            if path.is_file():
                # Another process was faster.
                return
            _receive(url, part, file)
            _check_hash(part, digest, url)
            os.replace(part, path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written: {error.strerror or error}"
        ) from None


def _receive(url, part, file):
    for attempt in range(ATTEMPTS):
        try:
            return _receive_rest(url, part, file)
        except urllib.error.HTTPError as error:
            raise WeightsError(f"{url} answers {error.code} {error.reason}") from None
        except _BROKEN as error:
            lost = getattr(error, "reason", error)
        if attempt + 1 < ATTEMPTS and isinstance(lost, _Lost):
            continue
        kept = f"; {file.tell():,} bytes are kept for the next try" * bool(file.tell())
        raise WeightsError(f"{url} was not downloaded: {lost}{kept}") from None


def _receive_rest(url, part, file):
    """Appends to `file` what it lacks of `url`."""
    version = part.with_name(part.name + ".version")
    have = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "keras_resnets"}
    if have and version.is_file():
        # The server sends the rest if the file is still the same, and else the whole.
        headers["Range"] = f"bytes={have}-"
        headers["If-Range"] = version.read_text(encoding="utf-8")
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            if answer.status != 206:
                file.truncate(0)
                have = 0
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if tag and not tag.startswith("W/"):
                version.write_text(tag, encoding="utf-8")
            length = answer.headers.get("Content-Length")
            _copy(answer, file, have, have + int(length) if length else None)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # There is nothing behind what we have; the hash tells whether it is whole.
        error.close()
    version.unlink(missing_ok=True)


def _copy(answer, file, have, total):
    bar = ProgressBar(total or 0, "MB")
    try:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            bar(have)
    except (TimeoutError, ConnectionError, http.client.IncompleteRead) as error:
        raise _Lost(f"the connection broke off ({type(error).__name__})") from None
    finally:
        file.flush()
        bar.close()
    if total is not None and have != total:
        raise _Lost(f"the connection broke off at {have:,} of {total:,} bytes")


def _check_hash(part, digest, url):
    kind, _, wanted = digest.partition(":")
    if not wanted:
        return
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if not found.startswith(wanted):
        part.unlink()
        raise WeightsError(
            f"{url} has the {kind} {found}; it should begin with {wanted} (the download "
            "was thrown away)"
        )


@contextlib.contextmanager
def _locked(file):
    """One process at a time; others wait, where the system can lock files."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
