"""The types of the commands' options: each value with its range, checked as it is read."""

import argparse

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown
from keras_resnets.fields import Number
from keras_resnets.fields import Whole
from keras_resnets.networks.architecture import AXES


def typed(rule):
    """What `add_argument` takes as `type`: the value that a `Rule` reads."""

    def read(text):
        try:
            return rule.read("", text)
        except InvalidArgument as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from None

    return read


def whole(least, most):
    """The type of a whole number in [least, most]."""
    return typed(Whole(least, most))


def number(least, most, above=False, below=False):
    """The type of a number in [least, most]; without its ends, see `fields.Number`."""
    return typed(Number(least, most, above, below))


def batch(text):
    """The type of `--batch`: a whole number, or `dynamic`."""
    try:
        return text if text == "dynamic" else _BATCH.read("", text)
    except InvalidArgument:
        raise argparse.ArgumentTypeError(
            f"must {_BATCH.words}, or dynamic; got {shown(text)}"
        ) from None


# Of one signature of a file; what fits a machine, `extent.check_pixels` tells.
_BATCH = Whole(1, 65_536)
BATCH_SIZE = whole(1, 2**20)
CLASSES = typed(AXES["classes"])
# More than any data set has: all of them.
COUNT = whole(1, 10**9)
EPOCHS = whole(1, 1_000_000)
# What NumPy, TensorFlow and PyTorch all take.
SEED = whole(0, 2**32 - 1)
# Cores of the largest machines.
THREADS = whole(1, 1024)
