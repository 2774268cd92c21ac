"""Export: prepare, convert, run, compare. Nothing is written that was not run."""

import importlib

# Imported when it is asked for: what reads a file, or runs one in a process of its own,
# needs no Keras.
_IN_MODULE = {
    "ExportReport": "session",
    "open_runner": "compare.open_runner",
    "to_keras": "keras.convert",
    "to_onnx": "onnx.convert",
    "to_saved_model": "saved_model.convert",
    "to_tflite": "tflite.convert",
}

__all__ = list(_IN_MODULE)


def __getattr__(name):
    if name not in _IN_MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_IN_MODULE[name]}")
    return getattr(module, name)


def __dir__():
    return sorted({*globals(), *__all__})
