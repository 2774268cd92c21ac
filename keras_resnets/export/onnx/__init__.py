"""ONNX files: written, read without ONNX, run by ONNX Runtime."""

from keras_resnets.export import formats

__all__, __getattr__, __dir__ = formats.room(__name__, "OnnxRunner")
