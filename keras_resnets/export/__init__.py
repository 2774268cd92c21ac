"""Export: prepare, convert, run, compare. Nothing is written that was not run."""

from keras_resnets import lazy

# Imported when it is asked for: what reads a file, or runs one in a process of its own,
# needs no Keras.
_IN_MODULE = {
    "ExportReport": ".session",
    "load_keras": ".keras.runner",
    "open_runner": ".compare.open_runner",
    "to_keras": ".keras.convert",
    "to_onnx": ".onnx.convert",
    "to_saved_model": ".saved_model.convert",
    "to_tflite": ".tflite.convert",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
