"""`.keras` files: made, and those of strangers loaded within bounds."""

from keras_resnets import lazy

_IN_MODULE = {
    "Runner": ".runner:KerasFileRunner",
    "check": ".contents",
    "check_output": ".convert",
    "load_runtime": ".runner",
    "read": ".contents",
    "to_keras": ".convert",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
