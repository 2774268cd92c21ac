"""SavedModels: made, read without TensorFlow, run by TensorFlow."""

from keras_resnets import lazy

_IN_MODULE = {
    "Runner": ".runner:SavedModelRunner",
    "check": ".contents",
    "check_output": ".convert",
    "load_runtime": ".runner",
    "read": ".contents",
    "to_saved_model": ".convert",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
