"""The `keras-resnets` command: reads the command line and runs one of the commands."""

import argparse
import contextlib
import importlib
import os
import sys
import traceback
import typing
from collections.abc import Sequence

from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.printing import output
from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingError
from keras_resnets.errors import WeightsError
from keras_resnets.errors import first_line
from keras_resnets.errors import printable
from keras_resnets.io import files
from keras_resnets.system import interrupts
from keras_resnets.system import processor
from keras_resnets.system import streams
from keras_resnets.version import __version__

# Task -> command -> (its module in `commands`, its summary).
TASKS = {
    "choose a network": {
        "list": ("show", "list the variants with their figures"),
        "info": ("show", "show everything about one network"),
        "recommend": ("recommend", "recommend networks for the limits of a device"),
        "weights": ("weights", "list the public weights of a variant"),
    },
    "use a network": {
        "predict": ("predict", "show the most likely classes of photos"),
        "evaluate": ("predict", "measure accuracy on labelled data"),
        "calibrate-confidence": (
            "confidence",
            "fit the confidence of a network to its accuracy on held-out images",
        ),
        "explain": ("explain", "draw a heat map of a class over a photo"),
    },
    "train your own": {
        "train": ("train", "train or fine-tune a network"),
        "recipes": ("train", "list the recipes of train"),
    },
    "make a smaller or faster file": {
        "export": ("export", "export, run and compare"),
        "quantize": ("quantize", "quantize a trained network into a TFLite file"),
        "qat": (
            "qat",
            "train with simulated quantization and write the TFLite file",
        ),
        "search": (
            "search",
            "search the precision of each layer for a small, accurate file",
        ),
        "sensitivity": (
            "sensitivity",
            "rank the layers by the error of quantizing each one alone",
        ),
        "prune": ("prune", "set small weights to zero, or remove channels"),
        "cluster": (
            "cluster",
            "fine-tune to a few distinct weights per kernel, for gzip",
        ),
        "convert": ("weights", "write weights in another format"),
    },
    "put it on a device": {
        "targets": ("deploy", "list the targets of deploy"),
        "deploy": (
            "deploy",
            "write a folder for a device, tested in the device's runtime",
        ),
    },
    "compare and time files": {
        "inspect": ("inspect", "show what an exported file contains"),
        "verify": ("compare", "compare two exported files"),
        "benchmark": ("compare", "measure the latency of exported files"),
    },
}
COMMANDS = {name: row for rows in TASKS.values() for name, row in rows.items()}
_ENDS = """exit codes:
  0  success; every written file was run and compared
  1  the result is not good enough, or could not be written
  2  an argument is not allowed
  130  interrupted by Ctrl-C

keras-resnets COMMAND --help shows the options of a command, with examples."""


def main(arguments: Sequence[str] | None = None, prog: str = "keras-resnets") -> int:
    """Runs a command.

    Args:
        arguments: arguments of the program; None for `sys.argv[1:]`.
        prog: name of the program in help and errors.

    Returns:
        The exit code: 0 for success; 1 if an exported file differs from the model or
        could not be written; 2 for arguments that are not allowed; 130 after Ctrl-C, 143
        after SIGTERM, 141 if the reader of the output has exited (`| head`).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if processor.is_x86():
        # TensorFlow's default only with VNNI; see `tensorflow_ops.SlowConvolutions`.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    streams.prepare()
    try:
        code = _answer(arguments, prog)
    except SystemExit as end:
        # Raised after --help, and for a command line that is not allowed.
        raise SystemExit(streams.ended(int(end.code or 0), prog)) from None
    return streams.ended(code, prog)


def _answer(arguments: Sequence[str] | None, prog: str) -> int:
    words = sys.argv[1:] if arguments is None else list(arguments)
    namespace = _parser(prog, words[:1]).parse_args(words or ["--help"])
    namespace.words = words
    try:
        return interrupts.run(lambda: namespace.run(namespace), prog)
    except (InvalidArgument, WeightsError) as error:
        _trace()
        streams.complain(_line(f"{prog}: error: {error}"))
        return 2
    except (ExportError, TrainingError, OSError) as error:
        _trace()
        # `streams.ended` reports errors of standard output.
        if error is not streams.broken():
            streams.complain(_line(f"{prog}: failed: {error}"))
        return 1
    except UnicodeEncodeError as error:
        name = printable(str(error.object))
        streams.complain(f"{prog}: error: names must be UTF-8; got {name}")
        return 2
    except (MemoryError, ImportError) as error:
        # Without memory, a library may fail to load its parts.
        reason = first_line(error) if str(error) else "there is not enough memory"
        streams.complain(f"{prog}: failed: {reason}")
        return 1


def _line(text: str) -> str:
    """Returns a message as one line, with the names in it made printable."""
    return printable(text, 4000)


def entry_point(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the installed command, and of the scripts of a checkout."""
    streams.read_names_as_utf8()
    with files.own_temporaries():
        code = main(arguments)
    interrupts.leave(code)


def _trace() -> None:
    """Prints the traceback of an error if `--verbose` is on."""
    if output.is_verbose():
        with contextlib.suppress(OSError):
            traceback.print_exc()


def _parser(prog: str, first: Sequence[str] | None = None) -> parsing.Parser:
    """Returns the parser of the commands.

    Args:
        prog: name of the program.
        first: list with the first argument, or empty. If it is a command, only that
            command's module is imported. None imports all commands.
    """
    parser = parsing.Parser(
        prog=prog,
        usage="%(prog)s COMMAND ... [options]",
        description=f"The ResNet family for Keras 3.\n\n{_map()}",
        epilog=_ENDS,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"{prog} {__version__}",
        help="show the version",
    )
    commands = parser.add_subparsers(
        required=True, prog=prog, metavar="COMMAND", help=argparse.SUPPRESS
    )
    names_no_command = first is not None and (
        not first or first[0] in ("-h", "--help", "--version")
    )
    only = first[0] if first and first[0] in COMMANDS else None
    modules = [] if names_no_command else [COMMANDS[only][0]] if only else _modules()
    for name in modules:
        importlib.import_module(f"keras_resnets.cli.commands.{name}").add_to(
            _Described(commands)
        )
    return parser


def _modules() -> list[str]:
    return list(dict.fromkeys(module for module, _ in COMMANDS.values()))


def _map() -> str:
    """Returns the list of commands by task, for help."""
    lines = []
    for task, rows in TASKS.items():
        lines.append(f"{task}:")
        for name, (_, summary) in rows.items():
            # A name wider than its column gets a separate line.
            lines += [f"  {name}"] if len(name) > 12 else []
            shown = "" if len(name) > 12 else name
            lines.append(f"  {shown:<12} {summary}")
    return "\n".join(lines)


class _Described:
    """Sub-commands whose description is their summary in `TASKS`."""

    def __init__(self, commands: "argparse._SubParsersAction[parsing.Parser]") -> None:
        self._commands = commands

    def add_parser(self, name: str, **options: typing.Any) -> parsing.Parser:
        """Returns the parser of a new command."""
        summary = COMMANDS[name][1]
        options.setdefault("description", f"{summary[0].upper()}{summary[1:]}.")
        return self._commands.add_parser(name, **options)
