"""`keras-resnets train` and `keras-resnets recipes`: training by a recipe."""

import contextlib
import dataclasses
import shlex
import sys
import typing

from keras_resnets.cli.arguments import channels
from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.arguments.network import say
from keras_resnets.cli.commands import training_output
from keras_resnets.cli.pages import page_parts
from keras_resnets.cli.printing import output
from keras_resnets.errors import InvalidArgument
from keras_resnets.fields import read_settings
from keras_resnets.images.files import skipped_note
from keras_resnets.system.quiet import native_logs_hidden

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.images.datasets.split import Dataset
    from keras_resnets.training.recipes import Recipe
    from keras_resnets.training.session import Run


# Fields that other options set.
_ELSEWHERE = {
    "classes": "use --classes N",
    "augmentation": "give its fields by their own names: --change mixup=0.2",
    "margin": "a paired test replaced it: --change significance=0.01 is stricter, 1 keeps "
    "the highest accuracy",
}
# Keys of --json.
FACTS = {
    "run": "the run folder",
    "figures": "best_val_accuracy, best_epoch, test_accuracy, test_weights, seconds, ... "
    "if the data has such images; with --multi-label, mean_average_precision instead of "
    "accuracy",
    "history": "one object of figures per epoch",
}
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(network.Network):
    """The options of `keras-resnets train`; see its help."""

    data: str
    recipe: str
    output: str
    resume: bool
    epochs: int | None
    batch_size: int | None
    validation: float | None
    labels: str | None
    change: tuple[str, ...]
    multi_label: bool
    class_weight: str | None
    sampler: str
    precision: str
    teacher: str | None
    teacher_weights: str | None
    devices: str | None
    coordinator: str | None
    processes: int
    process: int
    seed: int
    deterministic: bool
    workers: int
    save_seconds: float
    tensorboard: bool

    def __post_init__(self) -> None:
        from keras_resnets.training import recipes

        if self.recipe == "list":
            raise InvalidArgument(
                "use keras-resnets recipes to list the recipes: "
                f"{', '.join(recipes.list_recipes())}"
            )
        if self.is_own:
            raise InvalidArgument(
                f"train builds a variant; got {self.model}: use "
                "keras_resnets.training.train(model, ...) for a model of your own"
            )
        self.training_recipe()
        if self.teacher and self.teacher_and_weights()[1] is None:
            raise InvalidArgument(
                "--teacher requires --teacher-weights, unless it is a run folder"
            )
        super().__post_init__()

    def check_free(self) -> None:
        """Raises `InvalidArgument` for a run that exists, or is missing to resume."""
        if self.process == 0:
            from keras_resnets.training import run_folder

            run_folder.RunFolder(self.output).check(self.resume)

    def teacher_and_weights(self) -> tuple[str, str | None]:
        """Returns the variant of the teacher and its weights."""
        return model_argument.network_and_weights(self.teacher, self.teacher_weights)

    def training_recipe(self) -> "Recipe":
        """Returns the `Recipe` with its changes."""
        from keras_resnets.training import recipes

        fields = {**recipes.FIELDS, **recipes.AUGMENTATION_FIELDS}
        changes = read_settings(
            self.change, fields, "--change", "FIELD=VALUE", _ELSEWHERE
        )
        if self.epochs is not None:
            changes["epochs"] = self.epochs
        return recipes.get_recipe(self.recipe, **changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The options of `keras-resnets recipes`."""

    name: str | None


def add_to(commands: parsing.Commands) -> None:
    """Adds both commands."""
    parser = commands.add_parser(
        "train",
        usage="%(prog)s MODEL --data DATA --recipe RECIPE --output RUN [options]",
    )
    model_argument.add_model(parser)
    parser.set_defaults(mode=None)
    _add_network(parser.add_argument_group("network"))
    _add_data(parser.add_argument_group("data"))
    _add_recipe(parser.add_argument_group("recipe"))
    _add_run(parser.add_argument_group("run"))
    _add_devices(parser.add_argument_group("several devices"))
    options.set_command(
        parser,
        Options,
        _train,
        facts=FACTS,
        examples=(
            "resnet20 --data cifar10 --recipe he2015_cifar --output run",
            "resnet50 --weights imagenet --data photos/ --recipe finetune --output run",
        ),
        report=True,
    )

    listing = commands.add_parser("recipes")
    listing.add_argument(
        "name",
        nargs="?",
        metavar="RECIPE",
        help="show all fields of this recipe; default: list all recipes",
    )
    options.set_command(
        listing,
        Listing,
        _recipes,
        facts={"recipes": "an object with the fields of each recipe, by name"},
        examples=("", "finetune"),
    )


def _add_network(group: parsing.Group) -> None:
    group.add_argument("--weights", help=f"initial weights: {network.WEIGHTS}")
    network.add_options(group)
    group.add_argument(
        "--teacher", metavar="MODEL", help="network to distil from, or its run folder"
    )
    group.add_argument(
        "--teacher-weights",
        metavar="WEIGHTS",
        help="weights of the teacher, as for --weights",
    )


def _add_data(group: parsing.Group) -> None:
    options.add_labelled(group)
    options.add_validation(group)
    group.add_argument(
        "--labels",
        help="names of the classes in their order: cifar10, imagenet, or cat,dog,...",
    )
    group.add_argument(
        "--multi-label",
        action="store_true",
        help="images have any number of labels; --data is a CSV file beside its images, "
        "a folder with one, or an .npz with y of 0 and 1",
    )
    group.add_argument(
        "--sampler",
        default="shuffled",
        choices=("shuffled", "balanced"),
        help="balanced: equally many images of each class per epoch (shuffled)",
    )
    group.add_argument(
        "--class-weight",
        metavar="balanced|FILE",
        help="weight of each class in the loss: balanced, or a JSON or CSV file of class "
        "and weight",
    )
    group.add_argument(
        "--workers",
        type=options.whole(1, 256),
        default=2,
        help="threads that read images (2)",
    )


def _add_recipe(group: parsing.Group) -> None:
    group.add_argument(
        "--recipe", required=True, help="name of a recipe, see keras-resnets recipes"
    )
    group.add_argument("--epochs", type=options.EPOCHS, help="default: the recipe's")
    group.add_argument(
        "--batch-size",
        type=options.BATCH_SIZE,
        help="images per step, on all devices; default: the recipe's",
    )
    group.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change the recipe: --change mixup=0.2 --change learning_rate=0.05",
    )
    group.add_argument(
        "--precision", default="auto", choices=PRECISIONS, help="dtype policy (auto)"
    )


def _add_run(group: parsing.Group) -> None:
    group.add_argument("--output", required=True, metavar="RUN", help="run folder")
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in RUN; a larger --epochs extends it",
    )
    group.add_argument(
        "--save-seconds",
        type=options.number(0, 1e9),
        default=300.0,
        help="seconds between two saved states (300)",
    )
    group.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard logs"
    )
    options.add_seed(group, "random seed (0)")
    group.add_argument(
        "--deterministic",
        action="store_true",
        help="repeatable results on the same machine; slower",
    )


def _add_devices(group: parsing.Group) -> None:
    """Adds the options for several devices, on one machine or more."""
    group.add_argument("--devices", help="number of devices, or all; default: one")
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of process 0, for training on several machines",
    )
    group.add_argument(
        "--processes",
        type=options.whole(1, 65_536),
        default=1,
        help="number of processes (1)",
    )
    group.add_argument(
        "--process",
        type=options.whole(0, 65_535),
        default=0,
        help="index of this process, from 0",
    )


def _recipes(asked: Listing) -> None:
    from keras_resnets.cli.printing import tables
    from keras_resnets.training import recipes

    names = recipes.list_recipes() if asked.name is None else [asked.name]
    chosen = {name: recipes.get_recipe(name) for name in names}
    output.keep(recipes=chosen)
    if asked.name is None:
        say(tables.recipe_table(chosen))
    else:
        say(tables.recipe_text(chosen[asked.name]))


def _train(asked: Options) -> None:
    recipe = asked.training_recipe()
    with contextlib.ExitStack() as stack:
        stack.enter_context(native_logs_hidden())
        from keras_resnets.training import data
        from keras_resnets.training import devices

        devices.check_backend()
        if asked.coordinator:
            devices.connect(asked.coordinator, asked.processes, asked.process)
        opened = data.open_dataset(
            asked.data,
            asked.validation,
            asked.seed,
            _names(asked) or asked.classes,
            multi_label=asked.multi_label,
            channels=channels.required(asked),
        )
        precision = asked.precision
        if precision == "auto":
            precision = devices.safe_precision()
        stack.enter_context(devices.use(asked.devices, asked.deterministic))
        model = _build(asked, recipe, opened, precision)
        _announce(asked, model, opened, recipe, precision)
        run = _run(asked, model, opened, recipe)
        page_parts.images(model)
    training_output.conclude(run, recipe, opened, has_teacher=bool(asked.teacher))


def _names(asked: Options) -> tuple[tuple[str, ...], ...] | None:
    """Returns (id, name) of each class by `--labels`; None to take them from the data."""
    from keras_resnets.images import labels

    return None if asked.labels is None else labels.typed(asked.labels)


def _build(
    asked: Options, recipe: "Recipe", opened: "Dataset", precision: str
) -> "keras.Model":
    """Builds the network to train, with the classes of the data."""
    classes = len(opened.classes)
    if asked.classes not in (None, classes):
        raise InvalidArgument(
            f"--classes must be {classes}, the number of classes of {opened.name}; got "
            f"{asked.classes}"
        )
    size = asked.input_size
    if size is None and recipe.input_size:
        size = str(recipe.input_size)
    depth = asked.channels or opened.train.images.channels
    model, _, _ = network.build(
        dataclasses.replace(asked, classes=classes, input_size=size, channels=depth),
        new_head=True,
        axes=recipe.axes,
        classifier_activation=None,
        dtype=precision,
    )
    return model


def _teacher(asked: Options, classes: int, depth: int) -> "keras.Model | None":
    if not asked.teacher:
        return None
    from keras_resnets.models import creation

    name, weights = asked.teacher_and_weights()
    teacher = creation.create_model(
        name,
        weights=weights,
        classifier_activation=None,
        # The teacher may have been trained on images of another size.
        input_shape=(None, None, depth),
        name="teacher",
    )
    teacher_classes = teacher.output_shape[-1]
    if teacher_classes != classes:
        raise InvalidArgument(
            f"the teacher must have the {classes} classes of the data; "
            f"{weights} has {teacher_classes} classes"
        )
    return teacher


def _announce(
    asked: Options,
    model: "keras.Model",
    opened: "Dataset",
    recipe: "Recipe",
    precision: str,
) -> None:
    held_out = opened.validation.count if opened.validation else 0
    batch_size = asked.batch_size or recipe.batch_size
    steps = opened.train.count // batch_size
    # Without a step the training is refused.
    length = f"\n{asked.recipe}: {_length(recipe)} of {steps} steps of {batch_size}"
    output.note(
        f"{model.name}: {model.count_params():,} parameters, {len(opened.classes)} "
        f"classes, {precision}\n"
        f"{opened.name}: {opened.train.count:,} images to train on, {held_out:,} held "
        f"out{length * bool(steps)}"
    )
    skipped = opened.skipped
    network.say_notes([*opened.notes, *([skipped_note(skipped)] if skipped else [])])


def _length(recipe: "Recipe") -> str:
    words = f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    frozen = min(recipe.frozen_epochs, recipe.epochs)
    return f"{words} (the first {frozen} only the classifier)" if frozen else words


def _run(
    asked: Options, model: "keras.Model", opened: "Dataset", recipe: "Recipe"
) -> "Run":
    from keras_resnets.training.session import train

    return train(
        model,
        opened,
        recipe,
        asked.output,
        batch_size=asked.batch_size,
        seed=asked.seed,
        teacher=_teacher(asked, len(opened.classes), model.input_shape[-1]),
        class_weight=asked.class_weight,
        sampler=asked.sampler,
        resume=asked.resume,
        workers=asked.workers,
        save_seconds=asked.save_seconds,
        tensorboard=asked.tensorboard,
        verbose=training_output.verbosity(),
        command=shlex.join(["keras-resnets", *sys.argv[1:]]),
        tell=lambda line: network.say_notes([line]),
    )
