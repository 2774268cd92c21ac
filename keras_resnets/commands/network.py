"""What several commands share: the network's options, and saying what goes on."""

import ast
import warnings

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError

# What --weights takes, for --help.
WEIGHTS = "file of weights, imagenet, cifar10, or a tag of keras-resnets weights MODEL"


def add_options(parser):
    """Adds what chooses a variant's size, classes and axes."""
    parser.add_argument("--classes", type=int, help="number of classes")
    parser.add_argument(
        "--input-size", help="pixels: 224, or height x width as 192x256"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="AXIS=VALUE",
        help="change an axis of the architecture: --set shortcut_type=A",
    )


def add_packing(parser):
    """Adds the switch of what `tflite_packing` does."""
    parser.add_argument(
        "--unpacked",
        dest="packed",
        action="store_false",
        help="int8 convolutions as the network has them, for microcontrollers",
    )


def find(arguments):
    """(architecture, (height, width), classes) that the options ask for."""
    from keras_resnets import registry

    architecture = registry.get_architecture(arguments.model, **axes_of(arguments.set))
    size = _size(arguments.input_size, architecture.input_size)
    classes = architecture.classes if arguments.classes is None else arguments.classes
    return architecture, size, classes


def build(arguments, strict=False, axes=None, **options):
    """(model, its architecture, the opened weights) that the options ask for.

    Args:
        arguments: with `model`, `weights` and what `add_options` adds.
        strict: whether a new classifier or fitted channels are an error, not a note.
        axes: of the architecture, where `--set` says nothing of them.
        **options: of `create_model`.
    """
    import keras

    from keras_resnets import registry

    _, size, _ = find(arguments)
    keras.utils.set_random_seed(getattr(arguments, "seed", 0))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        found = registry.create_described(
            arguments.model,
            arguments.weights,
            {**(axes or {}), **axes_of(arguments.set)},
            input_shape=(*size, 3),
            classes=arguments.classes,
            **options,
        )
    for note in notes:
        if not issubclass(note.category, UserWarning):
            continue
        if strict:
            raise WeightsError(str(note.message))
        say(f"note: {note.message}")
    return found


def _size(text, default):
    if text is None:
        return (default, default)
    words = text.lower().split("x")
    if len(words) > 2 or not all(word.strip().isdigit() for word in words):
        raise InvalidArgument(
            f"--input-size must be a number of pixels or HEIGHTxWIDTH; got {text!r}"
        )
    sides = [int(word) for word in words]
    return (sides[0], sides[-1])


def axes_of(settings, rule="--set takes AXIS=VALUE"):
    """The values that an option such as `--set` gives, by name."""
    axes = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InvalidArgument(f"{rule}; got {setting!r}")
        try:
            axes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            axes[name] = value
    return axes


def say(text):
    """Prints at once, for what takes long."""
    print(text, flush=True)
