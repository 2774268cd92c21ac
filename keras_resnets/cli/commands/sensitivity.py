"""`keras-resnets sensitivity`: the error of quantizing each layer alone."""

import dataclasses

from keras_resnets.cli.arguments import calibration
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.commands import quantize
from keras_resnets.cli.pages import page_layers
from keras_resnets.cli.printing import output
from keras_resnets.export import recipes
from keras_resnets.quantization import choices
from keras_resnets.system.quiet import native_logs_hidden
from keras_resnets.system.text_table import text_table

# Recipes that can quantize a single layer: the trainable ones.
_RECIPES = tuple(name for name, row in recipes.RECIPES.items() if row.trainable)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, calibration.Calibration):
    """The options of `keras-resnets sensitivity`; see its help."""

    data: str
    count: int
    recipe: str
    rounding: str
    images: int


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("sensitivity", usage=network.USAGE)
    network.add_trained(parser)
    calibration.add_options(parser)
    group = parser.add_argument_group("quantization")
    quantize.add_recipe(group, _RECIPES)
    group.add_argument(
        "--rounding",
        choices=choices.LAYER_ROUNDINGS,
        default="nearest",
        help="rounding of weights; second-order: as in quantize (nearest)",
    )
    group.add_argument(
        "--images",
        type=options.COUNT,
        default=100,
        help="number of calibration images to measure on (100)",
    )
    options.set_command(
        parser,
        Options,
        _sensitivity,
        facts={
            "layers": "name, part, rmse and agreement per layer, the costliest first"
        },
        examples=(
            "resnet20 --weights cifar10 --data cifar10.npz",
            "run/ --data photos/ --recipe static_wi4_ai8 --images 200",
        ),
        report=True,
    )


def _sensitivity(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets import quantization
        from keras_resnets.cli.printing import tables
        from keras_resnets.system.progress import ProgressBar

        model, _, _ = network.build(asked)
        chosen = calibration.choose(asked, model)
        with ProgressBar(0, "layers") as bar:
            costs = quantization.sensitivity(
                model,
                chosen.images[: asked.images],
                asked.recipe,
                chosen,
                bar,
                asked.rounding,
            )
        output.keep(layers=costs)
        say(text_table(tables.COST_HEAD, tables.cost_rows(costs)))
        page_layers.sensitivity(costs)
