"""`.keras` files: written, and untrusted ones loaded within bounds."""

from keras_resnets.export import formats

__all__, __getattr__, __dir__ = formats.room(__name__, "KerasFileRunner")
