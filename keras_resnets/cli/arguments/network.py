"""The options of the network that several commands share, and its construction."""

import argparse
import dataclasses
import pathlib
import typing
import warnings
from collections.abc import Iterable
from collections.abc import Mapping

from keras_resnets.cli.arguments import axis_values
from keras_resnets.cli.arguments import channels
from keras_resnets.cli.arguments import keras_file
from keras_resnets.cli.arguments import mode_and_labels
from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import options
from keras_resnets.cli.arguments import parsing
from keras_resnets.cli.pages import page
from keras_resnets.cli.pages import page_parts
from keras_resnets.cli.printing import output
from keras_resnets.cli.printing import output_kinds
from keras_resnets.cli.printing.output import say
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.io import files
from keras_resnets.system import progress

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.export.compare.classifier import FileClassifier
    from keras_resnets.export.landing import ExportReport
    from keras_resnets.images.evaluation import Labelled
    from keras_resnets.networks.architecture import Architecture
    from keras_resnets.weights.source import Source


# Keys of --json of the commands that write an exported file.
FACTS = {
    "file": "the report: path, format, size, operators, outputs and logits (parity with "
    "the model), latency and keras_latency in seconds, ...",
    "measured": "with --evaluate: count, model_top1, file_top1, agreement, rmse (with "
    "several labels per image model_map and file_map instead of top1); else null",
}
# The usage of commands that read a trained network and its training images.
USAGE = "%(prog)s MODEL --weights WEIGHTS --data DATA [options]"
# The values of --weights, for --help.
WEIGHTS = (
    "weights file, run folder, imagenet, cifar10, cifar100, or a tag listed by "
    "keras-resnets weights MODEL"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """The options that select a variant and change it.

    Attributes:
        model: name of the variant, or path of a `.keras` file.
        weights: see `WEIGHTS`; None for random values.
        classes: number of classes; None for that of the weights, or the variant's.
        input_size: image size as text; see `axis_values.size_of`.
        set: changes of the architecture as text; see `axis_values.axes_of`.
        channels: channels of the images; None for those of the weights, or 3.
        mode, labels: what a file may not record; see `mode_and_labels`.

    Raises:
        InvalidArgument: the variant is unknown, or does not allow the changes.
    """

    model: str
    weights: str | None
    classes: int | None
    input_size: str | None
    set: tuple[str, ...]
    channels: int | None = None
    mode: str | None = None
    labels: str | None = None

    def __post_init__(self) -> None:
        if self.is_own:
            keras_file.check(self)
        else:
            mode_and_labels.check_variant(self.model, self.mode)
            find(self)

    @property
    def is_own(self) -> bool:
        """Whether the network comes from a `.keras` file, not from the registry."""
        return model_argument.is_own(self.model)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """The options of the file to write.

    Attributes:
        output: path of the file; None for the command's default.
        overwrite: whether an existing file is replaced.
    """

    output: str | None
    overwrite: bool
    if typing.TYPE_CHECKING:
        # Every record with an output is also a `Network`.
        model: str

    @property
    def ending(self) -> str:
        """The end of the default path, behind the name of the network."""
        raise NotImplementedError

    def path(self) -> str | pathlib.Path:
        """Returns the path of `--output`; by default the network's name and `ending`."""
        return self.output or default_output(self.model, self.ending)

    def check_free(self) -> None:
        """Raises `InvalidArgument` for an existing file to write, before heavy imports.

        The exporters check folders and devices, since this depends on the format.
        """
        place = pathlib.Path(self.path())
        if place.is_file():
            files.check_free(place, self.overwrite)


def add_trained(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, `--weights` and the options that change the network."""
    model_argument.add_model(parser, weights_needed=True)
    group = parser.add_argument_group("network")
    group.add_argument("--weights", help=f"weights of a variant: {WEIGHTS}")
    mode_and_labels.add_options(group)
    add_options(group)


def add_output(
    parser: argparse.ArgumentParser, what: str = "file to write"
) -> parsing.Group:
    """Adds the options of the file to write; returns their group."""
    group = parser.add_argument_group("output")
    group.add_argument("--output", metavar="FILE", help=what)
    group.add_argument("--overwrite", action="store_true", help="replace the file")
    return group


def add_options(parser: parsing.Group) -> None:
    """Adds the options for the size, classes and axes of a variant."""
    parser.add_argument(
        "--classes",
        type=options.CLASSES,
        help="number of classes; default: the weights', else the variant's",
    )
    parser.add_argument(
        "--input-size",
        metavar="PIXELS",
        help="224, or 192x256 (height x width); default: the weights', else the "
        "variant's",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="AXIS=VALUE",
        help="change an axis of the architecture: --set shortcut_type=A",
    )
    channels.add_option(parser)


def add_heatmap(group: parsing.Group) -> None:
    """Adds `--heatmap`, which adds a second output."""
    group.add_argument(
        "--heatmap",
        action="store_true",
        help="add a heat map of every class as an output",
    )


def with_heatmap(model: "keras.Model") -> "keras.Model":
    """Returns `model` with a heat map of every class as its second output."""
    from keras_resnets.graph import heatmaps

    return heatmaps.heatmap_model(model)


def default_output(model: str, ending: str) -> pathlib.Path:
    """Returns the default path of a file to write: the network's name and `ending`."""
    from keras_resnets.models import registry

    if model_argument.is_own(model):
        return pathlib.Path(f"{pathlib.Path(model).stem}{ending}")
    return pathlib.Path(f"{registry.canonical_name(model)}{ending}")


def find(asked: Network) -> "tuple[Architecture, tuple[int, int], int]":
    """Returns (architecture, (height, width), classes) that the options select."""
    from keras_resnets.models import registry
    from keras_resnets.networks import extent

    architecture = registry.get_architecture(
        asked.model, **axis_values.axes_of(asked.set)
    )
    size = (architecture.input_size,) * 2
    if asked.input_size is not None:
        size = axis_values.size_of(asked.input_size)
    classes = architecture.classes if asked.classes is None else asked.classes
    extent.check_extent(architecture, classes=classes)
    batch = getattr(asked, "batch", None)
    extent.check_sides(architecture, size, batch if isinstance(batch, int) else 1)
    return architecture, size, classes


def build(
    asked: Network,
    strict: bool = False,
    new_head: bool = False,
    head_needed: bool = True,
    axes: Mapping[str, typing.Any] | None = None,
    **options: typing.Any,
) -> "tuple[keras.Model, Architecture | None, Source | None]":
    """Builds the network that the options select.

    The number of classes and the image size default to those of the weights.

    Args:
        asked: the options.
        strict: whether a new classifier or adapted channels are an error, not a note.
        new_head: whether the classifier may be random, because it will be trained.
        head_needed: whether the classifier is used.
        axes: changes of the architecture; those of `--set` take precedence.
        **options: further arguments of `create_model`.

    Returns:
        The model; its architecture, or None for a `.keras` file; the source of its
        weights, or None for random weights.
    """
    if asked.is_own:
        model, _, source = keras_file.build(asked, options)
        page_parts.model(model, asked, source)
        return model, None, source
    import keras

    from keras_resnets.models import creation
    from keras_resnets.weights.assign import NewChannels
    from keras_resnets.weights.assign import NewHead

    architecture, size, _ = find(asked)
    # Images and exported files are channels-last, even if keras.json says otherwise.
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(getattr(asked, "seed", 0))
    title = f"building {asked.model}"
    with warnings.catch_warnings(record=True) as notes, progress.step(title):
        warnings.simplefilter("always", UserWarning)
        built = creation.create_described(
            asked.model,
            asked.weights,
            {**(axes or {}), **axis_values.axes_of(asked.set)},
            classes=asked.classes,
            new_head=new_head,
            head_needed=head_needed,
            image=(size if asked.input_size else None, asked.channels),
            **options,
        )
    for note in notes:
        if not issubclass(note.category, UserWarning):
            continue
        if not head_needed and note.category is NewHead:
            continue
        if strict and note.category in (NewHead, NewChannels):
            raise WeightsError(str(note.message))
        output.note(f"note: {note.message}")
    if asked.input_size is None:
        _note_size(built[0], architecture, built[2])
    mode_and_labels.set_labels(built[0], None if new_head else asked.labels)
    page_parts.model(built[0], asked, built[2])
    return built


def _note_size(
    model: "keras.Model", architecture: "Architecture", source: "Source | None"
) -> None:
    """Prints a note if the image size comes from the weights, not from the variant."""
    size = model.preprocessing.size
    if source is not None and size != (architecture.input_size,) * 2:
        output.note(
            f"note: {source.origin} were trained on images of {size[0]} x {size[1]}, "
            "which is now the size of the network (change it with --input-size)"
        )


class PhotoOptions(typing.Protocol):
    """The record of a command whose file can take pixels."""

    @property
    def include_preprocessing(self) -> bool:
        """Whether the file takes RGB pixels."""


def check_photos(asked: PhotoOptions) -> None:
    """Raises `InvalidArgument` for options that require `--include-preprocessing`."""
    for name in ("source", "metadata"):
        if getattr(asked, name) and not asked.include_preprocessing:
            raise InvalidArgument(
                f"--{name} requires a file that takes pixels: add --include-preprocessing"
            )


def open_labelled(
    source: str,
    model: "keras.Model | FileClassifier",
    count: int | None = None,
    seed: int = 0,
    part: str = "test",
) -> "Labelled":
    """Opens labelled images for a model; prints notes about skipped images and such.

    Args:
        source: value of `--data` or `--evaluate`, see `evaluation.open_data`.
        model: the network, with its `preprocessing` and `labels`.
        count: number of images, the same share of every class; None for all.
        seed: seed of their random choice.
        part: `"test"` or `"train"`.
    """
    from keras_resnets.images import evaluation
    from keras_resnets.images import labels

    names = labels.class_names(output_kinds.classes(model), model.labels)
    with progress.step("reading labelled images"):
        several = output_kinds.has_several_labels(model)
        data = evaluation.open_data(
            source, model.preprocessing, count, names, part, seed, several
        )
    say_notes(data.notes)
    page.add_inputs({"labelled images": f"{len(data.labels):,} of {source}"})
    return data


def build_one_class(
    asked: Network, job: str, **options: typing.Any
) -> "tuple[keras.Model, Architecture | None, Source | None]":
    """Builds the network; raises `InvalidArgument` for a multi-label one.

    One output for two classes becomes two, see `graph.binary`.

    Args:
        asked: the options.
        job: name of the command, for the message.
        **options: see `build`.
    """
    model, architecture, source = build(asked, **options)
    return output_kinds.of_one_class(model, asked.model, job), architecture, source


def say_export(report: "ExportReport", images: str) -> None:
    """Prints an `ExportReport`, and keeps it for `--json` and `--report`.

    Args:
        report: report of the exporter.
        images: kind of the images that were compared: `"calibration"` or `"synthetic"`.
    """
    from keras_resnets.cli.printing import reports

    output.keep(file=report)
    say(reports.export_report(report, images))
    page_parts.exported(report, images)


def say_figures(
    model: "keras.Model",
    report: "ExportReport",
    data: "Labelled | None",
    threads: int,
    logits: bool = False,
) -> None:
    """Evaluates a file and its model on labelled images, if any; prints both figures.

    Args:
        model: the network.
        report: report of the exporter.
        data: labelled images, or None.
        threads: threads of the file's runtime.
        logits: whether the outputs of the file are logits.
    """
    if data is None:
        return
    from keras_resnets.cli.printing import reports
    from keras_resnets.images.multi_label import THRESHOLD
    from keras_resnets.quantization import accuracy

    bar = progress.ProgressBar(len(data.labels), "images")
    gallery = None
    if page.is_requested():
        gallery = page_parts.Gallery(
            model.preprocessing,
            page_parts.names_of(model),
            thresholds=THRESHOLD if output_kinds.has_several_labels(model) else None,
        )
    watch = None if gallery is None else gallery.compare
    with progress.step("evaluating the file and its model"), bar:
        figures = accuracy.compare(
            model, report.path, data, threads, bar, logits, watch
        )
    rmse = "not measured" if figures.rmse is None else f"{figures.rmse:.4f}"
    output.keep(measured=figures)
    pair, names = (figures.file_top1, figures.model_top1), ("top-1", "agreement")
    if figures.file_top1 is None:
        pair, names = (figures.file_map, figures.model_map), ("mAP", "label agreement")
    say(
        f"measured     {figures.count:,} images: {names[0]} {reports.share(pair[0])} of "
        f"{reports.share(pair[1])}, {names[1]} {figures.agreement:.2%}, logit RMSE {rmse}"
    )
    page_parts.measured(figures, gallery)


def say_notes(notes: Iterable[str]) -> None:
    """Prints notes about the data that were opened."""
    for note in notes:
        output.note(f"note: {note}")
