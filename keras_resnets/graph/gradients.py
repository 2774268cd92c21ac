"""Gradients of one output with respect to a feature map, on every backend of Keras."""

import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument


def at_map(
    model: keras.Model,
    tensor: typing.Any,
    scores: typing.Any,
    images: np.ndarray,
    index: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a feature map of one image, and the gradient of one score with respect to it.

    Args:
        model: the model whose graph contains `tensor` and `scores`.
        tensor: the symbolic feature map.
        scores: symbolic scores (batch, classes) computed from it.
        images: float32 batch of one image.
        index: the index of the score.

    Returns:
        Two float32 arrays (rows, columns, channels).

    Raises:
        InvalidArgument: the backend has no gradients: NumPy or OpenVINO.
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise InvalidArgument(
            "grad-cam requires the TensorFlow, JAX or PyTorch backend "
            f"(KERAS_BACKEND={'|'.join(_GRADIENTS)}); got {backend!r}"
        )
    feature_map = keras.Model(model.inputs, tensor)(_as_tensor(images), training=False)
    rest = keras.Model(tensor, scores)
    slopes = _GRADIENTS[backend](rest, feature_map, index)
    first = _is_first(tensor)
    return tuple(  # type: ignore[return-value]
        np.transpose(each, (1, 2, 0)) if first else each
        for each in (_array(feature_map)[0], _array(slopes)[0])
    )


def _is_first(tensor: typing.Any) -> bool:
    layer = tensor._keras_history.operation
    return getattr(layer, "data_format", "channels_last") == "channels_first"


def _as_tensor(images: np.ndarray) -> typing.Any:
    return keras.ops.convert_to_tensor(images, "float32")


def _array(tensor: typing.Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def _tensorflow(rest: keras.Model, feature_map: typing.Any, index: int) -> typing.Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(feature_map)
        score = rest(feature_map, training=False)[0, index]
    return tape.gradient(score, feature_map)


def _jax(rest: keras.Model, feature_map: typing.Any, index: int) -> typing.Any:
    import jax

    return jax.grad(lambda x: rest(x, training=False)[0, index])(feature_map)


def _torch(rest: keras.Model, feature_map: typing.Any, index: int) -> typing.Any:
    import torch

    leaf = feature_map.detach().requires_grad_(True)
    score = rest(leaf, training=False)[0, index]
    return torch.autograd.grad(score, leaf)[0]


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
