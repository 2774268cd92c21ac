"""`keras-resnets export`: files that have been run and compared."""

import functools
import warnings

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.export.formats import FORMATS
from keras_resnets.system.quiet import native_logs_hidden


def add_to(commands):
    """Adds the command to the parser's sub-commands."""
    export = commands.add_parser("export", help="export, run and compare")
    formats = export.add_subparsers(title="formats", required=True, metavar="FORMAT")
    own_options = {
        "tflite": _add_tflite,
        "onnx": _add_onnx,
        "saved_model": _add_saved_model,
    }
    for name, form in FORMATS.items():
        parser = formats.add_parser(name, help=form.title)
        _add_options(parser, form.ending)
        if form.methods:
            _add_quantization(parser, form.numbers, form.methods)
        if name in own_options:
            own_options[name](parser)
        parser.set_defaults(run=_export, format=name)
        if not form.methods:
            parser.set_defaults(quantize="none", calibration=None)


def _add_options(parser, ending):
    parser.add_argument(
        "--model", required=True, help="variant, see keras-resnets list"
    )
    parser.add_argument("--weights", help=f"{network.WEIGHTS}; random without")
    parser.add_argument(
        "--output", help=f"what to write; default MODEL[_QUANTIZE]{ending}"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output")
    parser.add_argument(
        "--threads", type=options.THREADS, default=2, help="of the runtime"
    )
    parser.add_argument(
        "--seed", type=options.SEED, default=0, help="of random weights and choice"
    )
    parser.add_argument("--predict", metavar="PHOTO", help="show both top fives for it")
    parser.add_argument(
        "--include-preprocessing",
        action="store_true",
        help="take RGB pixels as uint8 (a SavedModel: by a second signature)",
    )
    parser.add_argument("--logits", action="store_true", help="leave the softmax out")
    parser.add_argument(
        "--evaluate",
        metavar="DATA",
        help="compare the answers on labelled images: .npz (x_test) or folder",
    )
    parser.add_argument(
        "--features", metavar="STAGES", help="put out feature maps: stage2,stage4"
    )
    network.add_options(parser)


def _add_quantization(parser, quantize, methods):
    parser.add_argument(
        "--quantize",
        default="none",
        metavar="|".join(quantize),
        help="none: float32; integers need --calibration",
    )
    parser.add_argument(
        "--method", metavar="|".join(methods), help="of int8 ranges; default minmax"
    )
    parser.add_argument("--calibration", metavar="FOLDER", help="folder of pictures")
    parser.add_argument(
        "--calibration-count",
        type=options.COUNT,
        default=500,
        help="most pictures to take",
    )


def _add_tflite(parser):
    parser.add_argument(
        "--io-dtype",
        default="int8",
        metavar="int8|uint8|float32",
        help="input and output of an int8 file",
    )
    network.add_batch(parser)
    parser.add_argument(
        "--per-tensor", action="store_true", help="one scale a kernel, not a channel"
    )
    network.add_packing(parser)


def _add_onnx(parser):
    parser.add_argument(
        "--opset", type=options.whole(13, 18), default=17, help="13 to 18"
    )
    parser.add_argument(
        "--layout", default="nhwc", metavar="nhwc|nchw", help="of the file's input"
    )
    network.add_batch(parser)
    parser.add_argument(
        "--reduce-range",
        action="store_true",
        help="7-bit weights, for x86 without VNNI",
    )
    parser.add_argument(
        "--symmetric",
        action="store_true",
        help="int8 activations around 0, as TensorRT wants them",
    )


def _add_saved_model(parser):
    network.add_batch(parser, "dynamic")


def _export(arguments):
    network.find(arguments)
    form = FORMATS[arguments.format]
    with native_logs_hidden():
        from keras_resnets.cli import reports
        from keras_resnets.export import number_formats
        from keras_resnets.images import loading

        _check_options(arguments, form)
        kind = "" if arguments.quantize == "none" else f"_{arguments.quantize}"
        arguments.output = arguments.output or network.default_output(
            arguments, f"{kind}{form.ending}"
        )
        form.room.check_output(arguments.output, arguments.overwrite)
        model, _, source = network.build(arguments, head_needed=not arguments.features)
        wanted = model.preprocessing
        calibration = _calibration(arguments, wanted)
        photo = arguments.predict and loading.load_image(arguments.predict, wanted)
        given = _make_ready(model, source, arguments, calibration)
        kind = number_formats.find(arguments.quantize).title
        say(f"converting to {form.title.split()[0]} ({kind}) ...")
        options = _options(arguments, form, wanted, calibration)
        data = arguments.evaluate and network.open_labelled(
            arguments.evaluate, model, seed=arguments.seed
        )
        exporter = getattr(form.room, form.exporter)
        if _by_own_ranges(arguments):
            exporter = _with_own_ranges(options, arguments.method, arguments.seed)
        report = exporter(model, arguments.output, pictures=given, **options)
        say(
            reports.export_report(
                report, "calibration" if calibration is not None else "synthetic"
            )
        )
        if data:
            network.say_figures(
                model, report, data, arguments.threads, arguments.logits
            )
        if photo is not None:
            say(reports.top_five(model, report, photo, arguments.predict))


def _options(arguments, form, wanted, calibration):
    """What the format's exporter is called with."""
    options = {name: getattr(arguments, name) for name in form.options}
    options |= {"overwrite": arguments.overwrite, "logits": arguments.logits}
    options["features"] = arguments.features and arguments.features.split(",")
    options["preprocessing"] = wanted if arguments.include_preprocessing else None
    if form.methods:
        options |= {
            "quantize": arguments.quantize,
            "calibration": calibration,
            "threads": arguments.threads,
        }
    if options.get("method", "") is None:
        del options["method"]
    return options


def _by_own_ranges(arguments):
    """Whether the ranges are sought by this package, not by the converter."""
    method = getattr(arguments, "method", None)
    return arguments.format == "tflite" and method not in (None, "minmax")


def _with_own_ranges(options, method, seed):
    """`quantization.quantize` for `options`, which lose what it has no word for."""
    from keras_resnets import quantization

    recipe = "static_wi8_ai8"
    del options["quantize"], options["features"]
    if options.pop("per_tensor"):
        recipe += "_per_tensor"
    return functools.partial(
        quantization.quantize, recipe=recipe, engine="ranges", method=method, seed=seed
    )


def _check_options(arguments, form):
    from keras_resnets.export import number_formats
    from keras_resnets.images import loading

    check_choice("--quantize", arguments.quantize, form.numbers)
    _check_method(arguments)
    _check_evaluate(arguments)
    if arguments.format == "tflite":
        from keras_resnets.export.tflite import convert

        check_choice("--io-dtype", arguments.io_dtype, convert.IO_DTYPES)
    if arguments.features and (arguments.logits or arguments.predict):
        raise InvalidArgument(
            "--features puts out maps: it goes with neither --logits nor --predict"
        )
    if getattr(arguments, "symmetric", False) and arguments.quantize != "int8":
        raise InvalidArgument(
            "--symmetric is how the activations of --quantize int8 are stored; got "
            f"--quantize {arguments.quantize}"
        )
    if arguments.calibration:
        loading.check_folder(arguments.calibration)
    elif number_formats.find(arguments.quantize).calibrated:
        raise InvalidArgument(
            f"--quantize {arguments.quantize} needs --calibration FOLDER_OF_PICTURES"
        )


def _check_method(arguments):
    method = getattr(arguments, "method", None)
    if method is None:
        return
    known = FORMATS[arguments.format].methods
    check_choice("--method", method, known)
    if arguments.quantize != "int8":
        raise InvalidArgument(
            "--method is how the ranges of --quantize int8 are found; got --quantize "
            f"{arguments.quantize}"
        )
    if method != "minmax" and arguments.format == "tflite" and arguments.features:
        raise InvalidArgument(f"--method {method} goes without --features")


def _check_evaluate(arguments):
    if arguments.evaluate is None:
        return
    if arguments.weights is None:
        raise InvalidArgument("--evaluate needs --weights: random ones know no classes")
    if arguments.features:
        raise InvalidArgument("--evaluate counts classes: it goes without --features")


def _calibration(arguments, wanted):
    from keras_resnets.images import calibration_checks
    from keras_resnets.images import files as image_files
    from keras_resnets.images import folders as image_folders
    from keras_resnets.images import loading

    if not arguments.calibration:
        return None
    loaded, skipped = loading.load_folder(
        arguments.calibration, wanted, arguments.calibration_count, arguments.seed
    )
    count = len(loaded) + len(skipped)
    image_files.check_broken(skipped, count, arguments.calibration)
    say(f"calibration  {len(loaded)} pictures from {arguments.calibration}")
    few = calibration_checks.words_for_few(len(loaded))
    if few:
        warnings.simplefilter("ignore", calibration_checks.FewImages)
        say(f"             {few}")
    if skipped:
        names = image_files.some(skipped)
        say(f"             {len(skipped)} skipped, not readable: {names}")
    network.say_notes(image_folders.notes_of(arguments.calibration))
    return loaded


def _make_ready(model, source, arguments, calibration):
    """Says what `model` is, and gives one without weights values that prove something.

    Returns:
        The pictures to compare with.
    """
    from keras_resnets.export import random_weights
    from keras_resnets.images import samples

    shape = tuple(model.inputs[0].shape[1:])
    pictures = samples.default_images(shape, calibration, model.preprocessing)
    origin = f"weights from {arguments.weights}"
    if source is None:
        # A fresh network would make the comparison below an empty one.
        random_weights.settle(model, pictures, arguments.seed)
        origin = f"random weights and BN statistics (seed {arguments.seed})"
    say(
        f"{model.name}  {model.count_params():,} parameters, "
        f"{shape[0]} x {shape[1]} x {shape[2]} -> {model.output_shape[-1]} classes, "
        f"{origin}"
    )
    return pictures
