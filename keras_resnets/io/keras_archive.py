"""Keras' files, made in memory: deterministic, and written whole or not at all."""

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
    """A file in memory with a name, since Keras chooses the format by its suffix."""

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

    The HDF5 library crashes the process on a full disk, so it writes into memory, and
    plain calls, which raise, write the bytes to the disk.

    Args:
        model: a `keras.Model`.
        path: a `pathlib.Path` with any suffix.
        attributes: strings by name for the attributes of the file.

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
    """Writes a `.keras` file that is the same for every write of the model.

    The date in its metadata and those of the archive's entries are fixed, and the
    addresses by which Keras identifies objects that layers share are numbered.

    Args:
        model: a `keras.Model`.
        path: a `pathlib.Path` with any suffix.
        entries: strings by name for further entries of the archive.

    Raises:
        OSError: the file could not be written whole.
    """
    memory = _Memory("memory.keras")
    model.save(memory)
    with zipfile.ZipFile(memory) as original, zipfile.ZipFile(path, "w") as archive:
        for entry in original.infolist():
            settled = _entry(entry.filename)
            settled.compress_type = entry.compress_type
            settled.external_attr = entry.external_attr
            settled.file_size = entry.file_size
            with original.open(entry) as source, archive.open(settled, "w") as target:
                if entry.filename in ("metadata.json", "config.json"):
                    target.write(_settled(json.load(source)))
                else:
                    shutil.copyfileobj(source, target, 1 << 20)
        for name, text in (entries or {}).items():
            archive.writestr(_entry(name), text)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    # As `ZipFile.writestr` sets for a new entry: readable by its owner.
    entry.external_attr = 0o600 << 16
    return entry


def _settled(content: dict[str, typing.Any]) -> bytes:
    if "date_saved" in content:
        content["date_saved"] = _SAVED
    return json.dumps(_numbered(content, {})).encode()


def _numbered(value: object, numbers: dict[int, int]) -> object:
    """Returns `value` with each address in `shared_object_id` replaced by a number."""
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
