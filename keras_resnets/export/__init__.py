"""Export to TFLite, ONNX, SavedModel and Keras files.

Every file is run in its own runtime and compared with its model before it is written.
"""

from keras_resnets import lazy
from keras_resnets.export import formats

# Imported on access: reading a file, or running one in a separate process, needs no
# Keras.
_IN_MODULE = {
    "ExportReport": ".session",
    "load_keras": ".keras.runner",
    "open_runner": ".compare.open_runner",
    **{form.exporter: f".{form.name}" for form in formats.FORMATS.values()},
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
