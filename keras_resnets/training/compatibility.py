"""Checks that a model, data and a recipe fit together, before anything is written."""

import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import anatomy
from keras_resnets.graph import provenance
from keras_resnets.images.preprocessing import MODES
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.images.resizing import SMALL
from keras_resnets.training import devices

if typing.TYPE_CHECKING:
    from keras_resnets.images.datasets.split import Dataset
    from keras_resnets.training.recipes import Recipe


# Recipe.loss -> what a network may output besides logits.
_FITTING = {"cross_entropy": anatomy.SOFTMAX, "binary": anatomy.SIGMOID}


def check_model(model: keras.Model) -> None:
    """Raises `InvalidArgument` unless `model` maps an image to one output per class."""
    if not isinstance(model, keras.Model):
        raise InvalidArgument(
            f"model must be a keras.Model; got {anatomy.type_and_remedy(model)}"
        )
    if not getattr(model, "inputs", None):
        raise InvalidArgument(
            "training requires a functional model or a built Sequential; "
            f"{model.name} is {_class_of(model)}: rewrite it as "
            "keras.Model(inputs, outputs)"
        )
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise InvalidArgument(
                f"training requires a model with one input and one output; {model.name} "
                f"has {len(tensors)} {what}s: {names}"
            )
    shape = tuple(model.outputs[0].shape)
    if (
        len(shape) != 2
        or shape[-1] is None
        or not isinstance(model.output_shape, tuple)
    ):
        raise InvalidArgument(
            "training requires a classifier with outputs (batch, classes); "
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
        "training requires a model of images (batch, height, width, channels) with 3 "
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
        f"the model must have the {expected} classes of {data.name}; {model.name} has "
        f"{classes}{hint}"
    )


def check_batch_size(batch_size: int, data: "Dataset") -> None:
    """Raises `InvalidArgument` for a batch that the images or the devices do not fill."""
    count, replicas = data.train.count, devices.replicas()
    if batch_size % replicas:
        raise InvalidArgument(
            f"batch_size must be a multiple of the {replicas} devices; got {batch_size}"
        )
    if batch_size > count:
        raise InvalidArgument(
            f"batch_size must be at most the {count} training images; got {batch_size}: "
            f"give a smaller one (--batch-size {_power_of_two(count)})"
        )


def _power_of_two(most: int) -> int:
    """Returns the largest power of two that is at most `most`."""
    return 1 << (most.bit_length() - 1)


def check_multi_label(
    model: keras.Model, teacher: typing.Any, class_weight: typing.Any, sampler: str
) -> None:
    """Raises `InvalidArgument` for options that multi-label training does not support."""
    if anatomy.kind_of_outputs(model) == anatomy.SOFTMAX:
        raise InvalidArgument(
            f"{model.name} ends in a softmax, which predicts one class per image; "
            'multi-label training requires classifier_activation="sigmoid" or None'
        )
    if teacher is not None:
        raise InvalidArgument(
            "multi-label training does not support distillation: leave out --teacher"
        )
    if class_weight is not None or sampler != "shuffled":
        raise InvalidArgument(
            "multi-label training does not support balanced classes: leave out "
            "--class-weight and --sampler"
        )


def check_recipe(model: keras.Model, recipe: "Recipe") -> None:
    """Raises `InvalidArgument` if a recipe does not fit a model.

    It must train at least one trainable layer, and its loss must fit the outputs.
    """
    kind = anatomy.kind_of_outputs(model)
    if kind not in (anatomy.LOGITS, _FITTING[recipe.loss]):
        other = next(name for name, fits in _FITTING.items() if fits == kind)
        raise InvalidArgument(
            f"the recipe's loss, {recipe.loss!r}, requires logits or a "
            f"{_FITTING[recipe.loss]}; {model.name} ends in a {kind}: change the recipe "
            f"(loss={other!r}), or let the model output logits"
        )
    if not model.trainable_weights:
        raise InvalidArgument(
            f"at least one layer must be trainable; all layers of {model.name} have "
            "trainable=False"
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
                f"frozen_epochs={recipe.frozen_epochs} trains only the head ({names}), "
                f"which has trainable=False in {model.name}: use frozen_epochs=0"
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
    channel gets grey images; for other numbers of channels see `channel_statistics.fitted`.

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
            f"the layer {scaling} of {model.name} scales its images, and preprocessing "
            f"of mode {preprocessing.mode!r} would scale them a second time: use "
            f'Preprocessing("raw", {tuple(preprocessing.size)})'
        )
    for side, expected in zip(preprocessing.size, (height, width), strict=True):
        if expected not in (None, side):
            raise InvalidArgument(
                f"the preprocessing must have the image size of {model.name}, {height} x "
                f"{width}; got {preprocessing.size[0]} x {preprocessing.size[1]}"
            )
    if requested is not None and requested.channels not in (channels, 3):
        raise InvalidArgument(
            f"the preprocessing must have the {channels} channels of {model.name}; got "
            f"{requested.channels}"
        )
    return preprocessing.with_channels(channels)


def _unsaid(model: keras.Model, height: int, width: int) -> str:
    size = f"({height or 224}, {width or 224})"
    return (
        f"{model.name} does not say what its images must look like: give preprocessing, "
        f"such as Preprocessing(MODE, {size}) with MODE one of {', '.join(MODES)} "
        '("raw" for pixel values in 0..255)'
    )
