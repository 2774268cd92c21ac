"""What an exported model takes and puts out: the names, logits, features, pixels."""

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
    "select",
    "structured",
    "with_pixels",
]

INPUT_NAME = "image"


def select(
    model: keras.Model, logits: bool = False, features: Sequence[str] | None = None
) -> keras.Model:
    """The part of `model` that is wanted, as a functional model that shares its layers.

    Args:
        model: a functional or Sequential model.
        logits: what its softmax or sigmoid gets instead of what that puts out.
        features: names of endpoints, see `feature_extractor`; None for its outputs.

    Returns:
        A `keras.Model` that puts out a dict.

    Raises:
        InvalidArgument: logits of a model without a classifier, endpoints that it has
            not, or both.
    """
    if not features:
        wanted = _logits(model) if logits else outputs(model)
    elif logits:
        raise InvalidArgument("logits and features cannot be exported in one file")
    else:
        wanted = feature_extractor(model, features).output
    return keras.Model(model.inputs, wanted, name=model.name)


def _logits(model: keras.Model) -> Tensors:
    wanted = outputs(model)
    if list(wanted) == ["logits"]:
        return wanted
    found = logits_of(model)
    if found is None:
        raise InvalidArgument(
            "logits are what a softmax or sigmoid at the end gets; "
            f"{model.name} puts out {', '.join(wanted)}"
        )
    return {"logits": found}


def structured(model: keras.Model, like: keras.Model) -> keras.Model:
    """`model`, which puts out a dict, with its outputs in the structure of `like`.

    A single one is itself, a list a list. `like` puts out the same tensors.
    """
    made = list(outputs(model).values())
    # Not a list of one, of which Keras would warn when it gets the tensor itself.
    given = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    if len(made) == 1:
        return keras.Model(given, made[0], name=model.name)
    if isinstance(like, keras.Sequential) or isinstance(like.output, dict):
        return keras.Model(given, model.output, name=model.name)
    made = keras.tree.pack_sequence_as(like.output, made)
    return keras.Model(given, made, name=model.name)


def with_pixels(
    model: keras.Model, preprocessing: Preprocessing, shape: Sequence[int], dtype: str
) -> keras.Model:
    """`model` behind its pre-processing: RGB pixel values go in.

    Scale, mean, deviation and channel order are one convolution of 1x1, which every
    format has, and which an integer file computes without loss.

    Args:
        model: what `select` returns, of RGB images.
        preprocessing: a `Preprocessing`.
        shape: (height, width, channels) of the images.
        dtype: of the input: `"uint8"` or `"float32"`.
    """
    image = keras.Input(shape, dtype=dtype, name=INPUT_NAME)
    x = image if dtype == "float32" else keras.ops.cast(image, "float32")
    scaling = keras.layers.Conv2D(
        3, 1, data_format="channels_last", dtype="float32", name="normalize"
    )
    found = model(scaling(x))
    scaling.set_weights(_as_convolution(preprocessing))
    return keras.Model(image, found, name=model.name)


def _as_convolution(preprocessing: Preprocessing) -> list[np.ndarray]:
    """Kernel and bias that do to a pixel what `Preprocessing.normalize` does."""
    std = np.asarray(preprocessing.std, "float64")
    order = np.arange(3)[:: -1 if preprocessing.channel_order == "bgr" else 1]
    kernel = np.zeros((1, 1, 3, 3))
    kernel[0, 0, order, np.arange(3)] = preprocessing.scale / std
    return [kernel, -np.asarray(preprocessing.mean, "float64") / std]
