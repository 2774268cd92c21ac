"""Weights: what the `weights` argument takes.

None (random values); a dataset (`"imagenet"`, `"cifar10"`) or a tag (`"a1_in1k"`) of the
public checkpoints in `records`, which are downloaded; or a file, recognized by its content
and not by its name: one that this package wrote (`.weights.h5`, `.keras`, `.h5`,
`.safetensors`), or a checkpoint of torchvision, timm, transformers (the folder of a hub
too), `keras.applications`, KerasHub (the folder of a preset too), fyu/drn, akamaster,
MLPerf Tiny or darknet. Loading is strict:
every variable is set and every stored value used, or a `WeightsError` says what does not
fit. Values are matched by the names of their layers; a `.keras` file also records how the
layers are connected, and that is compared.
"""

import os
import pathlib
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import some
from keras_resnets.networks import idioms
from keras_resnets.weights import records
from keras_resnets.weights import sidecars

if typing.TYPE_CHECKING:
    from keras_resnets.weights.file_source import FileSource


# Suffixes of files, for messages: a file is recognized by its content alone.
SUFFIXES = (
    ".weights.h5",
    ".keras",
    ".safetensors",
    ".pth",
    ".pt",
    ".th",
    ".bin",
    ".ckpt",
    ".h5",
    ".weights",
)


def open_source(
    weights: str | os.PathLike[str] | None, variant: str
) -> "FileSource | None":
    """Opens the `weights` argument, before anything is built; None for None.

    Args:
        weights: see this module.
        variant: the registry's name of the network, for its public checkpoints.

    Raises:
        WeightsError: an argument that cannot work, a file that cannot be read, or one
            that cannot be downloaded.
    """
    if weights is None:
        return None
    if not isinstance(weights, (str, os.PathLike)):
        idiom = idioms.for_weights(weights, records.names_of(variant))
        raise WeightsError(
            f"weights must be None, a name or a path; got {_short(weights)} of type "
            f"{type(weights).__name__}{f': {idiom}' if idiom else ''}"
        )
    path = pathlib.Path(weights)
    if path.is_file() or (path.is_dir() and _holds_weights(path)):
        source = _open_file(path)
        sidecars.apply(source)
        return source
    if path.name.lower().endswith(SUFFIXES) or len(path.parts) > 1:
        _refuse_folder(path)
        idiom = idioms.for_weights(weights, records.names_of(variant))
        raise WeightsError(
            f"weights: there is no file {str(weights)!r}{f': {idiom}' if idiom else ''}"
        )
    return _open_record(str(weights), variant)


def _short(value: typing.Any) -> typing.Any:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _open_record(name: str, variant: str) -> typing.Any:
    try:
        record = records.find(variant, name)
    except InvalidArgument as error:
        _refuse_folder(pathlib.Path(name))
        raise WeightsError(f"{error} (or give a file: {', '.join(SUFFIXES)})") from None
    from keras_resnets.weights import store

    source = _open_file(store.fetch(record))
    source.origin = record.location
    source.preprocessing, source.labels = record.preprocessing(), record.labels
    return source


def _refuse_folder(path: pathlib.Path) -> None:
    """Raises for a folder, and for the name that a TensorFlow checkpoint begins with."""
    from keras_resnets.weights.readers import other_files

    reason = other_files.reason_of_folder(path)
    if reason:
        raise WeightsError(f"weights: {str(path)!r}: {reason}")
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if entry.is_file())
        hint = f" in it ({some(inside)})" if inside else ""
        raise WeightsError(f"weights: {str(path)!r} is a folder; give a file{hint}")


def _holds_weights(path: pathlib.Path) -> bool:
    from keras_resnets.weights import readers

    return readers.is_folder_of_weights(path)


def _open_file(path: pathlib.Path) -> "FileSource":
    from keras_resnets.weights.file_source import FileSource

    return FileSource(path)
