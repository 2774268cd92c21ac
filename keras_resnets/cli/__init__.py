"""The `keras-resnets` command: one module for each group of related commands."""

from keras_resnets.cli.main import entry_point

__all__ = ["entry_point"]
