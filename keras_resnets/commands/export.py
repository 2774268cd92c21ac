"""`keras-resnets export`: files that have been run and compared."""

import argparse
import importlib
import pathlib

from keras_resnets.commands import network
from keras_resnets.commands.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.quiet import native_logs_hidden

# Format -> what help calls it, the end of its file's name, values of --quantize.
FORMATS = {
    "tflite": (
        "TFLite for LiteRT",
        ".tflite",
        ("none", "float16", "dynamic", "int8", "int16x8"),
    ),
    "onnx": ("ONNX", ".onnx", ("none", "float16", "int8")),
    "saved_model": ("SavedModel for TensorFlow Serving", "", ("none",)),
}


def add_to(commands):
    """Adds the command to the parser's sub-commands."""
    export = commands.add_parser("export", help="export, run and compare")
    formats = export.add_subparsers(title="formats", required=True, metavar="FORMAT")
    for name, (title, ending, quantize) in FORMATS.items():
        parser = formats.add_parser(name, help=title)
        _add_options(parser, ending)
        if len(quantize) > 1:
            _add_quantization(parser, quantize)
        parser.set_defaults(run=_export, format=name, quantize="none", calibration=None)
        {"tflite": _add_tflite, "onnx": _add_onnx}.get(name, _add_saved_model)(parser)


def _add_options(parser, ending):
    parser.add_argument(
        "--model", required=True, help="variant, see keras-resnets list"
    )
    parser.add_argument("--weights", help=f"{network.WEIGHTS}; random without")
    parser.add_argument(
        "--output", help=f"what to write; default MODEL[_QUANTIZE]{ending}"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime")
    parser.add_argument(
        "--seed", type=int, default=0, help="of random weights and choice"
    )
    parser.add_argument("--predict", metavar="PHOTO", help="show both top fives for it")
    network.add_options(parser)


def _add_quantization(parser, quantize):
    parser.add_argument(
        "--quantize",
        metavar="|".join(quantize),
        help="none: float32; integers need --calibration",
    )
    parser.add_argument("--calibration", metavar="FOLDER", help="folder of pictures")
    parser.add_argument(
        "--calibration-count", type=int, default=500, help="most pictures to take"
    )


def _add_tflite(parser):
    parser.add_argument(
        "--io-dtype",
        default="int8",
        metavar="int8|uint8|float32",
        help="input and output of an int8 file",
    )
    parser.add_argument("--batch", type=int, default=1, help="pictures at a time")
    parser.add_argument(
        "--per-tensor", action="store_true", help="one scale a kernel, not a channel"
    )


def _add_onnx(parser):
    parser.add_argument("--opset", type=int, default=17, help="13 to 18")
    parser.add_argument(
        "--layout", default="nhwc", metavar="nhwc|nchw", help="of the file's input"
    )
    parser.add_argument("--batch", default=1, type=_batch, help="number, or dynamic")
    parser.add_argument(
        "--reduce-range",
        action="store_true",
        help="7-bit weights, for x86 without VNNI",
    )


def _add_saved_model(parser):
    parser.add_argument(
        "--batch", default="dynamic", type=_batch, help="number, or dynamic"
    )
    parser.add_argument(
        "--include-preprocessing",
        action="store_true",
        help="a second signature, serving_uint8, that takes RGB pixels",
    )


def _batch(text):
    if text == "dynamic" or text.isdigit():
        return text if text == "dynamic" else int(text)
    raise argparse.ArgumentTypeError(
        f"must be a whole number >= 1 or dynamic; got {text!r}"
    )


def _export(arguments):
    network.find(arguments)
    with native_logs_hidden():
        from keras_resnets import console
        from keras_resnets import pictures
        from keras_resnets.export import parity

        title, ending, quantize = FORMATS[arguments.format]
        exporter = importlib.import_module(f"keras_resnets.export.{arguments.format}")
        _check_options(arguments, quantize, exporter)
        arguments.output = arguments.output or _default_output(arguments, ending)
        exporter.check_output(arguments.output, arguments.overwrite)
        model, _, source = network.build(arguments)
        wanted = model.preprocessing
        calibration = _calibration(arguments, wanted)
        photo = arguments.predict and pictures.load_picture(arguments.predict, wanted)
        _make_ready(model, source, arguments, calibration)
        kind = parity.format_name(arguments.quantize)
        say(f"converting to {title.split()[0]} ({kind}) ...")
        report = _call(arguments, exporter, model, calibration)
        say(
            console.export_report(
                report, "calibration" if calibration is not None else "noise"
            )
        )
        if photo is not None:
            say(console.top_five(model, report, photo, arguments.predict))


def _call(arguments, exporter, model, calibration):
    """The report of the format's own exporter."""
    shared = {"overwrite": arguments.overwrite, "batch": arguments.batch}
    if arguments.format == "saved_model":
        wanted = model.preprocessing if arguments.include_preprocessing else None
        return exporter.to_saved_model(
            model, arguments.output, preprocessing=wanted, **shared
        )
    shared |= {"calibration": calibration, "threads": arguments.threads}
    if arguments.format == "onnx":
        names = ("opset", "layout", "reduce_range")
        write = exporter.to_onnx
    else:
        names = ("io_dtype", "per_tensor")
        write = exporter.to_tflite
    shared |= {name: getattr(arguments, name) for name in names}
    return write(model, arguments.output, arguments.quantize, **shared)


def _check_options(arguments, quantize, exporter):
    from keras_resnets import pictures
    from keras_resnets.export import prepare

    check_choice("--quantize", arguments.quantize, quantize)
    check_positive_int("--threads", arguments.threads)
    if arguments.batch != "dynamic":
        check_positive_int("--batch", arguments.batch)
    if arguments.format == "tflite":
        check_choice("--io-dtype", arguments.io_dtype, exporter.IO_DTYPES)
    if len(quantize) > 1:
        check_positive_int("--calibration-count", arguments.calibration_count)
    if arguments.calibration:
        pictures.check_folder(arguments.calibration)
    elif arguments.quantize in prepare.CALIBRATED:
        raise InvalidArgument(
            f"--quantize {arguments.quantize} needs --calibration FOLDER_OF_PICTURES"
        )


def _default_output(arguments, ending):
    from keras_resnets import registry

    name = registry.canonical_name(arguments.model)
    suffix = "" if arguments.quantize == "none" else f"_{arguments.quantize}"
    return pathlib.Path(f"{name}{suffix}{ending or '_saved_model'}")


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
    from keras_resnets.export import pipeline
    from keras_resnets.export import untrained

    shape = tuple(model.inputs[0].shape[1:])
    origin = f"weights from {arguments.weights}"
    if source is None:
        # A fresh network would make the comparison below an empty one.
        pictures = pipeline.default_pictures(shape, calibration)
        untrained.settle(model, pictures, arguments.seed)
        origin = f"random weights and BN statistics (seed {arguments.seed})"
    say(
        f"{model.name}  {model.count_params():,} parameters, "
        f"{shape[0]} x {shape[1]} x {shape[2]} -> {model.output_shape[-1]} classes, "
        f"{origin}"
    )
