"""Fewer weights: the smallest become zero, or whole channels go.

Everything takes any functional `keras.Model` with one image input.
"""

import importlib

_IN_MODULE = {
    "KeepZeros": "magnitude",
    "PolynomialSchedule": "magnitude",
    "Prune": "magnitude",
    "prune": "magnitude",
    "pruning_report": "magnitude",
    "shrink": "channels",
}

__all__ = list(_IN_MODULE)


def __getattr__(name):
    if name not in _IN_MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_IN_MODULE[name]}")
    return getattr(module, name)


def __dir__():
    return sorted({*globals(), *__all__})
