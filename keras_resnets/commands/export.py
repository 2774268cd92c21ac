"""`keras-resnets export`: files that have been run and compared."""

import pathlib

from keras_resnets.commands import network
from keras_resnets.commands.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.quiet import native_logs_hidden


def add_to(commands):
    """Adds the command to the parser's sub-commands."""
    export = commands.add_parser("export", help="export, run and compare")
    formats = export.add_subparsers(title="formats", required=True, metavar="FORMAT")
    tflite = formats.add_parser("tflite", help="TFLite for LiteRT")
    _add_tflite_options(tflite)
    tflite.set_defaults(run=_export_tflite)


def _add_tflite_options(parser):
    parser.add_argument(
        "--model", required=True, help="variant, see keras-resnets list"
    )
    parser.add_argument("--weights", help=f"{network.WEIGHTS}; random without")
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
    network.add_options(parser)


def _export_tflite(arguments):
    network.find(arguments)
    with native_logs_hidden():
        from keras_resnets import console
        from keras_resnets import files
        from keras_resnets import pictures
        from keras_resnets.export import tflite

        _check_tflite_options(arguments, tflite)
        path = files.check_destination(
            arguments.output or _default_output(arguments),
            ".tflite",
            arguments.overwrite,
        )
        model, _, source = network.build(arguments)
        wanted = model.preprocessing
        calibration = _calibration(arguments, wanted)
        photo = arguments.predict and pictures.load_picture(arguments.predict, wanted)
        _make_ready(model, source, arguments, calibration)
        say(f"converting to TFLite ({_format_name(arguments.quantize)}) ...")
        report = tflite.to_tflite(
            model,
            path,
            arguments.quantize,
            calibration=calibration,
            io_dtype=arguments.io_dtype,
            overwrite=arguments.overwrite,
            threads=arguments.threads,
        )
        say(
            console.tflite_report(
                report, "calibration" if calibration is not None else "noise"
            )
        )
        if photo is not None:
            say(console.top_five(model, report, photo, arguments.predict))


def _check_tflite_options(arguments, tflite):
    from keras_resnets import pictures
    from keras_resnets.errors import check_choice
    from keras_resnets.errors import check_positive_int

    tflite.check_backend()
    check_choice("--quantize", arguments.quantize, tflite.QUANTIZE)
    check_choice("--io-dtype", arguments.io_dtype, tflite.IO_DTYPES)
    check_positive_int("--threads", arguments.threads)
    check_positive_int("--calibration-count", arguments.calibration_count)
    if arguments.calibration:
        pictures.check_folder(arguments.calibration)
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
    from keras_resnets import pictures

    if not arguments.calibration:
        return None
    loaded, skipped = pictures.load_folder(
        arguments.calibration, wanted, arguments.calibration_count, arguments.seed
    )
    say(f"calibration  {len(loaded)} pictures from {arguments.calibration}")
    if skipped:
        names = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        say(f"             {len(skipped)} skipped, not readable: {names}")
    return loaded


def _make_ready(model, source, arguments, calibration):
    """Gives a model without weights values that prove something, and says what it is."""
    from keras_resnets.export import tflite
    from keras_resnets.export import untrained

    shape = tuple(model.inputs[0].shape[1:])
    origin = f"weights from {arguments.weights}"
    if source is None:
        # A fresh network would make the comparison below an empty one.
        untrained.settle(
            model, tflite.default_pictures(shape, calibration), arguments.seed
        )
        origin = f"random weights and BN statistics (seed {arguments.seed})"
    say(
        f"{model.name}  {model.count_params():,} parameters, "
        f"{shape[0]} x {shape[1]} x {shape[2]} -> {model.output_shape[-1]} classes, "
        f"{origin}"
    )
