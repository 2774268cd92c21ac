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
from keras_resnets.export.runners.common import Told
from keras_resnets.export.runners.common import told

# Imported when it is asked for: what runs no Keras needs none.
_RUNNERS = {
    "keras": "KerasFileRunner",
    "onnx": "OnnxRunner",
    "saved_model": "SavedModelRunner",
    "tflite": "TFLiteRunner",
}
# Who looks at a file first: Keras does so itself.
_CHECKS = {
    "onnx": "onnx_contents",
    "saved_model": "saved_model_contents",
    "tflite": "tflite_contents",
}
_IN_MODULE = {
    "KerasFileRunner": "keras_model",
    "KerasRunner": "keras_model",
    "LoadedModelRunner": "keras_model",
    "OnnxRunner": "onnx_file",
    "SavedModelRunner": "saved_model",
    "TFLiteRunner": "tflite_file",
}

__all__ = [*_IN_MODULE, "kind_of", "open_runner"]


def __getattr__(name):
    if name not in _IN_MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_IN_MODULE[name]}")
    return getattr(module, name)


def open_runner(path, threads=2, logits=False):
    """The runner of an exported file, in this process.

    What a file says of itself is checked before its runtime sees it. A runtime may
    crash or never end all the same: `apart.open_apart` runs what strangers made.

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
        return Told(__getattr__(_RUNNERS[kind])(path, threads, logits), path)


def check(kind, path):
    """Raises `InvalidArgument` for a file that its runtime must not see.

    Args:
        kind: what `kind_of` says.
        path: of the file.
    """
    if kind in _CHECKS:
        module = importlib.import_module(f"keras_resnets.export.{_CHECKS[kind]}")
        module.check(path)


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
