"""Deployment of a network to a target: a folder of files that were run and compared.

`targets` is the table of targets, and `session` writes the folders. Each of the other
modules runs one toolchain.
"""

from keras_resnets import lazy

# Imported on access, so that reading the table does not import Keras.
_IN_MODULE = {
    "Deployment": ".outcome",
    "TARGETS": ".targets",
    "Target": ".target",
    "TargetsFailed": ".outcome",
    "deploy": ".session",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
