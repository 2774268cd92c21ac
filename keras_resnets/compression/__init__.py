"""Smaller and faster networks: quantization after and in training, pruning.

Everything takes any functional `keras.Model` with one image input.
"""

import importlib

# Imported when it is asked for, as Keras imports `layers` of this package for every user.
_IN_MODULE = {
    "CalibrationSet": "calibration",
    "FreezeRanges": "aware",
    "KeepZeros": "pruning",
    "Mix": "mixing",
    "PolynomialSchedule": "pruning",
    "Prune": "pruning",
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "Tuning": "tfmot_bridge",
    "choose": "calibration",
    "find_mix": "mixing",
    "freeze": "freezing",
    "freeze_ranges": "aware",
    "hold_out": "held_out",
    "prune": "pruning",
    "pruning_report": "pruning",
    "quantize": "ptq",
    "quantize_aware": "aware",
    "rebuilt_apart": "tfmot_bridge",
    "report": "aware",
    "sensitivity": "layer_sensitivity",
    "shrink": "shrinking",
    "tfmot_cluster": "tfmot_bridge",
    "tfmot_prune": "tfmot_bridge",
    "tfmot_quantize_aware": "tfmot_bridge",
    "to_tflite": "ptq",
}

__all__ = list(_IN_MODULE)


def __getattr__(name):
    if name not in _IN_MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_IN_MODULE[name]}")
    return getattr(module, name)


def __dir__():
    return sorted({*globals(), *__all__})
