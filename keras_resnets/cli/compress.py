"""`keras-resnets quantize` and `keras-resnets prune`."""

import pathlib

from keras_resnets.cli import max_drop
from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli import tfmot
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.system.quiet import native_logs_hidden

# Something is pruned, and something stays.
SHARE = options.number(0, 1, above=True, below=True)


def add_to(commands):
    """Adds both commands to the parser's sub-commands."""
    _add_quantize(commands)
    _add_prune(commands)


def _add_quantize(commands):
    quantize = commands.add_parser(
        "quantize", help="quantize a trained network into a TFLite file"
    )
    _add_common(quantize)
    quantize.add_argument(
        "--recipe", default="static_wi8_ai8", help="see docs/compression.md"
    )
    quantize.add_argument(
        "--data", help=".npz file with x_train, or folder of pictures: for the ranges"
    )
    quantize.add_argument(
        "--count", type=options.COUNT, default=500, help="pictures to take"
    )
    quantize.add_argument(
        "--seed", type=options.SEED, default=0, help="of their choice"
    )
    quantize.add_argument(
        "--engine",
        metavar="ranges|converter|ai_edge_quantizer|tfmot",
        help="default: best; tfmot: quantization-aware training by "
        "tensorflow-model-optimization on labelled --data",
    )
    quantize.add_argument("--method", metavar="mse|minmax|percentile")
    quantize.add_argument(
        "--percentile", type=options.number(50, 100, above=True), default=99.99
    )
    quantize.add_argument("--io-dtype", default="int8", metavar="int8|uint8|float32")
    network.add_batch(quantize)
    quantize.add_argument(
        "--include-preprocessing", action="store_true", help="take RGB pixels"
    )
    quantize.add_argument("--logits", action="store_true", help="leave the softmax out")
    network.add_packing(quantize)
    quantize.add_argument(
        "--int4",
        action="store_true",
        help="store 4-bit weights as such: half the file, slower in LiteRT",
    )
    quantize.add_argument("--threads", type=options.THREADS, default=2)
    quantize.add_argument(
        "--evaluate", metavar="DATA", help="compare on all of .npz (x_test) or folder"
    )
    quantize.add_argument(
        "--sensitivity",
        action="store_true",
        help="show what each layer costs when quantized alone; write nothing",
    )
    max_drop.add_options(quantize)
    tfmot.add_tuning(quantize, " (--engine tfmot)")
    quantize.set_defaults(run=_quantize)


def _add_prune(commands):
    prune = commands.add_parser("prune", help="set small weights to zero, or shrink")
    _add_common(prune)
    prune.add_argument("--sparsity", type=SHARE, help="share of zeros: 0.5")
    prune.add_argument(
        "--pattern", default="unstructured", metavar="unstructured|1x4|2:4"
    )
    prune.add_argument(
        "--shrink", type=SHARE, help="share of the units' inner channels to remove"
    )
    prune.add_argument(
        "--multiple",
        type=options.whole(1, 65_536),
        default=1,
        help="channels left: multiples of this",
    )
    prune.add_argument(
        "--engine",
        default="native",
        metavar="native|tfmot",
        help="tfmot: fine-tuned by tensorflow-model-optimization on --data",
    )
    prune.add_argument("--data", help=f"{tfmot.DATA} (--engine tfmot)")
    prune.add_argument(
        "--seed", type=options.SEED, default=0, help="of the order of pictures"
    )
    prune.add_argument(
        "--evaluate", metavar="DATA", help="score on .npz (x_test) or folder"
    )
    tfmot.add_tuning(prune, " (--engine tfmot)")
    prune.set_defaults(run=_prune)


def _add_common(parser):
    parser.add_argument(
        "model", metavar="MODEL", help="variant, see keras-resnets list"
    )
    parser.add_argument("--weights", required=True, help=network.WEIGHTS)
    parser.add_argument("--output", help="what to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the output")
    network.add_options(parser)


def _quantize(arguments):
    network.find(arguments)
    with native_logs_hidden():
        from keras_resnets.cli import reports

        recipe, path = _checked(arguments)
        model, _, _ = network.build(arguments)
        data = _labelled(arguments, model)
        if arguments.engine == "tfmot":
            report, kind = tfmot.quantize(arguments, model, path), "training"
        else:
            chosen = _calibration(arguments, model, recipe)
            if arguments.sensitivity:
                _show_sensitivity(model, chosen, recipe)
                return
            kind = "synthetic" if chosen is None else "calibration"
            write = _quantize_all if arguments.max_drop is None else max_drop.run
            report = write(arguments, model, chosen, recipe, path)
        say(reports.export_report(report, kind))
        if data is not None:
            network.say_figures(
                model, report, data, arguments.threads, arguments.logits
            )


def _checked(arguments):
    """(recipe, path of the file), once the options go together."""
    from keras_resnets.export.tflite import convert as tflite
    from keras_resnets.quantization import recipes
    from keras_resnets.quantization.backends import engines

    recipe = recipes.find(arguments.recipe)
    recipes.check_int4(arguments.int4, recipe)
    max_drop.check(arguments)
    _check_ends(arguments)
    if arguments.engine == "tfmot":
        tfmot.check_quantize(arguments, recipe)
    else:
        engines.check_engine(arguments.engine, recipe)
    if _needs_pictures(arguments, recipe) and not arguments.data:
        raise InvalidArgument(f"{recipe.name} takes its ranges from --data")
    path = arguments.output or network.default_output(
        arguments, _ending(arguments, recipe)
    )
    if not arguments.sensitivity:
        tflite.check_output(path, arguments.overwrite)
    return recipe, path


def _check_ends(arguments):
    """Raises `InvalidArgument` where what goes in and out cannot be chosen."""
    chosen = {
        "--batch": arguments.batch != 1,
        "--include-preprocessing": arguments.include_preprocessing,
        "--logits": arguments.logits,
    }
    others = {
        "--sensitivity": arguments.sensitivity,
        "--max-drop": arguments.max_drop is not None,
        "--engine tfmot": arguments.engine == "tfmot",
    }
    for option in (name for name, is_set in chosen.items() if is_set):
        for other in (name for name, is_set in others.items() if is_set):
            raise InvalidArgument(f"{option} does not go with {other}")


def _needs_pictures(arguments, recipe):
    from keras_resnets.export import number_formats

    return (
        number_formats.find(recipe.quantize).calibrated
        or arguments.sensitivity
        or arguments.max_drop is not None
    )


def _calibration(arguments, model, recipe):
    """The `CalibrationSet`, or None where the recipe has no ranges."""
    from keras_resnets import quantization
    from keras_resnets.images import folders as image_folders

    if not _needs_pictures(arguments, recipe):
        return None
    chosen = quantization.choose(
        arguments.data, model.preprocessing, arguments.count, arguments.seed
    )
    say(f"calibration  {len(chosen.pictures)} pictures of {chosen.source}")
    if pathlib.Path(arguments.data).is_dir():
        network.say_notes(image_folders.notes_of(arguments.data, chosen.skipped))
    return chosen


def _quantize_all(arguments, model, chosen, recipe, path):
    from keras_resnets import quantization

    with _bar(chosen, "pictures") as bar:
        return quantization.quantize(
            model,
            path,
            recipe,
            chosen,
            overwrite=arguments.overwrite,
            threads=arguments.threads,
            engine=arguments.engine,
            method=arguments.method,
            percentile=arguments.percentile,
            seed=arguments.seed,
            io_dtype=arguments.io_dtype,
            packed=arguments.packed,
            int4=arguments.int4,
            batch=arguments.batch,
            preprocessing=model.preprocessing
            if arguments.include_preprocessing
            else None,
            logits=arguments.logits,
            progress=bar,
        )


def _ending(arguments, recipe):
    mixed = "_mixed" if arguments.max_drop is not None else ""
    return f"_{recipe.name}{mixed}.tflite"


def _labelled(arguments, model):
    if not arguments.evaluate:
        return None
    return network.open_labelled(arguments.evaluate, model, seed=arguments.seed)


def _show_sensitivity(model, chosen, recipe):
    from keras_resnets import quantization
    from keras_resnets.cli import tables

    # A hundred tell the order; the ranges come from all.
    with _bar(None, "layers") as bar:
        found = quantization.sensitivity(
            model, chosen.pictures[:100], recipe, chosen, bar
        )
    say(tables.sensitivity_table(found))


class _bar:
    """A progress bar that goes away; `total` is known from what it counts."""

    def __init__(self, chosen, unit):
        from keras_resnets.system.progress import ProgressBar

        total = len(chosen.pictures) if chosen is not None else 0
        self._bar = ProgressBar(total, unit)

    def __enter__(self):
        return self._bar

    def __exit__(self, *error):
        self._bar.close()


def _prune(arguments):
    network.find(arguments)
    if (arguments.sparsity is None) == (arguments.shrink is None):
        raise InvalidArgument("give one of --sparsity and --shrink")
    with native_logs_hidden():
        from keras_resnets import pruning
        from keras_resnets.cli import tables
        from keras_resnets.errors import check_choice
        from keras_resnets.export.keras import convert as keras_file
        from keras_resnets.pruning import magnitude

        check_choice("--pattern", arguments.pattern, magnitude.PATTERNS)
        tfmot.check_prune(arguments)
        share = arguments.shrink if arguments.sparsity is None else arguments.sparsity
        magnitude.check_sparsity(share)
        path = arguments.output or network.default_output(arguments, "_pruned.keras")
        if not str(path).endswith(".keras"):
            raise InvalidArgument(f"prune writes a .keras file; got {str(path)!r}")
        keras_file.check_output(path, arguments.overwrite)
        model, _, _ = network.build(arguments)
        before = pruning.pruning_report(model)
        made = _pruned(arguments, model, share)
        after = pruning.pruning_report(made)
        keras_file.to_keras(made, path, overwrite=arguments.overwrite)
        say(tables.pruning_table(before, after))
        tfmot.show_accuracy(arguments, model, made)
        tuned = "" if arguments.engine == "tfmot" else "; it has not been fine-tuned"
        say(f"wrote {path}{tuned}")


def _pruned(arguments, model, share):
    import keras

    from keras_resnets import pruning
    from keras_resnets.graph import provenance

    if arguments.engine == "tfmot":
        return tfmot.prune(arguments, model)
    if arguments.shrink is not None:
        return pruning.shrink(model, share, arguments.multiple)
    made = keras.models.clone_model(model)
    made.set_weights(model.get_weights())
    provenance.inherit(made, model)
    pruning.prune(made, share, arguments.pattern)
    return made
