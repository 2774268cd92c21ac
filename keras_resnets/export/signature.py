"""The inputs and outputs of an exported model: names, logits, features, pixels."""

import re
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph.features import feature_extractor
from keras_resnets.graph.heatmaps import HEATMAP
from keras_resnets.graph.outputs import Tensors
from keras_resnets.graph.outputs import logits_by_output
from keras_resnets.graph.outputs import logits_of
from keras_resnets.graph.outputs import outputs
from keras_resnets.images.preprocessing import Preprocessing

__all__ = [
    "HEATMAP",
    "INPUT_NAME",
    "logits_by_output",
    "logits_of",
    "outputs",
    "plain_name",
    "select",
    "structured",
    "with_pixels",
]

INPUT_NAME = "image"


def select(
    model: keras.Model, logits: bool = False, features: Sequence[str] | None = None
) -> keras.Model:
    """Returns a functional model with the selected outputs of `model`, sharing its layers.

    Args:
        model: a functional or Sequential model.
        logits: whether to return the input of its softmax or sigmoid.
        features: names of endpoints, see `feature_extractor`; None for its outputs.

    Returns:
        A `keras.Model` whose output is a dict.

    Raises:
        InvalidArgument: logits of a model without a classifier, endpoints that it
            lacks, or both.
    """
    if not features:
        selected = _logits(model) if logits else outputs(model)
    elif logits:
        raise InvalidArgument("logits and features cannot be exported in one file")
    else:
        selected = feature_extractor(model, features).output
    return keras.Model(model.inputs, selected, name=plain_name(model.name))


def plain_name(name: str) -> str:
    """Returns a model's name without the characters that TensorFlow refuses in names.

    A model that was trained on JAX or PyTorch may have any name.

    Example:
        >>> plain_name("my model")
        'my_model'
    """
    plain = re.sub(r"[^A-Za-z0-9_./>-]", "_", name)
    return plain if plain[:1].isalnum() else f"model{plain}"


def _logits(model: keras.Model) -> Tensors:
    model_outputs = outputs(model)
    if list(model_outputs) == ["logits"]:
        return model_outputs
    logits = logits_of(model)
    if logits is None:
        raise InvalidArgument(
            "logits are the inputs of a final softmax or sigmoid; "
            f"{model.name} has the outputs {', '.join(model_outputs)}"
        )
    return {"logits": logits}


def structured(model: keras.Model, like: keras.Model) -> keras.Model:
    """Returns `model`, whose output is a dict, with its outputs structured like `like`'s.

    `like` has the same outputs, as a tensor, a list or a dict.
    """
    tensors = list(outputs(model).values())
    # Not a list of one: Keras would warn when it is called with the tensor itself.
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    if len(tensors) == 1:
        return keras.Model(inputs, tensors[0], name=model.name)
    if isinstance(like, keras.Sequential) or isinstance(like.output, dict):
        return keras.Model(inputs, model.output, name=model.name)
    tensors = keras.tree.pack_sequence_as(like.output, tensors)
    return keras.Model(inputs, tensors, name=model.name)


def with_pixels(
    model: keras.Model, preprocessing: Preprocessing, shape: Sequence[int], dtype: str
) -> keras.Model:
    """Returns `model` with its preprocessing included, which takes RGB pixel values.

    Scale, mean, deviation and channel order are one convolution of 1x1, which every
    format has, and which an integer file computes without loss.

    Args:
        model: the result of `select`, for RGB images.
        preprocessing: a `Preprocessing`.
        shape: (height, width, channels) of the images.
        dtype: type of the input: `"uint8"` or `"float32"`.
    """
    image = keras.Input(shape, dtype=dtype, name=INPUT_NAME)
    x = image if dtype == "float32" else keras.ops.cast(image, "float32")
    scaling = keras.layers.Conv2D(
        3, 1, data_format="channels_last", dtype="float32", name="normalize"
    )
    result = model(scaling(x))
    scaling.set_weights(_as_convolution(preprocessing))
    return keras.Model(image, result, name=model.name)


def _as_convolution(preprocessing: Preprocessing) -> list[np.ndarray]:
    """Returns kernel and bias of a convolution that equals `Preprocessing.normalize`."""
    std = np.asarray(preprocessing.std, "float64")
    order = np.arange(3)[:: -1 if preprocessing.channel_order == "bgr" else 1]
    kernel = np.zeros((1, 1, 3, 3))
    kernel[0, 0, order, np.arange(3)] = preprocessing.scale / std
    return [kernel, -np.asarray(preprocessing.mean, "float64") / std]
