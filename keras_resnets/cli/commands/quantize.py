"""`keras-resnets quantize`: post-training quantization into a TFLite file."""

import argparse
import dataclasses
import functools
import typing
from collections.abc import Sequence

from keras_resnets.cli.arguments import calibration
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import number_formats
from keras_resnets.export import recipes
from keras_resnets.export.tflite import storage
from keras_resnets.quantization import choices
from keras_resnets.quantization import options as quantization_options
from keras_resnets.quantization import plan as plans
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.export.prepare import ExportOptions
    from keras_resnets.images.calibration import CalibrationSet
    from keras_resnets.images.evaluation import Labelled
    from keras_resnets.images.preprocessing import Preprocessing
    from keras_resnets.system.progress import ProgressBar


DEFAULT = "static_wi8_ai8"
# Former options whose jobs are commands now -> what to type instead.
_SEARCH = "keras-resnets search MODEL --weights W --data D --max-drop POINTS"
_MOVED = {
    "--sensitivity": "keras-resnets sensitivity MODEL --weights W --data D",
    "--max-drop": _SEARCH,
    "--held-out": _SEARCH,
    "--precisions": _SEARCH,
    "--plot": _SEARCH,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The options of the plan or the recipe, and of the rounding."""

    recipe: str | None
    plan: str | None
    rounding: str | None
    rounding_steps: int | None

    def read_plan(self) -> plans.PrecisionPlan:
        """Returns the plan of `--plan`, or else of `--recipe`.

        Raises:
            InvalidArgument: both are given, or --rounding-steps without learned rounding.
        """
        if self.plan is None:
            plan = plans.PrecisionPlan.of(self.recipe or DEFAULT)
        elif self.recipe is not None:
            raise InvalidArgument("a plan contains its recipe: leave out --recipe")
        else:
            plan = plans.PrecisionPlan.read(self.plan)
        rounding = self.rounding or plan.recipe.rounding
        if self.rounding_steps is not None and rounding != "learned":
            raise InvalidArgument(
                f"--rounding-steps requires --rounding learned; {plan.recipe.name} uses "
                f"--rounding {rounding}"
            )
        return plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output, calibration.Calibration, PlanOptions):
    """The options of `keras-resnets quantize`; see its help."""

    engine: str | None
    method: str | None
    percentile: float
    storage: str | None
    prefer: str | None
    io_dtype: str
    batch: int | str
    include_preprocessing: bool
    source: tuple[int, int] | None
    metadata: bool | None
    logits: bool
    heatmap: bool
    packed: bool
    sparse: bool
    threads: int
    evaluate: str | None

    @property
    def ending(self) -> str:
        """The end of the default path."""
        return f"{plan_word(self.quantization.plan)}.tflite"

    def __post_init__(self) -> None:
        super().__post_init__()
        network.check_photos(self)
        if self.heatmap and (self.logits or self.evaluate is not None):
            raise InvalidArgument(
                "--heatmap adds an output beside the probabilities: leave out --logits "
                "and --evaluate (keras-resnets evaluate takes the file)"
            )
        if self.is_calibrated and self.data is None:
            raise InvalidArgument(
                f"{self.quantization.plan.recipe.name} requires calibration images: "
                "give --data IMAGES"
            )

    @functools.cached_property
    def quantization(self) -> quantization_options.Options:
        """The options of the quantization; `--plan` names a file."""
        return quantization_options.Options.of(
            self.read_plan(),
            engine=self.engine,
            rounding=self.rounding,
            rounding_steps=self.rounding_steps,
            method=self.method,
            percentile=self.percentile,
            seed=self.seed,
            io_dtype=self.io_dtype,
            packed=self.packed,
            storage=self.storage,
            prefer=self.prefer,
            sparse=self.sparse,
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether the recipe requires calibration images."""
        recipe = self.quantization.plan.recipe
        return number_formats.find(recipe.quantize).calibrated

    def common(self, preprocessing: "Preprocessing") -> "ExportOptions":
        """Returns the options that all exporters share."""
        from keras_resnets.export.prepare import ExportOptions

        return ExportOptions(
            preprocessing=preprocessing if self.include_preprocessing else None,
            logits=self.logits,
            source=self.source,
            metadata=bool(self.metadata),
            batch=self.batch,
            overwrite=self.overwrite,
            threads=self.threads,
        )


def plan_word(plan: plans.PrecisionPlan) -> str:
    """Returns what default paths contain for a plan: `_static_wi8_ai8_mixed`."""
    return f"_{plan.recipe.name}{'_mixed' if plan.layers else ''}"


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("quantize", usage=network.USAGE)
    network.add_trained(parser)
    calibration.add_options(parser, required=False)
    add_quantization(parser.add_argument_group("quantization"))
    file = network.add_output(parser, "default: MODEL_RECIPE.tflite")
    add_file(file)
    file.add_argument("--batch", default=1, **options.BATCH)
    file.add_argument(
        "--include-preprocessing", action="store_true", help="take RGB pixels"
    )
    file.add_argument("--source", **options.SOURCE)
    file.add_argument("--metadata", **options.METADATA)
    add_sparse(file)
    file.add_argument("--logits", action="store_true", help="omit the softmax")
    network.add_heatmap(file)
    add_comparison(parser)
    for option, instead in _MOVED.items():
        nargs = 0 if option == "--sensitivity" else None
        parser.add_argument(option, action=options.Moved, instead=instead, nargs=nargs)
    options.set_command(
        parser,
        Options,
        _quantize,
        facts=network.FACTS,
        examples=(
            "resnet20 --weights cifar10 --calibration cifar10.npz --evaluate cifar10.npz",
            "run/ --calibration photos/ --recipe static_wi4_ai8",
        ),
        report=True,
    )


def add_quantization(group: parsing.Group) -> None:
    """Adds the options of the quantization."""
    add_recipe(group, tuple(recipes.RECIPES), default=None)
    add_plan(group)
    group.add_argument(
        "--engine",
        type=_engine,
        choices=choices.ENGINES,
        help="quantizer; default: the most accurate one for the recipe",
    )
    add_rounding(group)
    add_method(group)
    add_storage(group)


def add_plan(group: parsing.Group) -> None:
    """Adds `--plan`, a file with the precision of each layer."""
    group.add_argument(
        "--plan", metavar="FILE", help="precision of each layer: FILE.tflite.plan.json"
    )


def add_recipe(
    group: parsing.Group,
    names: Sequence[str],
    default: str | None = DEFAULT,
    shown: str = DEFAULT,
) -> None:
    """Adds `--recipe`.

    Args:
        group: group of options.
        names: allowed recipes.
        default: default recipe; None to see whether the option was given.
        shown: default that help shows if `default` is None.
    """
    group.add_argument(
        "--recipe",
        default=default,
        choices=names,
        metavar="NAME",
        help=f"{', '.join(names)} ({default or shown})",
    )


def add_rounding(group: parsing.Group) -> None:
    """Adds `--rounding`, the method that rounds kernels."""
    group.add_argument(
        "--rounding",
        choices=recipes.ROUNDINGS,
        help="rounding of weights; second-order: minimizes the error of layer outputs; "
        "learned: that of block outputs, slower (the recipe's)",
    )
    group.add_argument(
        "--rounding-steps",
        type=options.COUNT,
        metavar="N",
        help=f"steps per block of --rounding learned ({recipes.ROUNDING_STEPS})",
    )


def add_method(group: parsing.Group) -> None:
    """Adds `--method` and `--percentile`, which set the ranges from images."""
    group.add_argument(
        "--method",
        choices=choices.METHODS,
        help="calibration method; default: the engine's",
    )
    group.add_argument(
        "--percentile",
        type=options.number(50, 100, above=True),
        default=99.99,
        help="percentile of the method percentile (99.99)",
    )


def add_storage(group: parsing.Group) -> None:
    """Adds the options for the storage of 4-bit weights."""
    group.add_argument(
        "--storage",
        choices=storage.STORAGES,
        help="storage of 4-bit weights (fully_connected; microcontrollers: conv_int4)",
    )
    group.add_argument(
        "--prefer",
        choices=storage.PREFERENCES,
        help="latency (default): at most 5%% above int8's; size: the smallest file, "
        "inner tensors without names",
    )
    group.add_argument(
        "--int4",
        action=options.Moved,
        nargs=0,
        reason="is now the default for 4-bit weights",
        instead="use --storage conv_int4 for the former CONV_2D",
    )


def add_file(group: parsing.Group) -> None:
    """Adds the options of an integer file."""
    group.add_argument("--io-dtype", default="int8", **options.IO_DTYPE)
    group.add_argument("--unpacked", dest="packed", default=True, **options.UNPACKED)


def add_sparse(group: parsing.Group) -> None:
    """Adds `--sparse`, for the files of pruned networks."""
    group.add_argument("--sparse", default=False, **options.SPARSE)


def add_comparison(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the comparison with the network."""
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--evaluate",
        metavar="DATA",
        help="compare on all labelled images of an .npz (x_test) or folder",
    )
    options.add_threads(group, "threads of LiteRT (2)")


def _engine(text: str) -> str:
    if text == "tfmot":
        raise argparse.ArgumentTypeError(
            "tfmot trains: keras-resnets qat MODEL --weights W --data D --engine tfmot"
        )
    return text


def _quantize(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets.export.tflite import convert as tflite
        from keras_resnets.quantization import ptq

        path = asked.path()
        tflite.check_output(path, asked.overwrite)
        model, _, _ = network.build(asked)
        data = labelled(asked.evaluate, model)
        chosen = None
        if asked.is_calibrated:
            chosen = calibration.choose(asked, model, fewest=1)
        quantized = network.with_heatmap(model) if asked.heatmap else model
        common = asked.common(model.preprocessing)
        with progress_of(chosen) as bar:
            job = dataclasses.replace(asked.quantization, progress=bar)
            report = ptq.write(quantized, path, job, common, chosen)
        network.say_export(report, "calibration" if chosen else "synthetic")
        network.say_figures(model, report, data, asked.threads, asked.logits)


def progress_of(chosen: "CalibrationSet | None") -> "ProgressBar":
    """Returns the progress bar of a quantization."""
    from keras_resnets.system.progress import ProgressBar

    return ProgressBar(len(chosen.images) if chosen else 0, "images")


def labelled(source: str | None, model: "keras.Model") -> "Labelled | None":
    """Opens the labelled images of `--evaluate`; None without the option."""
    return None if source is None else network.open_labelled(source, model)
