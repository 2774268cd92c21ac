"""What tensorflow-model-optimization does for `quantize`, `prune` and `cluster`."""

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.system.quiet import native_logs_hidden


def add_to(commands):
    """Adds `cluster` to the parser's sub-commands."""
    parser = commands.add_parser(
        "cluster", help="fine-tune to a few different weights a kernel, for gzip"
    )
    parser.add_argument(
        "model", metavar="MODEL", help="variant, see keras-resnets list"
    )
    parser.add_argument("--weights", required=True, help=network.WEIGHTS)
    parser.add_argument("--output", help="what to write: .keras or .weights.h5")
    parser.add_argument("--overwrite", action="store_true", help="replace the output")
    network.add_options(parser)
    parser.add_argument("--data", required=True, help=DATA)
    parser.add_argument(
        "--clusters",
        type=options.whole(2, 65_536),
        default=32,
        help="different weights in a kernel",
    )
    parser.add_argument(
        "--seed", type=options.SEED, default=0, help="of the order of pictures"
    )
    parser.add_argument(
        "--evaluate", metavar="DATA", help="score on .npz (x_test) or folder"
    )
    add_tuning(parser)
    parser.set_defaults(run=_cluster)


# What --data takes where a network is trained.
DATA = ".npz file with x_train and y_train, or folder with a sub-folder a class"


def add_tuning(parser, note=""):
    """Adds the options of the fine-tuning; `note` says when they count."""
    parser.add_argument(
        "--epochs",
        type=options.EPOCHS,
        default=1,
        help=f"of fine-tuning, 1 to 3 mostly{note}",
    )
    parser.add_argument(
        "--learning-rate",
        type=options.number(0, 10),
        help=f"at its start; default: the tool's{note}",
    )
    parser.add_argument(
        "--batch-size", type=options.BATCH_SIZE, default=128, help=f"of it{note}"
    )
    parser.add_argument(
        "--crop",
        type=options.whole(0, 65_535),
        default=0,
        help=f"pixels to move pictures by{note}",
    )
    parser.add_argument(
        "--no-mirror", action="store_true", help=f"never mirror pictures{note}"
    )


def tuning_of(arguments):
    """The `Tuning` that the options ask for."""
    from keras_resnets.tfmot import Tuning

    return Tuning(
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        batch_size=arguments.batch_size,
        mirror=not arguments.no_mirror,
        crop=arguments.crop,
        seed=arguments.seed,
    )


def training_data(arguments, model):
    """The labelled training pictures of `--data`."""
    data = network.open_labelled(arguments.data, model, part="train")
    say(f"training     {len(data.labels):,} pictures of {arguments.data}")
    return data


class Bar:
    """The bar over all training steps, and lines about epochs above it."""

    def __init__(self, data, tuning):
        from keras_resnets.system.progress import ProgressBar

        steps = -(-len(data.labels) // tuning.batch_size)
        self.progress = ProgressBar(tuning.epochs * steps, "steps")

    def tell(self, line):
        """Prints a line about an epoch."""
        self.progress.close()
        say(line)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.progress.close()


def quantize(arguments, model, path):
    """Trains quantization-aware, writes the TFLite file; returns its `ExportReport`."""
    from keras_resnets import tfmot

    tuning = tuning_of(arguments)
    data = training_data(arguments, model)
    with Bar(data, tuning) as bar:
        return tfmot.tfmot_quantize_aware(
            model,
            path,
            data,
            tuning,
            calibration=arguments.count,
            overwrite=arguments.overwrite,
            threads=arguments.threads,
            io_dtype=arguments.io_dtype,
            packed=arguments.packed,
            progress=bar.progress,
            tell=bar.tell,
        )


def check_quantize(arguments, recipe):
    """Raises `InvalidArgument` for what `--engine tfmot` does not do."""
    if recipe.name != "static_wi8_ai8":
        raise InvalidArgument(
            "tensorflow-model-optimization trains static_wi8_ai8 alone; for "
            f"{recipe.name} take quantize_aware in Python (docs/compression.md)"
        )
    if arguments.method is not None:
        raise InvalidArgument(
            "--method is how the engine 'ranges' finds ranges; with --engine tfmot they "
            f"are trained; got {arguments.method!r}"
        )
    if arguments.sensitivity:
        raise InvalidArgument("--sensitivity rounds layers itself: leave out --engine")
    if not arguments.data:
        raise InvalidArgument("--engine tfmot trains: give training pictures by --data")


def check_prune(arguments):
    """Raises `InvalidArgument` for what `prune --engine` does not do."""
    check_choice("--engine", arguments.engine, ("native", "tfmot"))
    if arguments.engine == "native":
        if arguments.data:
            raise InvalidArgument(
                "--data is for --engine tfmot, which fine-tunes; without, weights are "
                "set to zero at once"
            )
        return
    if arguments.shrink is not None or arguments.pattern != "unstructured":
        raise InvalidArgument(
            "--engine tfmot prunes by --sparsity, unstructured; --shrink and --pattern "
            "are the native way"
        )
    if not arguments.data:
        raise InvalidArgument("--engine tfmot trains: give training pictures by --data")


def prune(arguments, model):
    """The pruned network."""
    from keras_resnets import tfmot

    tuning = tuning_of(arguments)
    data = training_data(arguments, model)
    with Bar(data, tuning) as bar:
        return tfmot.tfmot_prune(
            model, data, arguments.sparsity, tuning, bar.progress, bar.tell
        )


def _cluster(arguments):
    network.find(arguments)
    with native_logs_hidden():
        from keras_resnets import pruning
        from keras_resnets import tfmot
        from keras_resnets.cli import tables
        from keras_resnets.export.keras import convert as keras_file
        from keras_resnets.tfmot import process

        process.check_installed()
        tuning = tuning_of(arguments)
        path = arguments.output or network.default_output(arguments, "_clustered.keras")
        path = keras_file.check_output(path, arguments.overwrite)
        model, _, _ = network.build(arguments)
        data = training_data(arguments, model)
        with Bar(data, tuning) as bar:
            few = tfmot.tfmot_cluster(
                model, data, arguments.clusters, tuning, bar.progress, bar.tell
            )
        keras_file.to_keras(few, path, overwrite=arguments.overwrite)
        before, after = (pruning.pruning_report(x) for x in (model, few))
        say(tables.gzip_table(before, after))
        show_accuracy(arguments, model, few)
        say(f"wrote {path}")


def show_accuracy(arguments, before, after):
    """Says what `--evaluate` finds of two networks."""
    if not arguments.evaluate:
        return
    from keras_resnets.images import evaluation

    data = network.open_labelled(arguments.evaluate, before)
    tops = [evaluation.evaluate(model, data, 250).top1 for model in (before, after)]
    say(
        f"measured     {len(data.labels):,} pictures: top-1 {tops[1]:.2%} of "
        f"{tops[0]:.2%}"
    )
