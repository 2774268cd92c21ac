"""The `keras-resnets` command; what it does stands in the modules beside."""

import argparse
import contextlib
import os
import sys

from keras_resnets.cli import cluster
from keras_resnets.cli import compare
from keras_resnets.cli import deploy
from keras_resnets.cli import export
from keras_resnets.cli import inspect
from keras_resnets.cli import predict
from keras_resnets.cli import prune
from keras_resnets.cli import qat
from keras_resnets.cli import quantize
from keras_resnets.cli import search
from keras_resnets.cli import sensitivity
from keras_resnets.cli import show
from keras_resnets.cli import train
from keras_resnets.cli import weights
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import WeightsError
from keras_resnets.errors import check_choice
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.io import files
from keras_resnets.system import interrupts
from keras_resnets.system import streams


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def parse_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else args
        for word in words:
            # argparse drops a lone --, here too, and hands on an empty list.
            if word.startswith("--") and word.endswith("=--"):
                self.error(f"-- is no value of an option; got {word!r}")
        return super().parse_args(words, namespace)

    def _check_value(self, action, value):
        # argparse's own sentence names no nearest choice.
        if action.choices is None or value in action.choices:
            return
        name = action.option_strings[-1] if action.option_strings else action.metavar
        try:
            check_choice(name, value, tuple(action.choices))
        except InvalidArgument as error:
            raise argparse.ArgumentError(None, str(error)) from None

    def _print_message(self, message, file=None):
        # Newer releases of Python do this themselves; `streams.ended` tells it.
        with contextlib.suppress(OSError):
            super()._print_message(message, file)

    def error(self, message):
        message = printable(message, 1000)
        self.exit(2, f"{self.prog}: error: {message} (--help tells more)\n")


def main(arguments=None, prog="keras-resnets"):
    """Runs a command.

    Args:
        arguments: words after the command's name; None for those of the process.
        prog: the name that help and errors show.

    Returns:
        0; 1 where an exported file does not say what the model says, or could not be
        written; 2 for arguments that are not allowed; 130 where Ctrl-C ended it, 143
        where SIGTERM did, 141 where the reader of its output had gone (`| head`).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    streams.prepare()
    try:
        code = _answer(arguments, prog)
    except SystemExit as end:
        # After --help, or words that are no command.
        raise SystemExit(streams.ended(end.code, prog)) from None
    return streams.ended(code, prog)


def _answer(arguments, prog):
    arguments = _parser(prog).parse_args(arguments)
    try:
        return interrupts.run(lambda: arguments.run(arguments), prog)
    except (InvalidArgument, WeightsError) as error:
        streams.complain(_line(f"{prog}: error: {error}"))
        return 2
    except (ExportError, TrainingError, OSError) as error:
        # `streams.ended` says what became of standard output.
        if error is not streams.broken():
            streams.complain(_line(f"{prog}: failed: {error}"))
        return 1
    except UnicodeEncodeError as error:
        name = printable(str(error.object))
        streams.complain(f"{prog}: error: names must be UTF-8; got {name}")
        return 2
    except (MemoryError, ImportError) as error:
        # Without room, the parts of a library cannot be loaded either.
        reason = first_line(error) if str(error) else "there is not enough memory"
        streams.complain(f"{prog}: failed: {reason}")
        return 1


def _line(text):
    """A message as one line, whatever names of files and words are in it."""
    return printable(text, 4000)


def entry_point(arguments=None):
    """What the installed command runs, and the scripts of a checkout."""
    streams.read_names_as_utf8()
    with files.own_temporaries():
        code = main(arguments)
    interrupts.leave(code)


def _parser(prog):
    parser = _Parser(prog=prog, description="The ResNet family for Keras 3.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (
        show,
        weights,
        export,
        inspect,
        compare,
        predict,
        train,
        quantize,
        sensitivity,
        search,
        qat,
        prune,
        cluster,
        deploy,
    ):
        module.add_to(commands)
    return parser
