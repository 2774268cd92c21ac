"""Keras' files, made in memory: their bytes follow from the model, or there is none."""

import io
import json
import pathlib
import shutil
import typing
import zipfile
from collections.abc import Mapping

# The first day that a zip archive can name.
_DATE = (1980, 1, 1, 0, 0, 0)
_SAVED = "1980-01-01@00:00:00"


if typing.TYPE_CHECKING:
    import keras


class _Memory(io.BytesIO):
    """A file in memory with a name, since Keras goes by the suffix of that."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


def write_weights(
    model: "keras.Model",
    path: pathlib.Path,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Writes a `.weights.h5` file.

    The HDF5 library crashes the process where a disk is full: it writes into memory,
    and what it made is written by plain calls, which raise.

    Args:
        model: a `keras.Model`.
        path: a `pathlib.Path`, of any suffix.
        attributes: texts by name for the attributes of the file.

    Raises:
        OSError: the file could not be written whole.
    """
    import h5py

    memory = _Memory("memory.weights.h5")
    model.save_weights(memory)
    if attributes:
        with h5py.File(memory, "a") as file:
            file.attrs.update(attributes)
    path.write_bytes(memory.getbuffer())


def write_model(
    model: "keras.Model", path: pathlib.Path, entries: Mapping[str, str] | None = None
) -> None:
    """Writes a `.keras` file without what changes from one writing to the next.

    That is the date in its metadata, those of the archive's entries, and the addresses
    by which Keras tells that two layers share an object; these are numbered instead.

    Args:
        model: a `keras.Model`.
        path: a `pathlib.Path`, of any suffix.
        entries: texts by name for further entries of the archive.

    Raises:
        OSError: the file could not be written whole.
    """
    memory = _Memory("memory.keras")
    model.save(memory)
    with zipfile.ZipFile(memory) as made, zipfile.ZipFile(path, "w") as archive:
        for entry in made.infolist():
            settled = _entry(entry.filename)
            settled.compress_type = entry.compress_type
            settled.external_attr = entry.external_attr
            settled.file_size = entry.file_size
            with made.open(entry) as source, archive.open(settled, "w") as target:
                if entry.filename in ("metadata.json", "config.json"):
                    target.write(_settled(json.load(source)))
                else:
                    shutil.copyfileobj(source, target, 1 << 20)
        for name, text in (entries or {}).items():
            archive.writestr(_entry(name), text)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    # What `ZipFile.writestr` gives a new entry: readable by its owner.
    entry.external_attr = 0o600 << 16
    return entry


def _settled(content: dict[str, typing.Any]) -> bytes:
    if "date_saved" in content:
        content["date_saved"] = _SAVED
    return json.dumps(_numbered(content, {})).encode()


def _numbered(value: object, numbers: dict[int, int]) -> object:
    """`value` with each address that Keras calls `shared_object_id` as a number."""
    if isinstance(value, list):
        return [_numbered(entry, numbers) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(entry, len(numbers) + 1)
        if key == "shared_object_id"
        else _numbered(entry, numbers)
        for key, entry in value.items()
    }
