"""`keras-resnets search`: the smallest mix of precisions within a drop of top-1."""

import dataclasses
import pathlib

from keras_resnets.cli import calibration
from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli import output
from keras_resnets.cli import quantize
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.quantization import choices
from keras_resnets.quantization import recipes
from keras_resnets.system.quiet import native_logs_hidden

_RECIPES = tuple(
    name
    for name, row in recipes.RECIPES.items()
    if (row.weight_bits, row.activation_bits) == (8, 8)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output, calibration.Calibration):
    """What `keras-resnets search` is asked for; see its help."""

    max_drop: float
    held_out: int
    precisions: str
    plot: str | None
    recipe: str
    method: str | None
    percentile: float
    io_dtype: str
    packed: bool
    threads: int
    evaluate: str | None

    def __post_init__(self):
        super().__post_init__()
        choices.check_precisions(self.allowed)
        if self.plot is not None:
            from keras_resnets.io import plots

            plots.check_place(self.plot)

    @property
    def allowed(self):
        """What the layers of a mix may be."""
        return [word.strip() for word in self.precisions.split(",")]


def add_to(commands):
    """Adds the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "search",
        usage="%(prog)s MODEL --weights WEIGHTS --data DATA [options]",
    )
    network.add_trained(parser)
    calibration.add_options(parser)
    group = parser.add_argument_group("search")
    group.add_argument(
        "--max-drop",
        type=options.number(0.001, 100, below=True),
        default=0.2,
        metavar="POINTS",
        help="of top-1 that the file may lose (0.2)",
    )
    group.add_argument(
        "--held-out",
        type=options.COUNT,
        default=5000,
        metavar="COUNT",
        help="labelled training images to choose the mix by (5000)",
    )
    group.add_argument(
        "--precisions",
        default=",".join(choices.PRECISIONS),
        help="what a layer may be (int8,int16,float)",
    )
    group.add_argument(
        "--plot", metavar="PNG", help="draw what each layer costs, and what it became"
    )
    rounding = parser.add_argument_group("quantization")
    quantize.add_recipe(rounding, _RECIPES)
    quantize.add_method(rounding)
    quantize.add_file(network.add_output(parser, "default: MODEL_RECIPE_mixed.tflite"))
    quantize.add_comparison(parser)
    options.set_command(
        parser,
        Options,
        _search,
        facts={
            **network.FACTS,
            "mix": "the precision of every layer, and what the search measured",
        },
        examples=(
            "resnet20 --weights cifar10 --data cifar10.npz --max-drop 0.2",
            "run/ --data photos/ --max-drop 1 --precisions int8,int16",
        ),
    )


def _search(asked):
    with native_logs_hidden():
        from keras_resnets.cli import tables
        from keras_resnets.export.tflite import convert as tflite
        from keras_resnets.io import files
        from keras_resnets.quantization.search import plots

        path = asked.path(f"_{asked.recipe}_mixed.tflite")
        tflite.check_output(path, asked.overwrite)
        model, _, _ = network.build(asked)
        data = quantize.labelled(asked, model)
        chosen = calibration.choose(asked, model)
        mix = _find(asked, model, chosen, _hold_out(asked, model, chosen))
        output.keep(mix=mix)
        say(tables.mix_table(mix))
        report = mix.write(path, asked.overwrite, asked.threads, asked.packed)
        if asked.plot:
            with files.stands_already(path):
                plots.plot(mix, asked.plot, model.name)
            say(f"plot         {asked.plot}")
        network.say_export(report, "calibration")
        quantize.say_accuracy(asked, model, report, data)


def _hold_out(asked, model, chosen):
    """The labelled images that the mix is chosen by."""
    from keras_resnets import quantization
    from keras_resnets.images import labels

    _check_room(asked, chosen, chosen.available - chosen.taken)
    names = labels.class_names(model.output_shape[-1], model.labels)
    held = quantization.hold_out(
        asked.data, model.preprocessing, chosen, asked.held_out, names
    )
    _check_room(asked, chosen, len(held.labels))
    say(
        f"held out     {len(held.labels):,} other labelled training images of "
        f"{pathlib.Path(asked.data).name} to choose the mix by"
    )
    network.say_notes(held.notes)
    return held


def _find(asked, model, chosen, held):
    from keras_resnets import quantization

    with _Stages() as stages:
        return quantization.find_mix(
            model,
            chosen,
            held,
            asked.max_drop,
            asked.recipe,
            precisions=asked.allowed,
            method=asked.method,
            percentile=asked.percentile,
            seed=asked.seed,
            io_dtype=asked.io_dtype,
            threads=asked.threads,
            progress=stages,
        )


def _check_room(asked, chosen, left):
    """Raises `InvalidArgument` where too few images are left to choose the mix by.

    Args:
        asked: the `Options`.
        chosen: the `CalibrationSet`.
        left: labelled images that it has not.
    """
    from keras_resnets.images import calibration_checks
    from keras_resnets.quantization.search import accuracy_gate

    drop, needed = asked.max_drop, accuracy_gate.fewest_for(asked.max_drop)
    if min(left, asked.held_out) >= needed:
        return
    if left >= needed:
        advice = f"give --held-out {needed:,} or more; got {asked.held_out:,}"
    else:
        everything = chosen.taken + left
        room, most = everything - needed, everything - calibration_checks.FEWEST
        advice = (
            f"{pathlib.Path(asked.data).name} has {everything:,}, of which the "
            f"calibration takes {chosen.taken:,} (--count {asked.count}): "
        )
        if room >= calibration_checks.FEWEST:
            advice += f"--count {room} makes room"
        elif most >= 2:
            advice += (
                f"--count {calibration_checks.FEWEST} --max-drop {100 / most + 0.005:.2f} "
                "makes room, or more images"
            )
        else:
            advice += "give more images"
    raise InvalidArgument(
        f"--max-drop {drop:g} shows on {needed:,} labelled images or more beside those "
        f"of the calibration; {advice}"
    )


class _Stages:
    """A progress bar for one stage after the other."""

    def __init__(self):
        self._stage, self._bar = None, None

    def __call__(self, stage, done, total):
        from keras_resnets.system.progress import ProgressBar

        if stage != self._stage:
            self.close()
            unit = "layers" if stage == "layers" else f"images: {stage}"
            self._stage, self._bar = stage, ProgressBar(total, unit)
        self._bar(done)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Wipes the bar away."""
        if self._bar is not None:
            self._bar.close()
