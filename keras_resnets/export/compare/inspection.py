"""Inspects an exported file, with or without a passport."""

import dataclasses
import os

from keras_resnets.export import formats
from keras_resnets.export.contents import Contents
from keras_resnets.export.runner import errors_reported
from keras_resnets.io import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection(Contents):
    """The contents of a file, its format and size.

    Attributes:
        format: name of its row in `formats.FORMATS`: `"tflite"`, `"onnx"`, ...
        size: bytes.
    """

    format: str
    size: int


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Reads the contents of a `.tflite`, `.onnx` or `.keras` file or a SavedModel.

    Files are read, not run, without an interpreter or TensorFlow; only the network of a
    `.keras` file is built, by Keras.

    Raises:
        InvalidArgument: a file that is missing, damaged or of another format, or that
            claims more than it holds.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_tflite
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(keras_resnets.ResNet8(), f"{folder}/a.tflite")
        ...     inspect(report.path).inputs[0].name
        'image'
    """
    form = formats.format_of(path)
    with errors_reported(path, "cannot be read"):
        contents = form.room.read(path)
    return Inspection(**vars(contents), format=form.name, size=files.size(path))
