"""What stands in an exported file, passport or not."""

import dataclasses
import os

from keras_resnets.export import formats
from keras_resnets.export.contents import Contents
from keras_resnets.export.runner import told
from keras_resnets.io import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection(Contents):
    """What a file holds, and what it is.

    Attributes:
        format: name of its row in `formats.FORMATS`: `"tflite"`, `"onnx"`, ...
        size: bytes.
    """

    format: str
    size: int


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """What a `.tflite`, `.onnx` or `.keras` file or a SavedModel's folder holds.

    Files are read, not run: neither an interpreter nor TensorFlow sees them, but for
    Keras, which builds the network of a `.keras` file.

    Raises:
        InvalidArgument: a file that is missing, damaged or of no such format, or that
            says more than it holds.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_tflite
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(keras_resnets.ResNet8(), f"{folder}/a.tflite")
        ...     inspect(report.path).inputs[0].name
        'image'
    """
    form = formats.format_of(path)
    with told(path, "cannot be read"):
        found = form.room.read(path)
    return Inspection(**vars(found), format=form.name, size=files.size(path))
