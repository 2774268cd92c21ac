"""Networks in 8 bits and fewer: quantization after training and in training.

Everything takes any functional `keras.Model` with one image input.
"""

from keras_resnets import lazy

# Imported when it is asked for, as Keras imports `layers` of this package for every user.
_IN_MODULE = {
    "Budget": "keras_resnets.quantization.search.budget",
    "CalibrationSet": "keras_resnets.images.calibration",
    "FreezeRanges": "keras_resnets.quantization.qat.aware",
    "LayerBits": "keras_resnets.quantization.plan",
    "Mix": "keras_resnets.quantization.search.mixed_precision",
    "PrecisionPlan": "keras_resnets.quantization.plan",
    "RECIPES": "keras_resnets.export.recipes",
    "Recipe": "keras_resnets.export.recipes",
    "choose": "keras_resnets.images.calibration",
    "find_front": "keras_resnets.quantization.search.front",
    "find_mix": "keras_resnets.quantization.search.mixed_precision",
    "freeze": "keras_resnets.quantization.qat.freeze",
    "freeze_ranges": "keras_resnets.quantization.qat.aware",
    "hold_out": "keras_resnets.images.held_out",
    "quantize": "keras_resnets.quantization.ptq",
    "quantize_aware": "keras_resnets.quantization.qat.aware",
    "report": "keras_resnets.quantization.qat.aware",
    "sensitivity": "keras_resnets.quantization.search.sensitivity",
    "train_aware": "keras_resnets.quantization.qat.training",
    "to_tflite": "keras_resnets.quantization.ptq",
}

__all__ = list(_IN_MODULE)

__getattr__, __dir__ = lazy.attributes(__name__, _IN_MODULE)
