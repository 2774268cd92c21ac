"""Export: prepare, convert, run, compare. Nothing is written that was not run."""

from keras_resnets.export.keras_file import to_keras
from keras_resnets.export.onnx import to_onnx
from keras_resnets.export.pipeline import ExportReport
from keras_resnets.export.saved_model import to_saved_model
from keras_resnets.export.tflite import to_tflite

__all__ = ["ExportReport", "to_keras", "to_onnx", "to_saved_model", "to_tflite"]
