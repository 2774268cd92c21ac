"""Runs exported files in their own runtimes.

Every runner takes any number of float32 pictures (count, height, width, channels),
whatever type and batch its file takes, and returns float32 outputs: an array, or a dict
where there are several. It has `input_shape` as (batch, height, width, channels), None
for a batch that is open, `output_names`, `tapped` (the names of the outputs for which
it puts out what the final softmax or sigmoid gets, asked for by `logits=True`),
`has_logits` (whether there are any), `takes_pixels` (whether the pictures are uint8 pixel
values) and `latency`.
"""

import importlib
import pathlib

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import printable
from keras_resnets.export.runner import Told
from keras_resnets.export.runner import told

# Imported when it is asked for: what runs no Keras needs none.
_RUNNERS = {
    "keras": ("keras_resnets.export.keras.runner", "KerasFileRunner"),
    "onnx": ("keras_resnets.export.onnx.runner", "OnnxRunner"),
    "saved_model": ("keras_resnets.export.saved_model.runner", "SavedModelRunner"),
    "tflite": ("keras_resnets.export.tflite.runner", "TFLiteRunner"),
}
# Who looks at a file first: Keras does so itself.
_CHECKS = {
    "onnx": "keras_resnets.export.onnx.contents",
    "saved_model": "keras_resnets.export.saved_model.contents",
    "tflite": "keras_resnets.export.tflite.contents",
}


def open_runner(path, threads=2, logits=False):
    """The runner of an exported file, in this process.

    What a file says of itself is checked before its runtime sees it. A runtime may
    crash or never end all the same: `isolated.open_apart` runs what strangers made.

    Args:
        path: a `.tflite`, `.onnx` or `.keras` file, or the folder of a SavedModel.
        threads: of the runtime, >= 1.
        logits: see this module.

    Raises:
        InvalidArgument: a file that is missing or damaged, is none of these, or does
            more than compute.
    """
    path = pathlib.Path(path)
    kind = kind_of(path)
    check(kind, path)
    with told(path, "cannot be run"):
        module, name = _RUNNERS[kind]
        runner = getattr(importlib.import_module(module), name)
        return Told(runner(path, threads, logits), path)


def check(kind, path):
    """Raises `InvalidArgument` for a file that its runtime must not see.

    Args:
        kind: what `kind_of` says.
        path: of the file.
    """
    if kind in _CHECKS:
        importlib.import_module(_CHECKS[kind]).check(path)


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
    kind = path.suffix[1:].lower()
    if kind == "keras" and path.suffix != ".keras":
        raise InvalidArgument(
            f"{printable(str(path))}: Keras opens files whose names end in .keras, in "
            "small letters; rename it"
        )
    if kind not in ("tflite", "onnx", "keras"):
        raise InvalidArgument(
            f"{path} must be a .tflite, .onnx or .keras file, or the folder of a "
            "SavedModel"
        )
    if not path.is_file():
        # A pipe or a device has no end.
        raise InvalidArgument(f"{path} is no plain file")
    return kind
