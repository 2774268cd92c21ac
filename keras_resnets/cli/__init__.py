"""The `keras-resnets` command, a module for the commands that belong together."""

from keras_resnets.cli.main import entry_point

__all__ = ["entry_point"]
