"""What `predict` and `evaluate` judge: a variant with weights, or an exported file."""

import pathlib

from keras_resnets.cli import network
from keras_resnets.cli import options
from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import WeightsError
from keras_resnets.export import formats
from keras_resnets.networks import extent

# Files that do not say which network they are of.
_NAMELESS = (".h5", ".safetensors", ".pth", ".pt", ".th", ".ckpt", ".bin", ".weights")


def add_options(parser):
    """Adds what chooses a variant and its weights, or a file."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="variant, or a .tflite, .onnx or .keras file or the folder of a SavedModel",
    )
    parser.add_argument("--weights", help=f"of a variant: {network.WEIGHTS}")
    parser.add_argument(
        "--labels",
        help="names of the classes in their order: cifar10, imagenet, or cat,dog,...; "
        "default: of the weights or the passport",
    )
    parser.add_argument(
        "--mode", help="pre-processing of a file without a passport: torch, tf, ..."
    )
    parser.add_argument(
        "--threads", type=options.THREADS, help="of a file's runtime; default 2"
    )
    network.add_options(parser)


def check(arguments):
    """Raises `InvalidArgument` for options that do not go together.

    Nothing is opened for it, and nothing heavy imported.
    """
    try:
        is_file = formats.looks_exported(arguments.model)
    except (OSError, ValueError):
        # No name of a file, such as one of thousands of characters.
        is_file = False
        network.find(arguments)
    if is_file:
        _check_file(arguments)
    else:
        _check_network(arguments)
        network.find(arguments)


def open_subject(arguments):
    """The classifier that the arguments name, ready to judge images.

    Returns:
        A `keras.Model` that knows its `preprocessing` and `labels`, or a
        `FileClassifier`; both have `name`, `output_shape` and `predict_on_batch`.

    Raises:
        InvalidArgument: no classifier. What `check` refuses has been refused.
    """
    if formats.looks_exported(arguments.model):
        return _file(arguments)
    model, _, _ = network.build(arguments)
    classes = model.output_shape[-1]
    if classes < 2:
        raise InvalidArgument(f"there must be at least 2 classes; got {classes}")
    if arguments.labels is not None:
        model.labels = _labels(arguments.labels, classes)
    return model


def _check_network(arguments):
    """Raises `InvalidArgument` for what is no variant, or options of files."""
    path = pathlib.Path(arguments.model)
    if path.suffix.lower() in _NAMELESS or (path / "run.json").is_file():
        file = path / "best.weights.h5" if path.is_dir() else path
        raise InvalidArgument(
            f"{path} does not tell which variant it is of: give that too, "
            f"MODEL --weights {file}"
        )
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder without a SavedModel in it")
    for name in ("mode", "threads"):
        if getattr(arguments, name) is not None:
            raise InvalidArgument(
                f"--{name} is for exported files; {arguments.model} is a variant"
            )
    if arguments.weights is None:
        raise InvalidArgument(
            f"--weights is required for a variant such as {arguments.model}"
        )


def _check_file(arguments):
    """Raises `InvalidArgument` for options of variants."""
    for name in ("weights", "classes"):
        if getattr(arguments, name) is not None:
            raise InvalidArgument(
                f"an exported file has its {name} inside: leave out --{name}"
            )
    if arguments.set:
        raise InvalidArgument("an exported file has its axes inside: leave out --set")
    if arguments.input_size is not None:
        extent.check_pixels(network.size_of(arguments.input_size))


def _file(arguments):
    from keras_resnets.export.compare import classifier
    from keras_resnets.export.compare import isolated

    threads = 2 if arguments.threads is None else arguments.threads
    size = None
    if arguments.input_size is not None:
        size = network.size_of(arguments.input_size)
    opened = classifier.open_classifier(
        arguments.model,
        arguments.mode,
        size,
        _notes(arguments.model),
        threads=threads,
        opener=isolated.open_apart,
    )
    if arguments.labels is not None:
        opened.labels = _labels(arguments.labels, opened.output_shape[-1])
    return opened


def _notes(path):
    """(`Preprocessing`, labels) that a `.keras` file of `convert` tells, or None."""
    from keras_resnets.weights import open_source

    if not path.endswith(".keras") or not pathlib.Path(path).is_file():
        return None
    try:
        source = open_source(path, "")
    except WeightsError:
        # Of another network, which needs no notes of ours.
        return None
    if source.preprocessing is None:
        return None
    return source.preprocessing, source.labels


def _labels(text, classes):
    """The value of `--labels`, checked."""
    from keras_resnets.images import labels

    known = labels.typed(text)
    names = text if text in labels.NAMES else tuple(name for _, name in known)
    labels.class_names(classes, names)
    return names
