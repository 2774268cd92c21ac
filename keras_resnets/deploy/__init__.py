"""Deploy: a folder that works on a target, and says how that was proven.

`targets` is the table; `session` the way from a network to a folder; the modules beside
them run one toolchain each.
"""

from keras_resnets import lazy

# Imported when it is asked for: the table loads no Keras.
_IN_MODULE = {
    "Deployment": ".session",
    "TARGETS": ".targets",
    "Target": ".row",
    "deploy": ".session",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
