"""`keras-resnets qat`: quantization-aware training, and the TFLite file."""

import dataclasses
import functools
import pathlib
import shlex
import sys
import typing

from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments import tuning
from keras_resnets.cli.commands import quantize
from keras_resnets.cli.commands import train
from keras_resnets.cli.commands import training_output
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import recipes
from keras_resnets.quantization import plan as plans
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.export.landing import ExportReport


ENGINES = ("native", "tfmot")
_RECIPES = tuple(name for name, row in recipes.RECIPES.items() if row.trainable)
# The only recipe that tensorflow-model-optimization trains.
_OF_TFMOT = "static_wi8_ai8"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network, network.Output, tuning.Tuning, quantize.PlanOptions):
    """The options of `keras-resnets qat`; see its help."""

    data: str
    engine: str
    count: int
    run_folder: str | None
    resume: bool
    validation: float | None
    io_dtype: str
    packed: bool
    sparse: bool
    storage: str | None
    prefer: str | None
    threads: int
    evaluate: str | None

    @functools.cached_property
    def precision_plan(self) -> plans.PrecisionPlan:
        """The `PrecisionPlan`: from the file of `--plan`, or of a recipe."""
        plan = self.read_plan()
        return plan.with_rounding(self.rounding, self.rounding_steps)

    @property
    def ending(self) -> str:
        """The end of the default path."""
        return f"{quantize.plan_word(self.precision_plan)}_qat.tflite"

    def check_free(self) -> None:
        """Raises `InvalidArgument` for a file or a run that exists."""
        super().check_free()
        if self.engine == "native":
            from keras_resnets.training import run_folder

            run_folder.RunFolder(_run_of(self, self.path())).check(self.resume)

    def __post_init__(self) -> None:
        super().__post_init__()
        plan = self.precision_plan.for_training()
        plan.check_storage(plan.stored(self.storage, self.prefer))
        if self.engine == "native":
            return
        if plan.recipe.name != _OF_TFMOT or plan.layers:
            raise InvalidArgument(
                f"--engine tfmot supports only the recipe {_OF_TFMOT}; for "
                f"{self.recipe or self.plan} leave out --engine"
            )
        native = {
            "--rounding": self.rounding is not None,
            "--rounding-steps": self.rounding_steps is not None,
            "--run": self.run_folder is not None,
            "--resume": self.resume,
            "--validation": self.validation is not None,
            "--sparse": self.sparse,
        }
        for option in (name for name, is_set in native.items() if is_set):
            raise InvalidArgument(f"{option} cannot be used with --engine tfmot")


def add_to(commands: parsing.Commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("qat", usage=network.USAGE)
    network.add_trained(parser)
    group = parser.add_argument_group("quantization")
    quantize.add_recipe(group, _RECIPES, default=None)
    quantize.add_plan(group)
    quantize.add_rounding(group)
    group.add_argument(
        "--engine",
        default="native",
        choices=ENGINES,
        help="native: Keras 3, distilled from the float network; tfmot: "
        "tensorflow-model-optimization (native)",
    )
    group.add_argument(
        "--count",
        type=options.COUNT,
        default=500,
        help="training images for the initial ranges (500)",
    )
    quantize.add_storage(group)
    _add_run(tuning.add_options(parser, epochs="native 3, tfmot 1"))
    file = network.add_output(parser, "default: MODEL_RECIPE_qat.tflite")
    quantize.add_file(file)
    quantize.add_sparse(file)
    quantize.add_comparison(parser)
    options.set_command(
        parser,
        Options,
        _qat,
        facts={**train.FACTS, **network.FACTS},
        examples=(
            "resnet20 --weights cifar10 --data cifar10.npz --recipe static_wi4_ai8",
            "run/ --data photos/ --epochs 1 --evaluate photos/",
        ),
        report=True,
    )


def _add_run(group: parsing.Group) -> None:
    """Adds the options for the run of the native training."""
    group.add_argument(
        "--run",
        dest="run_folder",
        metavar="FOLDER",
        help="run folder of the training; default: MODEL_RECIPE_qat",
    )
    group.add_argument(
        "--resume", action="store_true", help="continue the training in it"
    )
    options.add_validation(group)


def _qat(asked: Options) -> None:
    with native_logs_hidden():
        from keras_resnets.export.tflite import convert as tflite
        from keras_resnets.quantization import plan_files

        path = asked.path()
        tflite.check_output(path, asked.overwrite)
        plan_files.check_place(path, asked.overwrite, asked.precision_plan)
        model, _, _ = network.build_one_class(asked, "qat")
        data = quantize.labelled(asked.evaluate, model)
        make = _natively if asked.engine == "native" else _by_tfmot
        report = make(asked, model, path)
        network.say_export(report, "training")
        network.say_figures(model, report, data, asked.threads)


def _run_of(asked: Options, path: str | pathlib.Path) -> str | pathlib.Path:
    """Returns the run folder of the training; by default it is beside the file."""
    return asked.run_folder or pathlib.Path(path).with_suffix("")


def _natively(
    asked: Options, model: "keras.Model", path: str | pathlib.Path
) -> "ExportReport":
    """Trains in Keras 3; returns the `ExportReport` of the file."""
    from keras_resnets import quantization
    from keras_resnets.quantization.qat import training
    from keras_resnets.training import data as training_data
    from keras_resnets.training import recipes as training_recipes
    from keras_resnets.training.compatibility import preprocessing_for

    changes = {
        "epochs": asked.epochs,
        "learning_rate": asked.learning_rate,
        "flip": False if asked.no_mirror else None,
        "crop": "pad" if asked.crop else None,
        "padding": asked.crop or None,
    }
    recipe = training_recipes.get_recipe(
        "qat", **{name: value for name, value in changes.items() if value is not None}
    )
    plan = asked.precision_plan
    channels = preprocessing_for(model).channels
    opened = training_data.open_dataset(
        asked.data, asked.validation, asked.seed, channels=channels
    )
    network.say_notes(opened.notes)
    folder = _run_of(asked, path)
    aware, run = training.train_aware(
        model,
        opened,
        folder,
        plan,
        recipe,
        calibration=asked.count,
        seed=asked.seed,
        batch_size=asked.batch_size,
        resume=asked.resume,
        verbose=training_output.verbosity(),
        command=shlex.join(["keras-resnets", *sys.argv[1:]]),
        tell=lambda line: network.say_notes([line]),
    )
    training_output.conclude(run, recipe, opened, has_teacher=True)
    return quantization.to_tflite(
        aware,
        path,
        overwrite=asked.overwrite,
        threads=asked.threads,
        plan=plan,
        io_dtype=asked.io_dtype,
        packed=asked.packed,
        sparse=asked.sparse,
        storage=asked.storage,
        prefer=asked.prefer,
    )


def _by_tfmot(
    asked: Options, model: "keras.Model", path: str | pathlib.Path
) -> "ExportReport":
    """Trains by tensorflow-model-optimization; returns the file's `ExportReport`."""
    from keras_resnets import tfmot

    settings = asked.for_tfmot()
    data = tuning.training_data(asked, model)
    with tuning.Bar(data, settings) as bar:
        return tfmot.tfmot_quantize_aware(
            model,
            path,
            data,
            settings,
            calibration=asked.count,
            overwrite=asked.overwrite,
            threads=asked.threads,
            io_dtype=asked.io_dtype,
            packed=asked.packed,
            progress=bar.progress,
            tell=bar.tell,
        )
