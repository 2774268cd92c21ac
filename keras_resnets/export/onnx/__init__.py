"""ONNX files: made, read without ONNX, run by ONNX Runtime."""

from keras_resnets import lazy

_IN_MODULE = {
    "Runner": ".runner:OnnxRunner",
    "check": ".contents",
    "check_output": ".convert",
    "load_runtime": ".runner",
    "read": ".contents",
    "to_onnx": ".convert",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
