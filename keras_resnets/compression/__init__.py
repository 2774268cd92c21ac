"""Smaller and faster networks: quantization after and in training, pruning.

Everything takes any functional `keras.Model` with one image input.
"""

from keras_resnets.compression.aware import FreezeRanges
from keras_resnets.compression.aware import freeze_ranges
from keras_resnets.compression.aware import quantize_aware
from keras_resnets.compression.aware import report
from keras_resnets.compression.calibration import CalibrationSet
from keras_resnets.compression.calibration import choose
from keras_resnets.compression.freezing import freeze
from keras_resnets.compression.ptq import quantize
from keras_resnets.compression.ptq import to_tflite
from keras_resnets.compression.recipes import RECIPES
from keras_resnets.compression.recipes import Recipe

__all__ = [
    "RECIPES",
    "CalibrationSet",
    "FreezeRanges",
    "Recipe",
    "choose",
    "freeze",
    "freeze_ranges",
    "quantize",
    "quantize_aware",
    "report",
    "to_tflite",
]
