"""Export to `.keras` files, and safe loading of untrusted `.keras` files."""

from keras_resnets.export import formats

__all__, __getattr__, __dir__ = formats.room(__name__, "KerasFileRunner")
