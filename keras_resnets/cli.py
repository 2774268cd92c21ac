"""The `keras-resnets` command: list, info, export."""

import argparse
import ast
import os
import pathlib
import sys

from keras_resnets.errors import ExportError
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.quiet import native_logs_hidden


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (--help tells more)\n")


def main(arguments=None, prog="keras-resnets"):
    """Runs a command.

    Args:
        arguments: words after the command's name; None for those of the process.
        prog: the name that help and errors show.

    Returns:
        0; 1 where an exported file does not say what the model says, or could not be
        written; 2 for arguments that are not allowed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = _parser(prog).parse_args(arguments)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except (InvalidArgument, WeightsError) as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python must not try to flush to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ExportError, OSError) as error:
        print(f"{prog}: failed: {error}", file=sys.stderr)
        return 1
    return 0


def entry_point():
    """What the installed command runs."""
    sys.exit(main())


def _parser(prog):
    parser = _Parser(prog=prog, description="The ResNet family for Keras 3.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="list the variants with their figures")
    listing.add_argument("pattern", nargs="?", default="*", help="wildcard: 'drn_*'")
    listing.add_argument("--family", help="one family: resnet, drn, ...")
    listing.set_defaults(run=_list)

    info = commands.add_parser("info", help="tell everything about one variant")
    info.add_argument("model", metavar="NAME")
    info.add_argument("--layers", action="store_true", help="one row a layer as well")
    _add_network_options(info)
    info.set_defaults(run=_info)

    export = commands.add_parser("export", help="export, run and compare")
    formats = export.add_subparsers(title="formats", required=True, metavar="FORMAT")
    tflite = formats.add_parser("tflite", help="TFLite for LiteRT")
    _add_tflite_options(tflite)
    tflite.set_defaults(run=_export_tflite)
    return parser


def _add_network_options(parser):
    parser.add_argument("--classes", type=int, help="number of classes")
    parser.add_argument(
        "--input-size", help="pixels: 224, or height x width as 192x256"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="AXIS=VALUE",
        help="change an axis of the architecture: --set shortcut_type=A",
    )


def _add_tflite_options(parser):
    parser.add_argument(
        "--model", required=True, help="variant, see keras-resnets list"
    )
    parser.add_argument("--weights", help=".weights.h5 or .keras file; random without")
    parser.add_argument(
        "--output", help="file to write; default MODEL[_QUANTIZE].tflite"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output")
    parser.add_argument(
        "--quantize",
        default="none",
        metavar="none|float16|dynamic|int8",
        help="none: float32; int8 needs --calibration",
    )
    parser.add_argument("--calibration", metavar="FOLDER", help="folder of pictures")
    parser.add_argument(
        "--calibration-count", type=int, default=500, help="most pictures to take"
    )
    parser.add_argument(
        "--io-dtype",
        default="int8",
        metavar="int8|uint8|float32",
        help="input and output of an int8 file",
    )
    parser.add_argument("--threads", type=int, default=2, help="of the LiteRT runtime")
    parser.add_argument(
        "--seed", type=int, default=0, help="of random weights and choice"
    )
    parser.add_argument("--predict", metavar="PHOTO", help="show both top fives for it")
    _add_network_options(parser)


def _list(arguments):
    from keras_resnets import registry
    from keras_resnets import tables

    names = registry.list_models(arguments.pattern, arguments.family)
    if not names:
        raise InvalidArgument(f"no model matches {arguments.pattern!r}")
    print(tables.model_table([registry.model_info(name) for name in names]))
    print(f"{len(names)} variants; parameters are the trainable ones")


def _info(arguments):
    from keras_resnets import registry
    from keras_resnets import tables

    architecture, size, classes = _network(arguments)
    with native_logs_hidden():
        from keras_resnets import analysis

        model = registry.create_model(
            arguments.model,
            input_shape=(*size, 3),
            classes=classes,
            kernel_initializer="zeros",
            data_format="channels_last",
            **_axes(arguments.set),
        )
        found = analysis.analyze(model)
    print(f"{registry.canonical_name(arguments.model)} ({architecture.family})")
    print(tables.paper_table(architecture, size, classes))
    print()
    print(_figures(found))
    if arguments.layers:
        print()
        print(tables.layer_table(found))


def _figures(found):
    facts = (
        ("trainable parameters", f"{found.trainable_params:,}"),
        ("with BN statistics", f"{found.total_params:,}"),
        ("multiply-adds", f"{found.macs / 1e6:,.1f} M"),
        ("convolutions, dense", f"{found.convs}, {found.dense}"),
        ("activations", f"{found.activations / 1e6:,.2f} M values"),
        ("peak activations", f"{found.peak_activations / 1e6:,.2f} M values"),
        ("output stride", f"{found.output_stride:g}"),
        ("receptive field", f"{found.receptive_field:g} pixels"),
    )
    return "\n".join(f"{name:<22}{value:>16}" for name, value in facts)


def _network(arguments):
    """(architecture, (height, width), classes) that the options ask for."""
    from keras_resnets import registry

    architecture = registry.get_architecture(arguments.model, **_axes(arguments.set))
    size = _size(arguments.input_size, architecture.input_size)
    classes = architecture.classes if arguments.classes is None else arguments.classes
    return architecture, size, classes


def _size(text, default):
    if text is None:
        return (default, default)
    words = text.lower().split("x")
    if len(words) > 2 or not all(word.strip().isdigit() for word in words):
        raise InvalidArgument(
            f"--input-size must be a number of pixels or HEIGHTxWIDTH; got {text!r}"
        )
    sides = [int(word) for word in words]
    return (sides[0], sides[-1])


def _axes(settings):
    axes = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InvalidArgument(f"--set takes AXIS=VALUE; got {setting!r}")
        try:
            axes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            axes[name] = value
    return axes


def _export_tflite(arguments):
    architecture, size, classes = _network(arguments)
    with native_logs_hidden():
        from keras_resnets import console
        from keras_resnets import preprocessing
        from keras_resnets.export import files
        from keras_resnets.export import tflite

        _check_tflite_options(arguments, tflite)
        path = files.check_destination(
            arguments.output or _default_output(arguments),
            ".tflite",
            arguments.overwrite,
        )
        wanted = preprocessing.for_architecture(architecture, size)
        calibration = _calibration(arguments, wanted)
        photo = arguments.predict and preprocessing.load_picture(
            arguments.predict, wanted
        )
        model = _build(arguments, size, classes, calibration)
        _say(f"converting to TFLite ({_format_name(arguments.quantize)}) ...")
        report = tflite.to_tflite(
            model,
            path,
            arguments.quantize,
            calibration=calibration,
            io_dtype=arguments.io_dtype,
            overwrite=arguments.overwrite,
            threads=arguments.threads,
        )
        _say(
            console.tflite_report(
                report, "calibration" if calibration is not None else "noise"
            )
        )
        if photo is not None:
            _say(console.top_five(model, report, photo, arguments.predict))


def _check_tflite_options(arguments, tflite):
    from keras_resnets.errors import check_choice
    from keras_resnets.errors import check_positive_int

    tflite.check_backend()
    check_choice("--quantize", arguments.quantize, tflite.QUANTIZE)
    check_choice("--io-dtype", arguments.io_dtype, tflite.IO_DTYPES)
    check_positive_int("--threads", arguments.threads)
    check_positive_int("--calibration-count", arguments.calibration_count)
    if arguments.quantize == "int8" and not arguments.calibration:
        raise InvalidArgument("--quantize int8 needs --calibration FOLDER_OF_PICTURES")


def _default_output(arguments):
    from keras_resnets import registry

    name = registry.canonical_name(arguments.model)
    suffix = "" if arguments.quantize == "none" else f"_{arguments.quantize}"
    return pathlib.Path(f"{name}{suffix}.tflite")


def _format_name(quantize):
    return "float32" if quantize == "none" else quantize


def _calibration(arguments, wanted):
    from keras_resnets import preprocessing

    if not arguments.calibration:
        return None
    pictures, skipped = preprocessing.load_folder(
        arguments.calibration, wanted, arguments.calibration_count, arguments.seed
    )
    _say(f"calibration  {len(pictures)} pictures from {arguments.calibration}")
    if skipped:
        names = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        _say(f"             {len(skipped)} skipped, not readable: {names}")
    return pictures


def _build(arguments, size, classes, calibration):
    import keras

    from keras_resnets import registry
    from keras_resnets.export import tflite
    from keras_resnets.export import untrained

    keras.utils.set_random_seed(arguments.seed)
    model = registry.create_model(
        arguments.model,
        weights=arguments.weights,
        input_shape=(*size, 3),
        classes=classes,
        **_axes(arguments.set),
    )
    origin = f"weights from {arguments.weights}"
    if arguments.weights is None:
        # A fresh network would make the comparison below an empty one.
        pictures = tflite.default_pictures((*size, 3), calibration)
        untrained.settle(model, pictures, arguments.seed)
        origin = f"random weights and BN statistics (seed {arguments.seed})"
    _say(
        f"{model.name}  {model.count_params():,} parameters, "
        f"{size[0]} x {size[1]} x 3 -> {classes} classes, {origin}"
    )
    return model


def _say(text):
    print(text, flush=True)
