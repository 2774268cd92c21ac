"""Readers of files of weights: they return tensors by name and execute nothing."""

import pathlib
import typing
from collections.abc import Callable

from keras_resnets.errors import WeightsError
from keras_resnets.weights.readers import archive
from keras_resnets.weights.readers import hub_folder
from keras_resnets.weights.readers import other_files
from keras_resnets.weights.readers.checkpoint import Checkpoint
from keras_resnets.weights.readers.checkpoint import damage_reported
from keras_resnets.weights.readers.darknet import is_darknet
from keras_resnets.weights.readers.darknet import read_darknet
from keras_resnets.weights.readers.keras_file import read_archive
from keras_resnets.weights.readers.keras_file import read_keras
from keras_resnets.weights.readers.preset import is_preset
from keras_resnets.weights.readers.preset import read_preset
from keras_resnets.weights.readers.safetensors import read_safetensors
from keras_resnets.weights.readers.torch_checkpoint import read_stream
from keras_resnets.weights.readers.torch_checkpoint import read_zip

__all__ = ["HUB_FILES", "Checkpoint", "is_folder_of_weights", "read"]

HUB_FILES = hub_folder.FILES


def is_folder_of_weights(path: pathlib.Path) -> bool:
    """Whether `path` is a folder that `read` takes: a preset, or one of the hub."""
    return is_preset(path) or (path.is_dir() and bool(hub_folder.file_in(path)))


def read(path: pathlib.Path) -> Checkpoint:
    """Opens a checkpoint; the format follows from its content, not from its name.

    Args:
        path: a safetensors file, a file of torch.save (of any age but the tar of 2016),
            a .h5, .weights.h5 or .keras of Keras 2 or 3, a darknet .weights, the
            folder of a KerasHub preset, or one of the Hugging Face Hub (also in parts,
            with an index, or the index itself).

    Returns:
        A `Checkpoint`. Tensors are read from the file on access.

    Raises:
        WeightsError: a file that is missing, of no such format, or damaged.
    """
    path = pathlib.Path(path)
    with damage_reported(path):
        hub_folder.check_whole(path)
        return _read(path)


def _read(path: pathlib.Path) -> Checkpoint:
    return _reader(path)(path)


def _reader(path: pathlib.Path) -> Callable[..., typing.Any]:
    if is_preset(path):
        return read_preset
    if path.is_dir():
        return lambda path: _read(hub_folder.file_in(path) or path)
    with open(path, "rb") as file:
        head = file.read(other_files.BYTES)
    if head.startswith(b"PK\x03\x04"):
        return _read_archive
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return read_stream
    if head[8:9] == b"{" and not other_files.is_text(head):
        return read_safetensors
    if path.name.endswith(hub_folder.INDEX):
        return lambda path: hub_folder.read_index(path, _read)
    reason = other_files.reason(head, path.suffix)
    if not reason and path.suffix.lower() == ".safetensors":
        return read_safetensors
    if not reason and (is_darknet(head) or path.suffix.lower() == ".weights"):
        return read_darknet
    raise WeightsError(
        "it is not a safetensors, torch, Keras or darknet file"
        + (f": {reason}" if reason else "")
    )


def _read_archive(path: pathlib.Path) -> Checkpoint:
    entries = archive.entries(path)
    if "config.json" in entries:
        return read_archive(path)
    return read_zip(path, entries)
