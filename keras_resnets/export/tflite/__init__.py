"""TFLite files: made, read without an interpreter, run by LiteRT."""

from keras_resnets import lazy

_IN_MODULE = {
    "Runner": ".runner:TFLiteRunner",
    "check": ".contents",
    "check_output": ".convert",
    "load_runtime": ".runner",
    "read": ".contents",
    "to_tflite": ".convert",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
