"""The old name of `quantization`, `pruning` and `tfmot` together."""

from keras_resnets import renamed

_NAMES = {
    "keras_resnets.quantization": (
        "CalibrationSet FreezeRanges Mix RECIPES Recipe choose find_mix "
        "freeze freeze_ranges hold_out quantize quantize_aware report "
        "sensitivity to_tflite "
    ),
    "keras_resnets.pruning": (
        "KeepZeros PolynomialSchedule Prune prune pruning_report shrink "
    ),
    "keras_resnets.tfmot": (
        "Tuning rebuilt_apart tfmot_cluster tfmot_prune tfmot_quantize_aware "
    ),
}
_IN_MODULE = {name: new for new, names in _NAMES.items() for name in names.split()}

__all__ = list(_IN_MODULE)
__getattr__ = renamed.names_of(__name__, _IN_MODULE)
