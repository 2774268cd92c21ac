"""Fits a trained classifier to the classes of other data."""

import typing

import keras
import numpy as np

from keras_resnets.errors import some
from keras_resnets.graph import anatomy
from keras_resnets.graph import provenance
from keras_resnets.images import labels


def fit_classifier(
    model: keras.Model, classes: tuple[tuple[str, ...], ...]
) -> str | None:
    """Fits the last layer of a trained network to the data's classes.

    If the classes and their order are the same, the layer is kept. If only the order
    differs, its columns are reordered. If the classes differ, it is initialized anew.
    `model.labels` then names the data's classes. Nothing changes if the classes of the
    model or of the data are unknown.

    Args:
        model: a `keras.Model`; `labels` as this package sets it.
        classes: (id, name) of each class of the data.

    Returns:
        A note on what was done or assumed, or None.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet20", weights="cifar10")
        >>> fit_classifier(model, labels.label_set("cifar10")[::-1]).split(":")[0]
        'the classifier that resnet20 came with is kept'
    """
    recorded = provenance.of(model).labels
    if recorded is None or labels.count(recorded) != len(classes):
        return None
    if tuple(classes) == labels.class_names(len(classes)):
        return (
            f"the data do not name their {len(classes)} classes: the classifier that "
            f"{model.name} came with is kept, in its order ({some(_names(recorded))})"
        )
    order = _order(recorded, classes)
    if order == list(range(len(classes))):
        return None
    layer = _classifier(model)
    if layer is None:
        return None
    model.labels = labels.name_of(classes) or tuple(name for _, name in classes)
    if order is None:
        _renew(layer)
        return (
            f"{model.name} came with a classifier of {some(_names(recorded))}; the data "
            f"have {some([name for _, name in classes])}: it has new random values"
        )
    layer.set_weights([np.take(value, order, axis=-1) for value in layer.get_weights()])
    return (
        f"the classifier that {model.name} came with is kept: its classes were put in "
        f"the data's order ({some([name for _, name in classes])})"
    )


def is_trained(model: keras.Model, classes: tuple[tuple[str, ...], ...]) -> bool:
    """Whether `fit_classifier` will keep the classifier; call this function first.

    Args:
        model: a `keras.Model`; `labels` as this package sets it.
        classes: (id, name) of each class of the data.
    """
    recorded = provenance.of(model).labels
    if recorded is None or labels.count(recorded) != len(classes):
        return False
    unnamed = tuple(classes) == labels.class_names(len(classes))
    return unnamed or _order(recorded, classes) is not None


def _order(recorded: typing.Any, classes: typing.Any) -> typing.Any:
    """Returns the index in `recorded` of each of `classes`; None if they differ."""
    pairs = labels.class_names(len(classes), recorded)
    # Named label sets are compared by identity first: two of ImageNet's classes are
    # called crane. In other label sets the identities are only indices.
    for key in (0, 1) if isinstance(recorded, str) else (1,):
        ours, theirs = (
            [_plain(pair[key]) for pair in some] for some in (pairs, classes)
        )
        if ours == theirs:
            return list(range(len(ours)))
        if sorted(ours) == sorted(set(theirs)):
            return [ours.index(name) for name in theirs]
    return None


def _plain(name: str) -> str:
    return str(name).casefold().replace("_", " ").replace("-", " ").strip()


def _names(recorded: typing.Any) -> list[typing.Any]:
    return [name for _, name in labels.class_names(labels.count(recorded), recorded)]


def _classifier(model: keras.Model) -> typing.Any:
    """Returns the last layer with weights if it has one output per class, or None."""
    classes = model.output_shape[-1]
    for layer in anatomy.head(model):
        if all(weight.shape[-1] == classes for weight in layer.weights):
            return layer
    return None


def _renew(layer: keras.layers.Layer) -> None:
    values = [
        keras.initializers.GlorotUniform()(weight.shape)
        if len(weight.shape) > 1
        else keras.ops.zeros(weight.shape)
        for weight in layer.weights
    ]
    for weight, value in zip(layer.weights, values, strict=True):
        weight.assign(value)
