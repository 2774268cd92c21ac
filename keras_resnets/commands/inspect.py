"""`keras-resnets inspect`: what an exported file is."""

import json

from keras_resnets.commands.network import say
from keras_resnets.quiet import native_logs_hidden


def add_to(commands):
    """Adds the command to the parser's sub-commands."""
    parser = commands.add_parser("inspect", help="tell what an exported file is")
    parser.add_argument(
        "file", metavar="FILE", help=".tflite, .onnx, .keras or SavedModel"
    )
    parser.add_argument("--json", action="store_true", help="the passport as it is")
    parser.set_defaults(run=_inspect)


def _inspect(arguments):
    with native_logs_hidden():
        from keras_resnets import tables
        from keras_resnets.export import inspection
        from keras_resnets.export import passport

        found = inspection.inspect(arguments.file)
        known = passport.read(arguments.file)
        if arguments.json:
            say(json.dumps(known, indent=1))
            return
        say(f"{arguments.file}  {found.format}, {found.size / 1e6:,.2f} MB")
        for name, ports in (found.signatures or {"": None}).items():
            if name:
                say(f"signature  {name}")
            say(tables.port_table(*(ports or (found.inputs, found.outputs))))
        counted = ", ".join(
            f"{name} {count}" for name, count in found.operators.items()
        )
        say(f"operators  {counted}")
        if found.runtime:
            say(f"runtime    {_release(found.runtime)}")
        say(tables.passport_text(known) if known else "passport   none")


def _release(version):
    if version == "unknown":
        return "not known: it has operators that are in no table of versions"
    return f"TFLite {version} or later"
