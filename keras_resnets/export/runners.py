"""Deprecated names of the runners; use `export.open_runner`, or a format's package."""

from keras_resnets import renamed

_IN_MODULE = {
    "KerasRunner": "keras_resnets.export.keras.runner",
    "OnnxRunner": "keras_resnets.export.onnx.runner",
    "SavedModelRunner": "keras_resnets.export.saved_model.runner",
    "TFLiteRunner": "keras_resnets.export.tflite.runner",
    "open_runner": "keras_resnets.export",
}

__all__ = list(_IN_MODULE)
__getattr__ = renamed.names_of(__name__, _IN_MODULE)
