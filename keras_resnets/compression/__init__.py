"""Smaller and faster networks: quantization after and in training, pruning.

Everything takes any functional `keras.Model` with one image input.
"""

import importlib

# Imported when it is asked for, as Keras imports `layers` of this package for every user.
_IN_MODULE = {
    "CalibrationSet": "keras_resnets.images.calibration",
    "FreezeRanges": "keras_resnets.compression.aware",
    "KeepZeros": "keras_resnets.compression.pruning",
    "Mix": "keras_resnets.compression.mixing",
    "PolynomialSchedule": "keras_resnets.compression.pruning",
    "Prune": "keras_resnets.compression.pruning",
    "RECIPES": "keras_resnets.compression.recipes",
    "Recipe": "keras_resnets.compression.recipes",
    "Tuning": "keras_resnets.compression.tfmot_bridge",
    "choose": "keras_resnets.images.calibration",
    "find_mix": "keras_resnets.compression.mixing",
    "freeze": "keras_resnets.compression.freezing",
    "freeze_ranges": "keras_resnets.compression.aware",
    "hold_out": "keras_resnets.images.held_out",
    "prune": "keras_resnets.compression.pruning",
    "pruning_report": "keras_resnets.compression.pruning",
    "quantize": "keras_resnets.compression.ptq",
    "quantize_aware": "keras_resnets.compression.aware",
    "rebuilt_apart": "keras_resnets.compression.tfmot_bridge",
    "report": "keras_resnets.compression.aware",
    "sensitivity": "keras_resnets.compression.layer_sensitivity",
    "shrink": "keras_resnets.compression.shrinking",
    "tfmot_cluster": "keras_resnets.compression.tfmot_bridge",
    "tfmot_prune": "keras_resnets.compression.tfmot_bridge",
    "tfmot_quantize_aware": "keras_resnets.compression.tfmot_bridge",
    "to_tflite": "keras_resnets.compression.ptq",
}

__all__ = list(_IN_MODULE)


def __getattr__(name):
    if name not in _IN_MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_IN_MODULE[name])
    return getattr(module, name)


def __dir__():
    return sorted({*globals(), *__all__})
