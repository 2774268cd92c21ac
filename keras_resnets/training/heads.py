"""What becomes of a trained classifier when other data are trained on."""

import typing

import keras
import numpy as np

from keras_resnets.graph import anatomy
from keras_resnets.graph import provenance
from keras_resnets.images import labels


def fit_classifier(
    model: keras.Model, classes: tuple[tuple[str, ...], ...]
) -> str | None:
    """Makes the last layer of a trained network that of the data's classes.

    The same classes in the same order: it stays. In another order: its columns are put
    in the data's. Other classes: it starts anew, for a classifier of cats and trucks
    says nothing of shirts and bags. `model.labels` then names the data's classes. A
    model that does not know its classes, or data that do not name theirs, change
    nothing.

    Args:
        model: a `keras.Model`; `labels` as this package sets it.
        classes: (id, name) of each class of the data.

    Returns:
        What was done or taken for granted, in words, or None where there is nothing to
        say.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet20", weights="cifar10")
        >>> fit_classifier(model, labels.label_set("cifar10")[::-1]).split(":")[0]
        'the classifier that resnet20 came with is kept'
    """
    known = provenance.of(model).labels
    if known is None or labels.count(known) != len(classes):
        return None
    if tuple(classes) == labels.class_names(len(classes)):
        return (
            f"the data do not name their {len(classes)} classes: the classifier that "
            f"{model.name} came with is kept, in its order ({_few(_names(known))})"
        )
    order = _order(known, classes)
    if order == list(range(len(classes))):
        return None
    layer = _classifier(model)
    if layer is None:
        return None
    model.labels = labels.name_of(classes) or tuple(name for _, name in classes)
    if order is None:
        _renew(layer)
        return (
            f"{model.name} came with a classifier of {_few(_names(known))}; the data "
            f"have {_few([name for _, name in classes])}: it has new random values"
        )
    layer.set_weights([np.take(value, order, axis=-1) for value in layer.get_weights()])
    return (
        f"the classifier that {model.name} came with is kept: its classes were put in "
        f"the data's order ({_few([name for _, name in classes])})"
    )


def is_trained(model: keras.Model, classes: tuple[tuple[str, ...], ...]) -> bool:
    """Whether `fit_classifier` keeps the classifier; to be asked before.

    Args:
        model: a `keras.Model`; `labels` as this package sets it.
        classes: (id, name) of each class of the data.
    """
    known = provenance.of(model).labels
    if known is None or labels.count(known) != len(classes):
        return False
    unnamed = tuple(classes) == labels.class_names(len(classes))
    return unnamed or _order(known, classes) is not None


def _order(known: typing.Any, wanted: typing.Any) -> typing.Any:
    """The place among `known` of each of `wanted`, or None where they are not the same."""
    pairs = labels.class_names(len(wanted), known)
    # Of named label sets by identity first: two of ImageNet's classes are called crane.
    # Of others the identities are but places.
    for key in (0, 1) if isinstance(known, str) else (1,):
        ours, theirs = (
            [_plain(pair[key]) for pair in some] for some in (pairs, wanted)
        )
        if ours == theirs:
            return list(range(len(ours)))
        if sorted(ours) == sorted(set(theirs)):
            return [ours.index(name) for name in theirs]
    return None


def _plain(name: str) -> str:
    return str(name).casefold().replace("_", " ").replace("-", " ").strip()


def _names(known: typing.Any) -> list[typing.Any]:
    return [name for _, name in labels.class_names(labels.count(known), known)]


def _few(names: typing.Any) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _classifier(model: keras.Model) -> typing.Any:
    """The last layer with weights, if it has an output a class; else None."""
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
