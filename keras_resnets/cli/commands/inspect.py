"""`keras-resnets inspect`: shows the contents of an exported file."""

import dataclasses
from collections.abc import Mapping

from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.printing import output
from keras_resnets.errors import printable
from keras_resnets.system.quiet import native_logs_hidden

# Largest number of operators, inputs, outputs and signatures to show; networks have about
# twenty.
_SHOWN = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `keras-resnets inspect`; see its help."""

    file: str


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("inspect")
    parser.add_argument(
        "file", metavar="FILE", help=".tflite, .onnx, .keras or SavedModel"
    )
    options.set_command(
        parser,
        Options,
        _inspect,
        facts={
            "file": "format, size in bytes, inputs, outputs, operators, signatures, ...",
            "passport": "the passport beside the file; null without one",
        },
        examples=("resnet20_int8.tflite", "resnet20.onnx --json"),
    )


def _inspect(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets.cli.printing import tables
        from keras_resnets.export import passport
        from keras_resnets.export.compare import inspection

        contents = inspection.inspect(asked.file)
        facts = passport.read(asked.file)
        output.keep(file=contents, passport=facts)
        say(
            f"{printable(asked.file)}  {contents.format}, {contents.size / 1e6:,.2f} MB"
        )
        ports = (contents.inputs, contents.outputs)
        signatures = list((contents.signatures or {"": ports}).items())
        for name, (inputs, outputs) in signatures[:_SHOWN]:
            if name:
                say(f"signature  {printable(name)}")
            say(tables.port_table(inputs[:_SHOWN], outputs[:_SHOWN]))
            left = max(len(inputs), len(outputs)) - _SHOWN
            if left > 0:
                say(f"and {left:,} more")
        if len(signatures) > _SHOWN:
            say(f"and {len(signatures) - _SHOWN:,} more signatures")
        counted = ", ".join(
            f"{printable(name, 60)} {count}"
            for name, count in _most(contents.operators)
        )
        say(f"operators  {counted}")
        if contents.runtime:
            say(f"runtime    {_release(contents.runtime)}")
        say(tables.passport_text(facts) if facts else "passport   none")


def _most(operators: Mapping[str, int]) -> list[tuple[str, int]]:
    """Returns the first operators with their counts, and the number of further kinds."""
    shown = list(operators.items())[:_SHOWN]
    left = len(operators) - len(shown)
    return [*shown, ("more kinds:", left)] if left else shown


def _release(version: str) -> str:
    if version == "unknown":
        return "unknown: some operators are not in the table of versions"
    return f"TFLite {version} or later"
