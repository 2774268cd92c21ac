"""tensorflow-model-optimization for Keras 3 networks, in a process with Keras 2."""

import importlib

_IN_MODULE = {
    "Tuning": "bridge",
    "rebuilt_apart": "bridge",
    "tfmot_cluster": "bridge",
    "tfmot_prune": "bridge",
    "tfmot_quantize_aware": "bridge",
}

__all__ = list(_IN_MODULE)


def __getattr__(name):
    if name not in _IN_MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_IN_MODULE[name]}")
    return getattr(module, name)


def __dir__():
    return sorted({*globals(), *__all__})
