"""`python -m keras_resnets` is the `keras-resnets` command."""

from keras_resnets.cli.main import entry_point

entry_point()
