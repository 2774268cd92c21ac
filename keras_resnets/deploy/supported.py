"""The models that can be deployed, and to which targets."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_resnets.deploy import targets
from keras_resnets.deploy.options import Asked
from keras_resnets.deploy.options import Spec
from keras_resnets.deploy.target import Target
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import prepare
from keras_resnets.graph import binary
from keras_resnets.graph import provenance
from keras_resnets.images.preprocessing import Preprocessing
from keras_resnets.quantization.qat.layers import is_quantized


def check_model(model: Any, recipe: str | None) -> None:
    """Raises `InvalidArgument` for a model that cannot be deployed."""
    prepare.check_functional(model, "deploy")
    prepare.check_finite(model)
    if is_quantized(model) and recipe is not None:
        raise InvalidArgument(
            f"{model.name} is already quantized, which determines the recipe: leave out "
            f"the recipe; got {recipe!r}"
        )
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.outputs)
        raise InvalidArgument(
            f"deploy takes a model with one output (batch, classes); {model.name} has "
            f"{shapes}"
        )
    if not isinstance(getattr(model, "preprocessing", None), Preprocessing):
        raise InvalidArgument(
            "deploy requires the preprocessing of the model: set model.preprocessing to a "
            f"keras_resnets.Preprocessing; {model.name} has none"
        )
    binary.check(model, "deploy")


def of_tensors(model: keras.Model) -> keras.Model:
    """Returns the model with a tensor as input and output, not a dict or list of one."""
    # A Sequential model has tensors, but no `input` before it is called.
    if isinstance(model, keras.Sequential) or len(model.inputs) != 1:
        return model
    if all(hasattr(tensor, "shape") for tensor in (model.input, model.output)):
        return model
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    provenance.inherit(plain, model)
    return plain


def check_preprocessing(model: keras.Model, shape: tuple[int, int, int]) -> None:
    """Raises `InvalidArgument` if the preprocessing gives images of another shape."""
    preprocessing = model.preprocessing
    gives = (*preprocessing.size, preprocessing.channels)
    if gives != shape:
        raise InvalidArgument(
            f"model.preprocessing must give images of the input's shape {shape}; that of "
            f"{model.name} gives {gives}: replace its size, mean or std "
            "(dataclasses.replace, Preprocessing.grey)"
        )


def check_channels(rows: Sequence[Target], channels: int) -> None:
    """Raises `InvalidArgument` for targets whose apps take only photos."""
    for row in rows:
        is_colour = row.pixels or row.toolchain == "browser"
        if is_colour and channels != 3:
            what = "colour photos, which have 3 channels"
        elif row.toolchain == "raspberry_pi" and channels not in (1, 3):
            what = "photos, which have 3 channels, or 1 if they are grey"
        else:
            continue
        raise InvalidArgument(
            f"{row.name} takes {what}; the network takes {channels}: deploy it to "
            "linux-x86, server-onnx or microcontroller, or only export the file"
        )


def spec(asked: Asked, target: Target, model: keras.Model) -> Spec:
    """Returns the specification of a target's file.

    The file of a quantization-aware model is an integer one, also where a target's default
    is another; a SavedModel computes its rounding in floats.

    Raises:
        InvalidArgument: the target takes no integer file of a quantization-aware model, or
            does not support one of the options.
    """
    if not is_quantized(model) or target.format == "saved_model":
        return asked.spec(target)
    if targets.INT8 not in target.recipes:
        raise InvalidArgument(
            f"{target.name} takes float models, which its toolchain quantizes; "
            f"{model.name} is quantization-aware: give the float model that it was made of"
        )
    return dataclasses.replace(asked, recipe=targets.INT8).spec(target)
