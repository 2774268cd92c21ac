"""`--mode` and `--labels`: the images and classes that a network does not record."""

import typing

from keras_resnets.cli import parsing
from keras_resnets.errors import InvalidArgument

if typing.TYPE_CHECKING:
    import keras


def add_options(group: parsing.Group) -> None:
    """Adds the options for what a network may not record: its images and classes."""
    group.add_argument(
        "--mode",
        help="preprocessing of a .keras file that does not record it: torch, tf, raw, ...",
    )
    group.add_argument(
        "--labels",
        help="names of the classes in their order: cifar10, imagenet, or cat,dog,...; "
        "default: those of the weights or the file",
    )


def check_variant(model: str, mode: str | None) -> None:
    """Raises `InvalidArgument` for a `--mode` of a variant."""
    if mode is not None:
        raise InvalidArgument(
            f"--mode is for .keras files of your own; {model} is a variant"
        )


def set_labels(model: "keras.Model", text: str | None) -> None:
    """Sets `model.labels` to the value of `--labels`, if it was given."""
    if text is not None:
        model.labels = typed_labels(text, model.output_shape[-1])


def typed_labels(text: str, classes: int) -> tuple[str, ...] | str:
    """Returns the checked value of `--labels`, as `model.labels` has it."""
    from keras_resnets.images import labels

    pairs = labels.typed(text)
    names = text if text in labels.NAMES else tuple(name for _, name in pairs)
    labels.class_names(classes, names)
    return names
