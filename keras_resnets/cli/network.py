"""What several commands share: the network's options, and saying what goes on."""

import dataclasses
import pathlib
import warnings

from keras_resnets.cli import options
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.errors import printable
from keras_resnets.errors import shown
from keras_resnets.fields import read_settings
from keras_resnets.networks.architecture import AXES

# Of a line; a passport as JSON may have a name for each of 20,000 classes.
_LONGEST = 100_000
# What --weights takes, for --help.
WEIGHTS = (
    "file of weights, imagenet, cifar10, cifar100, or a tag of keras-resnets weights "
    "MODEL"
)
# Axes that have an option of their own.
_ELSEWHERE = {
    "classes": "use --classes N",
    "input_size": "use --input-size PIXELS",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A variant and what is changed of it, as a command line names it.

    Attributes:
        model: name of the variant.
        weights: see `WEIGHTS`; None for random values.
        classes: number of classes; None for that of the weights, or the variant's.
        input_size: as it was typed; see `size_of`.
        set: axes, each as it was typed; see `axes_of`.

    Raises:
        InvalidArgument: no variant, or one that cannot be so.
    """

    model: str
    weights: str | None
    classes: int | None
    input_size: str | None
    set: tuple[str, ...]

    def __post_init__(self):
        find(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """A file to write, as a command line names it.

    Attributes:
        output: its path; None for the command's default.
        overwrite: whether it may stand already.
    """

    output: str | None
    overwrite: bool

    def path(self, ending):
        """Where to write: without `--output` in this folder, by the variant's name."""
        return self.output or default_output(self, ending)


def add_trained(parser):
    """Adds MODEL with its weights, and what is changed of it."""
    parser.add_argument(
        "model", metavar="MODEL", help="variant, see keras-resnets list"
    )
    group = parser.add_argument_group("network")
    group.add_argument("--weights", required=True, help=WEIGHTS)
    add_options(group)


def add_output(parser, what="file to write"):
    """Adds the group of the file that is written, and returns it."""
    group = parser.add_argument_group("output")
    group.add_argument("--output", metavar="FILE", help=what)
    group.add_argument("--overwrite", action="store_true", help="replace the file")
    return group


def add_options(parser):
    """Adds what chooses a variant's size, classes and axes."""
    parser.add_argument("--classes", type=options.CLASSES, help="number of classes")
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
        "--batch", default=default, type=options.batch, help="number, or dynamic"
    )


def add_packing(parser):
    """Adds the switch of what `packing` does."""
    parser.add_argument(
        "--unpacked",
        dest="packed",
        action="store_false",
        help="int8 convolutions as the network has them, for microcontrollers",
    )


def default_output(asked, ending):
    """Where to write without `--output`: the variant's name, here."""
    from keras_resnets.models import registry

    return pathlib.Path(f"{registry.canonical_name(asked.model)}{ending}")


def find(asked):
    """(architecture, (height, width), classes) that the options ask for."""
    from keras_resnets.models import registry
    from keras_resnets.networks import extent

    architecture = registry.get_architecture(asked.model, **axes_of(asked.set))
    size = (architecture.input_size,) * 2
    if asked.input_size is not None:
        size = size_of(asked.input_size)
    classes = architecture.classes if asked.classes is None else asked.classes
    extent.check_extent(architecture, classes=classes)
    batch = getattr(asked, "batch", None)
    extent.check_sides(architecture, size, batch if isinstance(batch, int) else 1)
    return architecture, size, classes


def build(asked, strict=False, new_head=False, head_needed=True, axes=None, **options):
    """(model, its architecture, the opened weights) that the options ask for.

    Classes and size that no option gives are those of the weights.

    Args:
        asked: with `model`, `weights` and what `add_options` adds.
        strict: whether fitted channels are an error, not a note.
        new_head: whether a classifier may have random values because it is trained.
        head_needed: whether the classifier is a part of what is made.
        axes: of the architecture, where `--set` says nothing of them.
        **options: of `create_model`.
    """
    import keras

    from keras_resnets.models import creation
    from keras_resnets.weights.assign import NewChannels
    from keras_resnets.weights.assign import NewHead

    architecture, size, _ = find(asked)
    # Whatever keras.json says: images and exported files have their channels last.
    keras.config.set_image_data_format("channels_last")
    if asked.input_size is not None:
        options["input_shape"] = (*size, 3)
    keras.utils.set_random_seed(getattr(asked, "seed", 0))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        found = creation.create_described(
            asked.model,
            asked.weights,
            {**(axes or {}), **axes_of(asked.set)},
            classes=asked.classes,
            new_head=new_head,
            head_needed=head_needed,
            **options,
        )
    for note in notes:
        if not issubclass(note.category, UserWarning):
            continue
        if not head_needed and note.category is NewHead:
            continue
        if strict and note.category in (NewHead, NewChannels):
            raise WeightsError(str(note.message))
        say(f"note: {note.message}")
    if asked.input_size is None:
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
    from keras_resnets.images import evaluation
    from keras_resnets.images import labels

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
    from keras_resnets.quantization import accuracy
    from keras_resnets.system.progress import ProgressBar

    bar = ProgressBar(len(data.labels), "images")
    found = accuracy.compare(model, report.path, data, threads, bar, logits)
    bar.close()
    rmse = "not measured" if found.rmse is None else f"{found.rmse:.4f}"
    say(
        f"measured     {found.count:,} images: top-1 {found.file_top1:.2%} of "
        f"{found.model_top1:.2%}, agreement {found.agreement:.2%}, logit RMSE {rmse}"
    )


def say_notes(notes):
    """Prints lines about data that were opened."""
    for note in notes:
        say(f"note: {note}")


def size_of(text):
    """(height, width) that `--input-size` asks for."""
    words = text.lower().split("x")
    try:
        sides = [AXES["input_size"].read("", word) for word in words[:3]]
    except InvalidArgument:
        sides = ()
    if len(sides) not in (1, 2):
        raise InvalidArgument(
            "--input-size must be a number of pixels from 1 to 65,535, or HEIGHTxWIDTH; "
            f"got {shown(text)}"
        )
    return (sides[0], sides[-1])


def axes_of(settings):
    """The axes that `--set` gives, by name."""
    return read_settings(settings, AXES, "--set", "AXIS=VALUE", _ELSEWHERE)


def say(text):
    """Prints at once, for what takes long; nothing in it that a terminal would obey."""
    lines = (printable(line, _LONGEST) for line in text.split("\n"))
    print("\n".join(lines), flush=True)
