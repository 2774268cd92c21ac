"""Gradients of one output by a feature map, on every backend of Keras."""

import typing

import keras
import numpy as np


def at_map(
    model: keras.Model,
    tensor: typing.Any,
    scores: typing.Any,
    images: np.ndarray,
    index: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A feature map of one image, and the gradient of one score by it.

    Args:
        model: with the graph that both are of.
        tensor: the symbolic map.
        scores: symbolic scores (batch, classes) that follow from it.
        images: float32 batch of one.
        index: of the score.

    Returns:
        Two float32 arrays (rows, columns, channels).
    """
    found = keras.Model(model.inputs, tensor)(_as_tensor(images), training=False)
    rest = keras.Model(tensor, scores)
    slopes = _GRADIENTS[keras.backend.backend()](rest, found, index)
    first = _is_first(tensor)
    return tuple(  # type: ignore[return-value]
        np.transpose(each, (1, 2, 0)) if first else each
        for each in (_array(found)[0], _array(slopes)[0])
    )


def _is_first(tensor: typing.Any) -> bool:
    layer = tensor._keras_history.operation
    return getattr(layer, "data_format", "channels_last") == "channels_first"


def _as_tensor(images: np.ndarray) -> typing.Any:
    return keras.ops.convert_to_tensor(images, "float32")


def _array(tensor: typing.Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def _tensorflow(rest: keras.Model, found: typing.Any, index: int) -> typing.Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(found)
        score = rest(found, training=False)[0, index]
    return tape.gradient(score, found)


def _jax(rest: keras.Model, found: typing.Any, index: int) -> typing.Any:
    import jax

    return jax.grad(lambda x: rest(x, training=False)[0, index])(found)


def _torch(rest: keras.Model, found: typing.Any, index: int) -> typing.Any:
    import torch

    given = found.detach().requires_grad_(True)
    score = rest(given, training=False)[0, index]
    return torch.autograd.grad(score, given)[0]


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
