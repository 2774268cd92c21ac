"""`keras-resnets cluster`: fine-tunes a network to a few distinct weights per kernel."""

import dataclasses

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments import tuning
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.printing import output
from keras_resnets.system.quiet import native_logs_hidden


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output, tuning.Tuning):
    """The options of `keras-resnets cluster`; see its help."""

    data: str
    clusters: int
    evaluate: str | None

    @property
    def ending(self) -> str:
        """The end of the default path."""
        return "_clustered.keras"


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("cluster", usage=network.USAGE)
    network.add_trained(parser)
    parser.add_argument_group("clustering").add_argument(
        "--clusters",
        type=options.whole(2, 65_536),
        default=32,
        help="number of distinct weights per kernel (32)",
    )
    tuning.add_options(parser)
    network.add_output(parser, ".keras or .weights.h5; default: MODEL_clustered.keras")
    tuning.add_evaluation(parser)
    options.set_command(
        parser,
        Options,
        _cluster,
        facts=tuning.FACTS,
        examples=(
            "resnet20 --weights cifar10 --data cifar10.npz",
            "run/ --data photos/ --clusters 16 --epochs 2",
        ),
    )


def _cluster(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets import pruning
        from keras_resnets import tfmot
        from keras_resnets.cli.printing import tables
        from keras_resnets.export.keras import convert as keras_file
        from keras_resnets.tfmot import process

        process.check_installed()
        path = asked.path()
        path = keras_file.check_output(path, asked.overwrite)
        model, _, _ = network.build(asked)
        data, settings = tuning.training_data(asked, model), asked.for_tfmot()
        with tuning.Bar(data, settings) as bar:
            clustered = tfmot.tfmot_cluster(
                model, data, asked.clusters, settings, bar.progress, bar.tell
            )
        keras_file.to_keras(clustered, path, overwrite=asked.overwrite)
        before, after = (pruning.pruning_report(x) for x in (model, clustered))
        output.keep(path=path, before=before, after=after)
        say(tables.gzip_table(before, after))
        tuning.say_accuracy(asked, model, clustered)
        say(f"wrote {path}")
