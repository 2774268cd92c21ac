"""MODEL of `predict` and `evaluate`: a variant with weights, or an exported file."""

import argparse
import dataclasses
import pathlib
import typing

from keras_resnets.cli.arguments import axis_values
from keras_resnets.cli.arguments import mode_and_labels
from keras_resnets.cli.arguments import model_argument
from keras_resnets.cli.arguments import network
from keras_resnets.cli.arguments import options
from keras_resnets.cli.pages import page_parts
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import formats
from keras_resnets.networks import extent

if typing.TYPE_CHECKING:
    import keras

    from keras_resnets.export.compare.classifier import FileClassifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject(network.Network):
    """The options that select a variant with weights, or an exported file."""

    labels: str | None
    mode: str | None
    threads: int | None
    channels: int | None = None

    @property
    def is_own(self) -> bool:
        """False: a `.keras` file is run like any exported file."""
        return False

    def __post_init__(self) -> None:
        check(self)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that select a variant and its weights, or a file."""
    model_argument.add_model(
        parser,
        f"{model_argument.WHAT}, or a .tflite or .onnx file or the folder of a SavedModel",
    )
    # A .keras file is run as any exported file.
    parser.set_defaults(takes_files=True)
    group = parser.add_argument_group("network")
    group.add_argument("--weights", help=f"weights of a variant: {network.WEIGHTS}")
    group.add_argument(
        "--labels",
        help="names of the classes in their order: cifar10, imagenet, or cat,dog,...; "
        "default: those of the weights or the passport",
    )
    group.add_argument(
        "--mode", help="preprocessing of a file without a passport: torch, tf, ..."
    )
    group.add_argument(
        "--threads",
        type=options.THREADS,
        help="threads of a file's runtime; default: 2, 1 for 4-bit convolutions",
    )
    network.add_options(group)


def check(asked: Subject) -> None:
    """Raises `InvalidArgument` for incompatible options.

    It opens no file and imports nothing heavy.
    """
    try:
        is_file = formats.looks_exported(asked.model)
    except (OSError, ValueError):
        # The text is not a path: it has thousands of characters.
        is_file = False
        network.find(asked)
    if is_file:
        _check_file(asked)
    else:
        _check_network(asked)
        network.find(asked)


def open_subject(asked: Subject) -> "keras.Model | FileClassifier":
    """Opens the classifier that the options select.

    Returns:
        A `keras.Model` with its `preprocessing` and `labels`, or a `FileClassifier`;
        both have `name`, `output_shape` and `predict_on_batch`.

    Raises:
        InvalidArgument: the network is not a classifier.
    """
    if formats.looks_exported(asked.model):
        return _file(asked)
    model, _, _ = network.build(asked)
    classes = model.output_shape[-1]
    if classes < 2:
        raise InvalidArgument(f"there must be at least 2 classes; got {classes}")
    return model


def _check_network(asked: Subject) -> None:
    """Raises `InvalidArgument` for an unknown variant, or options of files."""
    path = pathlib.Path(asked.model)
    if path.is_dir():
        raise InvalidArgument(
            f"{path} is a folder with neither a SavedModel nor the run.json of a training"
        )
    model_argument.check_known(asked.model)
    for name in ("mode", "threads"):
        if getattr(asked, name) is not None:
            raise InvalidArgument(
                f"--{name} applies to exported files; {asked.model} is a variant"
            )
    if asked.weights is None:
        raise InvalidArgument(
            f"--weights is required for a variant such as {asked.model}"
        )


def _check_file(asked: Subject) -> None:
    """Raises `InvalidArgument` for options of variants."""
    for name in ("weights", "classes"):
        if getattr(asked, name) is not None:
            raise InvalidArgument(
                f"an exported file contains its {name}: leave out --{name}"
            )
    if asked.set:
        raise InvalidArgument(
            "the architecture of an exported file cannot be changed: leave out --set"
        )
    if asked.channels is not None:
        raise InvalidArgument(
            "an exported file determines its channels: leave out --channels"
        )
    if asked.input_size is not None:
        extent.check_pixels(axis_values.size_of(asked.input_size))


def _file(asked: Subject) -> "FileClassifier":
    return open_file(asked.model, asked)


def open_file(path: str, asked: Subject) -> "FileClassifier":
    """Opens an exported file as a `FileClassifier`."""
    from keras_resnets.export.compare import classifier
    from keras_resnets.export.compare import isolated
    from keras_resnets.export.compare import open_runner

    size = None
    if asked.input_size is not None:
        size = axis_values.size_of(asked.input_size)
    opened = classifier.open_classifier(
        path,
        asked.mode,
        size,
        _images_of(path),
        labels=mode_and_labels.names(asked.labels),
        threads=asked.threads or open_runner.steady_threads(path),
        opener=isolated.open_apart,
    )
    mode_and_labels.check_names(opened.output_shape[-1], asked.labels)
    page_parts.file(path)
    return opened


def _images_of(path: str) -> tuple[typing.Any, typing.Any] | None:
    """Returns the (`Preprocessing`, labels) in a `.keras` file of `convert`, or None."""
    from keras_resnets.weights import naming as sidecar_naming

    if not path.endswith(".keras") or not pathlib.Path(path).is_file():
        return None
    return sidecar_naming.images_of(pathlib.Path(path))
