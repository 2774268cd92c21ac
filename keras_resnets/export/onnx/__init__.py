"""Export to ONNX files, and reading and running them."""

from keras_resnets.export import formats

__all__, __getattr__, __dir__ = formats.room(__name__, "OnnxRunner")
