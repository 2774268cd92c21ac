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
from keras_resnets.compression.held_out import hold_out
from keras_resnets.compression.mixing import Mix
from keras_resnets.compression.mixing import find_mix
from keras_resnets.compression.pruning import KeepZeros
from keras_resnets.compression.pruning import PolynomialSchedule
from keras_resnets.compression.pruning import Prune
from keras_resnets.compression.pruning import prune
from keras_resnets.compression.pruning import pruning_report
from keras_resnets.compression.ptq import quantize
from keras_resnets.compression.ptq import to_tflite
from keras_resnets.compression.recipes import RECIPES
from keras_resnets.compression.recipes import Recipe
from keras_resnets.compression.sensitivity import sensitivity
from keras_resnets.compression.shrinking import shrink
from keras_resnets.compression.tfmot_bridge import Tuning
from keras_resnets.compression.tfmot_bridge import rebuilt_apart
from keras_resnets.compression.tfmot_bridge import tfmot_cluster
from keras_resnets.compression.tfmot_bridge import tfmot_prune
from keras_resnets.compression.tfmot_bridge import tfmot_quantize_aware

__all__ = [
    "RECIPES",
    "CalibrationSet",
    "FreezeRanges",
    "KeepZeros",
    "Mix",
    "PolynomialSchedule",
    "Prune",
    "Recipe",
    "Tuning",
    "choose",
    "find_mix",
    "freeze",
    "freeze_ranges",
    "hold_out",
    "prune",
    "pruning_report",
    "quantize",
    "quantize_aware",
    "rebuilt_apart",
    "report",
    "sensitivity",
    "shrink",
    "tfmot_cluster",
    "tfmot_prune",
    "tfmot_quantize_aware",
    "to_tflite",
]
