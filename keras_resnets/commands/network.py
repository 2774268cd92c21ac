"""What several commands share: the network's options, and saying what goes on."""

import argparse
import ast
import warnings

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import check_positive_int

# What --weights takes, for --help.
WEIGHTS = (
    "file of weights, imagenet, cifar10, cifar100, or a tag of keras-resnets weights "
    "MODEL"
)


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


def add_batch(parser, default=1):
    """Adds `--batch`, a number or `dynamic`."""
    parser.add_argument(
        "--batch", default=default, type=_batch, help="number, or dynamic"
    )


def check_batch(batch):
    """Raises `InvalidArgument` unless `--batch` is at least 1, or dynamic."""
    if batch != "dynamic":
        check_positive_int("--batch", batch)


def _batch(text):
    if text == "dynamic" or text.isdigit():
        return text if text == "dynamic" else int(text)
    raise argparse.ArgumentTypeError(
        f"must be a whole number >= 1 or dynamic; got {text!r}"
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
    size = (architecture.input_size,) * 2
    if arguments.input_size is not None:
        size = size_of(arguments.input_size)
    classes = architecture.classes if arguments.classes is None else arguments.classes
    return architecture, size, classes


def build(arguments, strict=False, new_head=False, axes=None, **options):
    """(model, its architecture, the opened weights) that the options ask for.

    Classes and size that no option gives are those of the weights.

    Args:
        arguments: with `model`, `weights` and what `add_options` adds.
        strict: whether fitted channels are an error, not a note.
        new_head: whether a classifier may have random values because it is trained.
        axes: of the architecture, where `--set` says nothing of them.
        **options: of `create_model`.
    """
    import keras

    from keras_resnets import registry
    from keras_resnets.weights.assign import NewChannels
    from keras_resnets.weights.assign import NewHead

    architecture, size, _ = find(arguments)
    # Whatever keras.json says: images and exported files have their channels last.
    keras.config.set_image_data_format("channels_last")
    if arguments.input_size is not None:
        options["input_shape"] = (*size, 3)
    keras.utils.set_random_seed(getattr(arguments, "seed", 0))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        found = registry.create_described(
            arguments.model,
            arguments.weights,
            {**(axes or {}), **axes_of(arguments.set)},
            classes=arguments.classes,
            new_head=new_head,
            **options,
        )
    for note in notes:
        if not issubclass(note.category, UserWarning):
            continue
        if strict and note.category in (NewHead, NewChannels):
            raise WeightsError(str(note.message))
        say(f"note: {note.message}")
    if arguments.input_size is None:
        _note_size(found[0], architecture, found[2])
    return found


def _note_size(model, architecture, source):
    """Says where the size is that of the weights and not the variant's."""
    size = model.preprocessing.size
    if source is not None and size != (architecture.input_size,) * 2:
        say(
            f"note: {source.origin} is for images of {size[0]} x {size[1]}, and so is "
            "the network now (--input-size gives another size)"
        )


def open_labelled(source, model, count=None, seed=0, part="test"):
    """Labelled images for a model, as every command takes them.

    Says what was left out or taken for granted.

    Args:
        source: what `--data` or `--evaluate` names, see `evaluation.open_data`.
        model: the network, with its `preprocessing` and `labels`.
        count: how many to take, of every class the same share; None for all.
        seed: of their choice.
        part: `"test"` or `"train"`.
    """
    from keras_resnets import evaluation
    from keras_resnets import labels

    names = labels.class_names(model.output_shape[-1], model.labels)
    data = evaluation.open_data(source, model.preprocessing, count, names, part, seed)
    say_notes(data.notes)
    return data


def say_figures(model, report, data, threads, logits=False):
    """Runs a file and its model on labelled images, and prints how they compare.

    Args:
        model: the network.
        report: the `ExportReport` of its file.
        data: an `evaluation.Labelled`.
        threads: of the file's runtime.
        logits: whether the file puts out logits.
    """
    from keras_resnets.compression import figures
    from keras_resnets.progress import ProgressBar

    bar = ProgressBar(len(data.labels), "pictures")
    found = figures.compare(model, report.path, data, threads, bar, logits)
    bar.close()
    rmse = "not measured" if found.rmse is None else f"{found.rmse:.4f}"
    say(
        f"measured     {found.count:,} pictures: top-1 {found.file_top1:.2%} of "
        f"{found.model_top1:.2%}, agreement {found.agreement:.2%}, logit RMSE {rmse}"
    )


def say_notes(notes):
    """Prints lines about data that were opened."""
    for note in notes:
        say(f"note: {note}")


def size_of(text):
    """(height, width) that `--input-size` asks for."""
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
