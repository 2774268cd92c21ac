"""Export: prepare, convert, run, compare. Nothing is written that was not run."""

from keras_resnets.export.tflite import TFLiteExport
from keras_resnets.export.tflite import to_tflite

__all__ = ["TFLiteExport", "to_tflite"]
