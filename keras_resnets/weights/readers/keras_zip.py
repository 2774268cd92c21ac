"""The zip archive of a `.keras` file, checked before anything is unpacked."""

import json
import pathlib
import typing
import zipfile

from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.weights.readers import archive

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
# Compressed data may be this many times as long as the file.
MOST_COMPRESSION = 20
# The description of ResNet-1202 has 3 MB; JSON takes up to 22 times its length.
LONGEST_TEXT = 12_000_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class KerasZip:
    """A `.keras` file.

    Args:
        path: the file.

    Attributes:
        size: the size of the file, in bytes.

    Raises:
        WeightsError: entries that no Keras file has: encrypted, duplicate, overlapping,
            outside the archive, or far longer than the file.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.size = path, pathlib.Path(path).stat().st_size
        self._entries = archive.entries(path)
        entries = list(self._entries.values())
        for entry in entries:
            _check(entry)
        _check_places(entries, self.size)
        total = sum(entry.file_size for entry in entries)
        if total > MOST_COMPRESSION * self.size:
            raise WeightsError(
                f"it contains {total:,} bytes in a file of {self.size:,}: at most "
                f"{MOST_COMPRESSION} times as many are unpacked"
            )

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        """Returns the bytes of an entry, after a check of its checksum."""
        entry = self._entries[name]
        with zipfile.ZipFile(self.path) as content, content.open(entry) as file:
            # With a length, so that no more is unpacked than the entry says.
            content_bytes = file.read(entry.file_size) + file.read(1)
        if len(content_bytes) != entry.file_size:
            raise WeightsError(f"the length of its {printable(name)} is wrong")
        return content_bytes

    def text(self, name: str) -> str | None:
        """Returns the text of an entry; None if there is none.

        Raises:
            WeightsError: a text that is too long, or not UTF-8.
        """
        if name not in self._entries:
            return None
        size = self._entries[name].file_size
        if size > LONGEST_TEXT:
            raise WeightsError(
                f"its {name} has {size:,} bytes: at most {LONGEST_TEXT:,} are read"
            )
        try:
            return self.read(name).decode()
        except UnicodeDecodeError:
            raise WeightsError(f"its {name} is not UTF-8") from None


def parsed(text: str, name: str) -> dict[str, typing.Any]:
    """Parses a JSON text that holds a dict.

    Args:
        text: from a file.
        name: its name in messages.

    Raises:
        WeightsError: not JSON, or not a dict.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise WeightsError(f"its {name} is nested too deeply") from None
    except ValueError as error:
        raise WeightsError(f"its {name} is not JSON: {printable(str(error))}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"its {name} is not a JSON object: {type(content).__name__}")
    return content


def _check(entry: typing.Any) -> None:
    name = printable(entry.filename)
    parts = entry.filename.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or ":" in parts[0]:
        raise WeightsError(f"its entry {name} would lie outside the archive")
    if entry.flag_bits & 1:
        raise WeightsError(f"its entry {name} is encrypted")
    if entry.compress_type not in _METHODS:
        raise WeightsError(
            f"its entry {name} is compressed by method {entry.compress_type}; stored and "
            "deflated entries are read"
        )


def _check_places(entries: list[typing.Any], size: int) -> None:
    """Raises `WeightsError` if entries share bytes, or lie outside the file."""
    ends = [entry.header_offset for entry in sorted(entries, key=_place)][1:] + [size]
    for entry, end in zip(sorted(entries, key=_place), ends, strict=True):
        # A local header has 30 bytes, and the name again.
        if entry.header_offset + 30 + entry.compress_size > end:
            raise WeightsError(
                f"its entry {printable(entry.filename)} reaches into what follows"
            )


def _place(entry: typing.Any) -> int:
    return entry.header_offset
