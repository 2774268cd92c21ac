"""`.keras` files: made, and those of strangers loaded within bounds."""

from keras_resnets.export import formats

__all__, __getattr__, __dir__ = formats.room(__name__, "KerasFileRunner")
