"""Runs exported files in their own runtimes.

Every runner takes any number of float32 pictures (count, height, width, channels),
whatever type and batch its file takes, and returns float32 outputs: an array, or a dict
where there are several. It has `input_shape` as (batch, height, width, channels), None
for a batch that is open, `output_names`, `tapped` (the names of the outputs for which
it puts out what the final softmax or sigmoid gets, asked for by `logits=True`),
`has_logits` (whether there are any), `takes_pixels` (whether the pictures are uint8 pixel
values) and `latency`.
"""

import pathlib

from keras_resnets.errors import InvalidArgument
from keras_resnets.export.runners.common import Told
from keras_resnets.export.runners.common import told
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
    "kind_of",
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
    kinds = {
        "saved_model": SavedModelRunner,
        "tflite": TFLiteRunner,
        "onnx": OnnxRunner,
        "keras": KerasFileRunner,
    }
    kind = kinds[kind_of(path)]
    with told(path, "cannot be run"):
        return Told(kind(path, threads, logits), path)


def kind_of(path):
    """The format of an exported file or folder: `"tflite"`, `"saved_model"`, ...

    Raises:
        InvalidArgument: nothing is there, or something else.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise InvalidArgument(f"there is no file or folder {str(path)!r}")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise InvalidArgument(f"{path} is a folder without a saved_model.pb in it")
    if path.suffix not in (".tflite", ".onnx", ".keras"):
        raise InvalidArgument(
            f"{path} must be a .tflite, .onnx or .keras file, or the folder of a "
            "SavedModel"
        )
    return path.suffix[1:]
