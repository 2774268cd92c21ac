"""Runs exported files in their own runtimes.

Every runner takes any number of float32 pictures (count, height, width, channels),
whatever type and batch its file takes, and returns float32 outputs: an array, or a dict
where there are several. It has `input_shape` as (batch, height, width, channels), None
for a batch that is open, `has_logits` (whether it puts out what the final softmax gets;
asked for by `logits=True`), `takes_pixels` (whether the pictures are uint8 pixel values)
and `latency`.
"""

import pathlib

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import first_line
from keras_resnets.export.runners.keras_model import KerasFileRunner
from keras_resnets.export.runners.keras_model import KerasRunner
from keras_resnets.export.runners.keras_model import LoadedModelRunner
from keras_resnets.export.runners.onnx_file import OnnxRunner
from keras_resnets.export.runners.saved_model import SavedModelRunner
from keras_resnets.export.runners.tflite_file import TFLiteRunner

__all__ = [
    "KerasFileRunner",
    "KerasRunner",
    "LoadedModelRunner",
    "OnnxRunner",
    "SavedModelRunner",
    "TFLiteRunner",
    "open_runner",
]


def open_runner(path, threads=2, logits=False):
    """The runner of an exported file.

    Args:
        path: a `.tflite`, `.onnx` or `.keras` file, or the folder of a SavedModel.
        threads: of the runtime, >= 1.
        logits: see this module.

    Raises:
        InvalidArgument: a file that is missing or is none of these.
    """
    path = pathlib.Path(path)
    if (path / "saved_model.pb").is_file():
        return SavedModelRunner(path, threads, logits)
    kinds = {".tflite": TFLiteRunner, ".onnx": OnnxRunner, ".keras": KerasFileRunner}
    if path.suffix not in kinds or not path.is_file():
        raise InvalidArgument(
            f"{path} must be a .tflite, .onnx or .keras file, or the folder of a "
            "SavedModel"
        )
    try:
        return kinds[path.suffix](path, threads, logits)
    except InvalidArgument:
        raise
    except Exception as error:
        # Every runtime has errors of its own for a file that it cannot read.
        raise InvalidArgument(f"{path} cannot be run: {first_line(error)}") from None
