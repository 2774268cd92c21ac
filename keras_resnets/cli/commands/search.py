"""`keras-resnets search`: chooses the precision of each layer within a budget.

With `--max-drop` alone it finds the smallest mix of int8, int16 and float. With
`--max-size`, `--max-latency`, `--front` or int4 among the precisions it writes a Pareto
front of files, and the one of them that the budget asks for.
"""

import dataclasses
import pathlib
import typing

from keras_resnets.cli.arguments import calibration
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.commands import quantize
from keras_resnets.cli.pages import page_layers
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import recipes
from keras_resnets.export.tflite import storage
from keras_resnets.quantization import choices
from keras_resnets.system.progress import ProgressBar
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.images.calibration import CalibrationSet
    from keras_resnets.images.evaluation import Labelled
    from keras_resnets.quantization.search.mixed_precision import Mix


# Default drop in points, if no limit is given.
_DROP = 0.2
# A precision may be written as its bits.
_BITS = {"4": "int4", "8": "int8", "16": "int16"}
_RECIPES = tuple(
    name
    for name, row in recipes.RECIPES.items()
    if (row.weight_bits, row.activation_bits) == (8, 8)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output, calibration.Calibration):
    """The options of `keras-resnets search`; see its help."""

    data: str
    count: int
    max_drop: float | None
    max_size: int | None
    max_latency: tuple[float, str] | None
    held_out: int
    precisions: str | None
    front: str | None
    points: int | None
    sparse: float | None
    plot: str | None
    recipe: str
    method: str | None
    percentile: float
    io_dtype: str
    packed: bool
    storage: str | None
    prefer: str | None
    threads: int
    evaluate: str | None

    @property
    def ending(self) -> str:
        """The end of the default path."""
        return f"_{self.recipe}_mixed.tflite"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.has_front:
            choices.check_bits(self.allowed)
            storage.choose(self.storage, self.prefer)
            if self.plot is not None:
                raise InvalidArgument(
                    "--plot applies to a search by --max-drop only; a front has its own "
                    "plot, front.png in the folder of --front"
                )
            return
        for option, value in (
            ("--points", self.points),
            ("--sparse", self.sparse),
            ("--storage", self.storage),
            ("--prefer", self.prefer),
        ):
            if value is not None:
                raise InvalidArgument(
                    f"{option} requires a front: --max-size, --max-latency, --front or "
                    "int4 in --precisions"
                )
        choices.check_precisions(self.allowed)
        if self.plot is not None:
            from keras_resnets.io import plots

            plots.check_place(self.plot)

    @property
    def has_front(self) -> bool:
        """Whether the options ask for a Pareto front of files, not for one mix."""
        limits = (self.max_size, self.max_latency, self.front)
        return any(x is not None for x in limits) or "int4" in self.named

    @property
    def named(self) -> list[str]:
        """The precisions of `--precisions`; empty without the option."""
        words = [word.strip() for word in (self.precisions or "").split(",")]
        return [_BITS.get(word, word) for word in words if word]

    @property
    def allowed(self) -> list[str]:
        """The precisions that a layer may have."""
        if self.precisions is not None:
            return self.named
        return list(choices.BITS if self.has_front else choices.PRECISIONS)


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("search", usage=network.USAGE)
    network.add_trained(parser)
    calibration.add_options(parser)
    _add_search(parser.add_argument_group("search"))
    rounding = parser.add_argument_group("quantization")
    quantize.add_recipe(rounding, _RECIPES)
    quantize.add_method(rounding)
    quantize.add_storage(rounding)
    quantize.add_file(network.add_output(parser, "default: MODEL_RECIPE_mixed.tflite"))
    quantize.add_comparison(parser)
    options.set_command(
        parser,
        Options,
        _search,
        facts={
            **network.FACTS,
            "mix": "the precision of every layer and the measurements of the search; null "
            "with a front",
            "front": "with a budget such as --max-size: folder, budget, float_top1, "
            "count, points (file, size, layers, top1, drop, error, agreement, rmse, "
            "seconds, ratio, chosen) and refused; else null",
        },
        examples=(
            "resnet20 --weights cifar10 --data cifar10.npz --max-drop 0.2",
            "resnet20 --weights cifar10 --data cifar10.npz --max-size 160kB",
        ),
        report=True,
    )


def _add_search(group: parsing.Group) -> None:
    """Adds the limits of the search and the precisions that it may use."""
    group.add_argument(
        "--max-drop",
        type=options.number(0.001, 100, below=True),
        metavar="POINTS",
        help="largest drop of top-1 in points (alone: 0.2)",
    )
    group.add_argument(
        "--max-size",
        type=options.byte_count,
        metavar="BYTES",
        help="largest size of the file: 160kB, 160KiB or 1MB",
    )
    group.add_argument(
        "--max-latency",
        type=options.latency,
        metavar="TIME",
        help="latency in LiteRT here: 2ms or 1.05x of int8's",
    )
    group.add_argument(
        "--held-out",
        type=options.COUNT,
        default=5000,
        metavar="COUNT",
        help="number of held-out labelled training images (5000)",
    )
    group.add_argument(
        "--precisions",
        help="allowed precisions of layers: int4 (weights only), int8, int16, float, or "
        "4,8,16,float (int8,int16,float; with a front all four)",
    )
    group.add_argument(
        "--front",
        metavar="FOLDER",
        help="folder for the files of the front (default with --max-size or "
        "--max-latency: OUTPUT_front)",
    )
    group.add_argument(
        "--points",
        type=options.whole(2, 30),
        help="number of files of the front, besides those at the limits (6)",
    )
    group.add_argument(
        "--sparse",
        nargs="?",
        const=0.75,
        type=options.number(0, 1, above=True, below=True),
        metavar="SHARE",
        help="let layers of a front have this share of zeros (0.75), in blocks of four, "
        "which the files do not store; train the rest with qat --plan",
    )
    group.add_argument(
        "--plot", metavar="PNG", help="plot the error and the precision of each layer"
    )


def _search(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets.cli.printing import tables
        from keras_resnets.export.tflite import convert as tflite
        from keras_resnets.io import files
        from keras_resnets.quantization.search import plots

        path = asked.path()
        if asked.has_front:
            _search_front(asked, path)
            return
        tflite.check_output(path, asked.overwrite)
        model, _, _ = network.build_one_class(asked, "search")
        data = quantize.labelled(asked.evaluate, model)
        chosen = calibration.choose(asked, model)
        mix = _find(asked, model, chosen, _hold_out(asked, model, chosen))
        output.keep(mix=mix)
        say(tables.mix_table(mix))
        page_layers.mix(mix)
        report = mix.write(path, asked.overwrite, asked.threads, asked.packed)
        if asked.plot:
            with files.after_writing(path):
                plots.plot(mix, asked.plot, model.name)
            say(f"plot         {asked.plot}")
        network.say_export(report, "calibration")
        network.say_figures(model, report, data, asked.threads)


def _search_front(asked: Options, path: str | pathlib.Path) -> None:
    """Writes the front, and copies the file chosen by the budget to `path`."""
    from keras_resnets import quantization
    from keras_resnets.cli.printing import tables
    from keras_resnets.io import files
    from keras_resnets.io import plots
    from keras_resnets.quantization.search import points

    points.check_copy(path, asked.overwrite)
    plots.check_library()
    bare = pathlib.Path(path).with_suffix("")
    folder = pathlib.Path(asked.front or bare.with_name(f"{bare.name}_front"))
    files.check_folder(folder, points.OWN, asked.overwrite)
    model, _, _ = network.build_one_class(asked, "search")
    data = quantize.labelled(asked.evaluate, model)
    chosen = calibration.choose(asked, model)
    held_out = _hold_out(asked, model, chosen)
    seconds, ratio = asked.max_latency or (None, None)
    budget = quantization.Budget(
        max_size=asked.max_size,
        max_drop=asked.max_drop,
        max_seconds=seconds,
        max_ratio=ratio,
    )
    with _Stages() as stages:
        front = quantization.find_front(
            model,
            chosen,
            held_out,
            budget,
            folder,
            asked.recipe,
            precisions=asked.allowed,
            points=asked.points or 6,
            sparse=asked.sparse,
            storage=asked.storage,
            prefer=asked.prefer,
            method=asked.method,
            percentile=asked.percentile,
            seed=asked.seed,
            io_dtype=asked.io_dtype,
            packed=asked.packed,
            overwrite=asked.overwrite,
            threads=asked.threads,
            progress=stages,
        )
    output.keep(front=points.record(front))
    say(tables.front_table(front))
    page_layers.front(front)
    with files.after_writing(folder):
        report = front.write(path, asked.overwrite)
    say(f"front        {folder}")
    network.say_export(report, "calibration")
    network.say_figures(model, report, data, asked.threads)


def _hold_out(
    asked: Options, model: "keras.Model", chosen: "CalibrationSet"
) -> "Labelled":
    """Returns the held-out labelled images, by which the search chooses."""
    from keras_resnets import quantization
    from keras_resnets.images import labels

    is_gated = asked.max_drop is not None or not asked.has_front
    if is_gated:
        _check_room(asked, chosen, _left(chosen))
    names = labels.class_names(model.output_shape[-1], model.labels)
    held_out = quantization.hold_out(
        asked.data, model.preprocessing, chosen, asked.held_out, names
    )
    if is_gated:
        _check_room(asked, chosen, len(held_out.labels))
    say(
        f"held out     {len(held_out.labels):,} other labelled training images of "
        f"{pathlib.Path(asked.data).name} to choose by"
    )
    network.say_notes(held_out.notes)
    return held_out


def _left(chosen: "CalibrationSet") -> int:
    """Returns the number of images that the calibration does not use."""
    return (chosen.available or 0) - (chosen.taken or 0)


def _find(
    asked: Options, model: "keras.Model", chosen: "CalibrationSet", held_out: "Labelled"
) -> "Mix":
    from keras_resnets import quantization

    with _Stages() as stages:
        return quantization.find_mix(
            model,
            chosen,
            held_out,
            _drop_of(asked),
            asked.recipe,
            precisions=asked.allowed,
            method=asked.method,
            percentile=asked.percentile,
            seed=asked.seed,
            io_dtype=asked.io_dtype,
            threads=asked.threads,
            progress=stages,
        )


def _drop_of(asked: Options) -> float:
    """Returns the points of top-1 that one mix may lose."""
    return _DROP if asked.max_drop is None else asked.max_drop


def _check_room(asked: Options, chosen: "CalibrationSet", left: int) -> None:
    """Raises `InvalidArgument` if too few images are left for the held-out part.

    Args:
        asked: the `Options`.
        chosen: the `CalibrationSet`.
        left: labelled images outside of it.
    """
    from keras_resnets.images import calibration_checks
    from keras_resnets.quantization.search import accuracy_gate

    drop = _drop_of(asked)
    needed = accuracy_gate.fewest_for(drop)
    if min(left, asked.held_out) >= needed:
        return
    if left >= needed:
        advice = f"give --held-out {needed:,} or more; got {asked.held_out:,}"
    else:
        everything = (chosen.taken or 0) + left
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
    """A progress bar for each stage of the search."""

    def __init__(self) -> None:
        self._stage: str | None = None
        self._bar: ProgressBar | None = None

    def __call__(self, stage: str, done: float, total: float) -> None:
        if stage != self._stage or self._bar is None:
            self.close()
            unit = "layers" if stage == "layers" else f"images: {stage}"
            self._stage, self._bar = stage, ProgressBar(total, unit)
        self._bar(done)

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
