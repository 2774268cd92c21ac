"""What commands read: each value with its range, and all of them as one frozen record."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown
from keras_resnets.fields import Number
from keras_resnets.fields import Whole
from keras_resnets.networks.architecture import AXES


def set_command(
    parser: argparse.ArgumentParser, record: type, run: Callable[[Any], None]
) -> None:
    """Lets a parser's command be `run` with a `record` of what was typed.

    Args:
        parser: of the command.
        record: a frozen dataclass whose fields are options by their destination. Its
            `__post_init__` raises `InvalidArgument` for options that do not go together,
            before anything heavy is imported.
        run: the command.
    """

    def from_namespace(namespace: argparse.Namespace) -> None:
        values = {
            field.name: getattr(namespace, field.name)
            for field in dataclasses.fields(record)
        }
        run(record(**{k: _frozen(value) for k, value in values.items()}))

    parser.set_defaults(run=from_namespace)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Moved(argparse.Action):
    """An option that another command has now: refused with what to type instead."""

    def __init__(
        self, option_strings: list[str], dest: str, instead: str, nargs: Any = None
    ) -> None:
        help_text = argparse.SUPPRESS
        super().__init__(option_strings, argparse.SUPPRESS, nargs, help=help_text)
        self._instead = instead

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} is a command of its own: {self._instead}")


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


def size(text):
    """The type of the size of photos: (height, width)."""
    sides = text.lower().split("x")
    try:
        height, width = (_SIDE.read("", side) for side in sides)
    except (InvalidArgument, ValueError):
        raise argparse.ArgumentTypeError(
            f"must be HEIGHTxWIDTH in pixels, as 480x640; got {shown(text)}"
        ) from None
    return height, width


_SIDE = Whole(1, 65_535)
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
