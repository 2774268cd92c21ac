"""`--mode` and `--labels`: the images and classes that a network does not record."""

import typing

from keras_resnets.cli.arguments import parsing
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
    if text is None:
        return
    from keras_resnets.graph import binary

    # Two names of one output say that it tells two classes apart.
    if len(model.outputs) > 1:
        raise InvalidArgument(
            f"--labels names the classes of one output; {model.name} has "
            f"{len(model.outputs)}"
        )
    one = binary.has_one_output(model)
    check_names(binary.CLASSES if one else model.output_shape[-1], text)
    model.labels = names(text)


def names(text: str | None) -> tuple[str, ...] | str | None:
    """Returns the value of `--labels` as `model.labels` has it; None without it."""
    from keras_resnets.images import labels

    if text is None or text in labels.NAMES:
        return text
    return tuple(name for _, name in labels.typed(text))


def check_names(classes: int, text: str | None) -> None:
    """Raises `InvalidArgument` unless `--labels` names `classes` classes, or is None."""
    from keras_resnets.images import labels

    if text is not None:
        labels.class_names(classes, names(text))
