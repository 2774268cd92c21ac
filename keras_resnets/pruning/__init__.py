"""Pruning: the smallest weights become zero, or whole channels are removed.

All functions take any functional `keras.Model` with one image input.
"""

from keras_resnets import lazy

_IN_MODULE = {
    "KeepZeros": ".magnitude",
    "PolynomialSchedule": ".magnitude",
    "Prune": ".magnitude",
    "prune": ".magnitude",
    "pruning_report": ".magnitude",
    "shrink": ".channels",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
