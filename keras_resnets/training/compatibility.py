"""Checks that a model, data and a recipe fit together, before anything is written."""

import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.graph import provenance
from keras_resnets.images.loading import SMALL
from keras_resnets.images.preprocessing import MODES
from keras_resnets.images.preprocessing import Preprocessing

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Dataset
    from keras_resnets.training.recipes import Recipe


# Recipe.loss -> what a network may output besides logits.
_FITTING = {"cross_entropy": anatomy.SOFTMAX, "binary": anatomy.SIGMOID}


def check_model(model: keras.Model) -> None:
    """Raises `InvalidArgument` unless `model` maps an image to one output per class."""
    if not isinstance(model, keras.Model):
        raise InvalidArgument(
            f"model must be a keras.Model; got {type(model).__name__}"
        )
    if not getattr(model, "inputs", None):
        raise InvalidArgument(
            "training needs a model whose graph is known, functional or a built "
            f"Sequential; {model.name} is {_class_of(model)}: rewrite its call as "
            "keras.Model(inputs, outputs)"
        )
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise InvalidArgument(
                f"training needs a model of one input and one output; {model.name} has "
                f"{len(tensors)} {what}s: {names}"
            )
    shape = tuple(model.outputs[0].shape)
    if (
        len(shape) != 2
        or shape[-1] is None
        or not isinstance(model.output_shape, tuple)
    ):
        raise InvalidArgument(
            "training needs a classifier with outputs (batch, classes); "
            f"{model.name} outputs {model.output_shape}"
        )
    _check_image(model)


def _class_of(model: keras.Model) -> str:
    if isinstance(model, keras.Sequential):
        return "a Sequential without keras.Input"
    return f"of the class {type(model).__name__}, with a call of its own"


def _check_image(model: keras.Model) -> None:
    shape = tuple(model.inputs[0].shape)
    is_turned = len(shape) == 4 and shape[1] in (1, 3) and shape[-1] not in (1, 3)
    if len(shape) == 4 and shape[-1] is not None and not is_turned:
        return
    hint = ""
    if is_turned:
        hint = '; build it with data_format="channels_last"'
    raise InvalidArgument(
        "training needs a model of images (batch, height, width, channels) with 3 "
        "channels, 1 for grey, or those of multispectral images; "
        f"{model.name} takes {shape}{hint}"
    )


def check_classes(model: keras.Model, data: "Dataset") -> None:
    """Raises `InvalidArgument` unless `model` has an output for each class of `data`."""
    classes, expected = model.output_shape[-1], len(data.classes)
    if classes == expected:
        return
    hint = ""
    if classes == 1 and expected == 2:
        hint = ": end it in Dense(2), not in one sigmoid for both"
    raise InvalidArgument(
        f"{model.name} has {classes} classes, {data.name} has {expected}: they must "
        f"agree{hint}"
    )


def check_multi_label(
    model: keras.Model, teacher: typing.Any, class_weight: typing.Any, sampler: str
) -> None:
    """Raises `InvalidArgument` for what several labels an image do not go with."""
    if anatomy.kind_of_outputs(model) == anatomy.SOFTMAX:
        raise InvalidArgument(
            f"{model.name} ends in a softmax, which gives an image one class; several "
            'labels an image need classifier_activation="sigmoid" or None'
        )
    if teacher is not None:
        raise InvalidArgument(
            "a teacher tells one class an image; with several labels an image leave "
            "--teacher out"
        )
    if class_weight is not None or sampler != "shuffled":
        raise InvalidArgument(
            "classes are balanced where an image has one; with several labels an image "
            "leave --class-weight and --sampler out"
        )


def check_recipe(model: keras.Model, recipe: "Recipe") -> None:
    """Raises `InvalidArgument` if the recipe cannot train the trainable layers.

    Also if the loss does not fit the kind of the model's outputs.
    """
    kind = anatomy.kind_of_outputs(model)
    if kind not in (anatomy.LOGITS, _FITTING[recipe.loss]):
        other = next(name for name, fits in _FITTING.items() if fits == kind)
        raise InvalidArgument(
            f"the recipe's loss, {recipe.loss!r}, is of logits or of a "
            f"{_FITTING[recipe.loss]}; {model.name} ends in a {kind}: change the recipe "
            f"(loss={other!r}), or let the model output logits"
        )
    if not model.trainable_weights:
        raise InvalidArgument(
            f"every layer of {model.name} is frozen (trainable=False): nothing is left "
            "to train"
        )
    if recipe.fine_tunes and _is_untrained(model):
        raise InvalidArgument(
            "a recipe that fine-tunes starts from a trained network; every "
            f"BatchNormalization of {model.name} has mean 0 and variance 1: give "
            "weights, or a recipe that trains from the beginning, such as cifar_cosine "
            "or bag_of_tricks"
        )
    if recipe.frozen_epochs:
        head = anatomy.head(model)
        if not any(layer.trainable_weights for layer in head):
            names = ", ".join(layer.name for layer in head)
            raise InvalidArgument(
                f"frozen_epochs={recipe.frozen_epochs} trains the head alone ({names}), "
                f"and that is frozen in {model.name} (trainable=False): give "
                "frozen_epochs=0"
            )


def _is_untrained(model: keras.Model) -> bool:
    """Whether every BN of the body has its initial statistics."""
    head = set(map(id, anatomy.head(model)))
    norms = [
        layer
        for layer in anatomy.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and id(layer) not in head
    ]
    return bool(norms) and all(
        not np.any(keras.ops.convert_to_numpy(norm.moving_mean))
        and np.all(keras.ops.convert_to_numpy(norm.moving_variance) == 1)
        for norm in norms
    )


def preprocessing_for(
    model: keras.Model, requested: Preprocessing | None = None
) -> Preprocessing:
    """Returns the `Preprocessing` of a training: the requested one, else the model's.

    A model with a layer that scales pixel values takes raw pixels. A model with one
    channel gets grey images; for other numbers of channels see `measured.fitted`.

    Raises:
        InvalidArgument: a model without preprocessing, a `Preprocessing` of another size,
            or one that scales before a model that scales itself.
    """
    preprocessing = requested or provenance.of(model).preprocessing
    height, width, channels = model.inputs[0].shape[1:]
    scaling = anatomy.scaling_layer(model)
    if preprocessing is None:
        if scaling is None or None in (height, width):
            raise InvalidArgument(_unsaid(model, height, width))
        whole = max(height, width) < SMALL
        preprocessing = Preprocessing("raw", (height, width), 1.0 if whole else 0.875)
    elif scaling is not None and preprocessing.scale != 1:
        raise InvalidArgument(
            f"{model.name} scales its images itself (layer {scaling}), and "
            f"preprocessing of mode {preprocessing.mode!r} would scale them before: give "
            f'Preprocessing("raw", {tuple(preprocessing.size)})'
        )
    for side, expected in zip(preprocessing.size, (height, width), strict=True):
        if expected not in (None, side):
            raise InvalidArgument(
                f"{model.name} takes images of {height} x {width}, preprocessing makes "
                f"{preprocessing.size[0]} x {preprocessing.size[1]}: they must agree"
            )
    if requested is not None and requested.channels not in (channels, 3):
        raise InvalidArgument(
            f"{model.name} takes images of {channels} channels, preprocessing makes "
            f"{requested.channels}: they must agree"
        )
    return preprocessing.with_channels(channels)


def _unsaid(model: keras.Model, height: int, width: int) -> str:
    size = f"({height or 224}, {width or 224})"
    return (
        f"{model.name} does not say what its images must look like: give preprocessing, "
        f"such as Preprocessing(MODE, {size}) with MODE one of {', '.join(MODES)} "
        '("raw" for pixel values in 0..255)'
    )
