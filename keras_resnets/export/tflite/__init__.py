"""TFLite files: made, read without an interpreter, run by LiteRT."""

from keras_resnets.export import formats

__all__, __getattr__, __dir__ = formats.room(__name__, "TFLiteRunner")
