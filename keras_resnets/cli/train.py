"""`keras-resnets train`: pictures and a recipe to a trained network in a folder."""

import contextlib
import shlex
import sys
import warnings

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.cli.network import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import TrainingNote
from keras_resnets.errors import check_choice
from keras_resnets.fields import read_settings
from keras_resnets.images.files import skipped_note
from keras_resnets.system.quiet import native_logs_hidden

# Fields that have an option of their own, or several.
_ELSEWHERE = {
    "classes": "use --classes N",
    "augmentation": "give its fields by their own names: --change mixup=0.2",
    "margin": "a later stage must win a paired test now: --change significance=0.01 is "
    "stricter, 1 keeps the highest accuracy",
}
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def add_to(commands):
    """Adds the command to the parser's sub-commands."""
    parser = commands.add_parser("train", help="train or fine-tune a network")
    parser.add_argument("model", metavar="MODEL")
    _add_training(parser)
    _add_devices(parser)
    parser.add_argument("--seed", type=options.SEED, default=0)
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same numbers in every run on the same machine; slower",
    )
    parser.add_argument(
        "--workers", type=options.whole(1, 256), default=2, help="that read pictures"
    )
    parser.add_argument(
        "--save-seconds",
        type=options.number(0, 1e9),
        default=300.0,
        help="between two states",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write its logs too")
    parser.add_argument(
        "--quiet", action="store_true", help="one line an epoch, no progress bar"
    )
    network.add_options(parser)
    parser.set_defaults(run=_train)


def _add_training(parser):
    """What is trained on what, and how."""
    parser.add_argument(
        "--data",
        required=True,
        help=".npz, folder with a sub-folder a class, folder of TFRecords, tfds:NAME, "
        "or cifar10, cifar100, mnist, fashion_mnist",
    )
    parser.add_argument("--recipe", required=True, help="a name; --recipe list tells")
    parser.add_argument("--output", required=True, metavar="RUN", help="folder to make")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run there; with more --epochs it is extended",
    )
    parser.add_argument("--weights", help=f"to begin with: {network.WEIGHTS}")
    parser.add_argument("--epochs", type=options.EPOCHS, help="default: the recipe's")
    parser.add_argument(
        "--batch-size", type=options.BATCH_SIZE, help="pictures a step, on all devices"
    )
    parser.add_argument(
        "--validation",
        type=options.number(0, 1, below=True),
        help="share of the training pictures to hold out",
    )
    parser.add_argument(
        "--labels",
        help="names of the classes in their order: cifar10, imagenet, or cat,dog,...",
    )
    parser.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change the recipe: --change mixup=0.2 --change learning_rate=0.05",
    )
    parser.add_argument(
        "--class-weight",
        metavar="balanced|FILE",
        help="what an image of each class counts in the loss: all classes alike, or as "
        "a JSON or CSV file of class and weight says",
    )
    parser.add_argument(
        "--sampler",
        default="shuffled",
        help="shuffled (default), or balanced: as many images of each class an epoch",
    )
    parser.add_argument("--precision", default="auto", help=", ".join(PRECISIONS))
    parser.add_argument("--teacher", help="network to distil from")
    parser.add_argument("--teacher-weights", help=network.WEIGHTS)


def _add_devices(parser):
    """Several of them, on one machine or more."""
    parser.add_argument("--devices", help="how many, such as 2, or all")
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0, where several machines train together (docs/distributed.md)",
    )
    parser.add_argument(
        "--processes",
        type=options.whole(1, 65_536),
        default=1,
        help="how many there are",
    )
    parser.add_argument(
        "--process",
        type=options.whole(0, 65_535),
        default=0,
        help="which this is, from 0",
    )


def _train(arguments):
    from keras_resnets.training import recipes

    if arguments.recipe == "list":
        raise InvalidArgument(f"recipes are {', '.join(recipes.list_recipes())}")
    recipe = _recipe(arguments)
    check_choice("--precision", arguments.precision, PRECISIONS)
    network.find(arguments)
    with contextlib.ExitStack() as stack:
        stack.enter_context(native_logs_hidden())
        from keras_resnets.training import data
        from keras_resnets.training import devices

        if arguments.coordinator:
            devices.connect(
                arguments.coordinator, arguments.processes, arguments.process
            )
        opened = data.open_dataset(
            arguments.data,
            arguments.validation,
            arguments.seed,
            _names(arguments) or arguments.classes,
        )
        precision = arguments.precision
        if precision == "auto":
            precision = devices.safe_precision()
        stack.enter_context(devices.use(arguments.devices, arguments.deterministic))
        model = _build(arguments, recipe, opened, precision)
        _announce(arguments, model, opened, recipe, precision)
        stack.enter_context(notes_said())
        run = _run(arguments, model, opened, recipe)
    conclude(run, recipe, opened)


@contextlib.contextmanager
def notes_said():
    """The notes of a training as lines, when they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", TrainingNote)
        show = warnings.showwarning

        def tell(message, category, *rest, **more):
            if issubclass(category, TrainingNote):
                say(f"note: {message}")
            else:
                show(message, category, *rest, **more)

        warnings.showwarning = tell
        yield


def _names(arguments):
    """(id, name) of each class, or None for what the data say."""
    from keras_resnets.images import labels

    return None if arguments.labels is None else labels.typed(arguments.labels)


def _recipe(arguments):
    from keras_resnets.training import recipes

    changes = read_settings(
        arguments.change,
        {**recipes.FIELDS, **recipes.AUGMENTATION_FIELDS},
        "--change",
        "FIELD=VALUE",
        _ELSEWHERE,
    )
    if arguments.epochs is not None:
        changes["epochs"] = arguments.epochs
    return recipes.get_recipe(arguments.recipe, **changes)


def _build(arguments, recipe, opened, precision):
    """The network that is trained, with a class for each of the data's."""
    classes = len(opened.classes)
    if arguments.classes not in (None, classes):
        raise InvalidArgument(
            f"--classes must be the {classes} of {opened.name}, or be left out; got "
            f"{arguments.classes}"
        )
    arguments.classes = classes
    if arguments.input_size is None and recipe.input_size:
        arguments.input_size = str(recipe.input_size)
    model, _, _ = network.build(
        arguments,
        new_head=True,
        axes=recipe.axes,
        classifier_activation=None,
        dtype=precision,
    )
    return model


def _teacher(arguments, classes):
    if not arguments.teacher:
        return None
    from keras_resnets.models import creation

    if not arguments.teacher_weights:
        raise InvalidArgument("a teacher must be trained: give --teacher-weights")
    teacher = creation.create_model(
        arguments.teacher,
        weights=arguments.teacher_weights,
        classifier_activation=None,
        # The student's size is not always the one that the teacher was trained at.
        input_shape=(None, None, 3),
        name="teacher",
    )
    found = teacher.output_shape[-1]
    if found != classes:
        raise InvalidArgument(
            f"a teacher must have the {classes} classes of the data; "
            f"{arguments.teacher_weights} has {found} classes"
        )
    return teacher


def _announce(arguments, model, opened, recipe, precision):
    held_out = opened.validation.count if opened.validation else 0
    batch_size = arguments.batch_size or recipe.batch_size
    say(
        f"{model.name}: {model.count_params():,} parameters, {len(opened.classes)} "
        f"classes, {precision}\n"
        f"{opened.name}: {opened.train.count:,} pictures to train on, {held_out:,} held "
        f"out\n"
        f"{arguments.recipe}: {_length(recipe)} of "
        f"{opened.train.count // batch_size} steps of {batch_size}"
    )
    skipped = opened.skipped
    network.say_notes([*opened.notes, *([skipped_note(skipped)] if skipped else [])])


def _length(recipe):
    words = f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    frozen = min(recipe.frozen_epochs, recipe.epochs)
    return f"{words} (the first {frozen} the classifier alone)" if frozen else words


def _run(arguments, model, opened, recipe):
    from keras_resnets.training.session import train

    verbose = 2 if arguments.quiet or not sys.stdout.isatty() else 1
    return train(
        model,
        opened,
        recipe,
        arguments.output,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        teacher=_teacher(arguments, len(opened.classes)),
        class_weight=arguments.class_weight,
        sampler=arguments.sampler,
        resume=arguments.resume,
        workers=arguments.workers,
        save_seconds=arguments.save_seconds,
        tensorboard=arguments.tensorboard,
        verbose=verbose,
        command=shlex.join(["keras-resnets", *sys.argv[1:]]),
        tell=lambda line: network.say_notes([line]),
    )


def conclude(run, recipe, opened):
    """Says what came of a `Run`."""
    from keras_resnets.training import best_weights

    figures = run.figures
    if "kept" in figures:
        say(best_weights.sentence(recipe, figures, opened.validation.count))
    elif "best_epoch" in figures:
        say(
            f"best validation accuracy {figures['best_val_accuracy']:.2%}, epoch "
            f"{figures['best_epoch']}"
        )
    if "test_accuracy" in figures:
        say(
            f"test accuracy of the {figures['test_weights']} weights "
            f"{figures['test_accuracy']:.2%}"
        )
    say(f"wrote {run.folder.path} in {figures['seconds']:,.0f} s")
