"""Gradients of one output with respect to a feature map, on every backend of Keras."""

import typing
from collections.abc import Callable
from collections.abc import Iterator

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import nearest
from keras_resnets.errors import printable
from keras_resnets.errors import shown
from keras_resnets.graph import nodes

_Score = Callable[[typing.Any], typing.Any]


def at_map(
    model: keras.Model,
    scores: typing.Any,
    images: np.ndarray,
    index: int,
    layer: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a feature map of one image, and the gradient of a score by it.

    A feature map has more than one place, and a layer with weights contributed to it;
    it may be within nested models. The layers are called one by one, so that the graph
    of `model` gets no new nodes.

    Args:
        model: a functional or Sequential model with one input.
        scores: symbolic scores (batch, classes) that its graph computes.
        images: float32 batch of one image.
        index: the index of the score.
        layer: the name of the layer that computes the map, with or without those of the
            models that contain it (`base/conv`); None for the last map.

    Returns:
        Two float32 arrays (rows, columns, channels).

    Raises:
        InvalidArgument: there is no such map or layer, or the backend, NumPy or OpenVINO,
            has no gradients.
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise InvalidArgument(
            "grad-cam requires the TensorFlow, JAX or PyTorch backend "
            f"(KERAS_BACKEND={'|'.join(_GRADIENTS)}); got {backend!r}"
        )
    graph = keras.Model(model.inputs, scores)
    steps, (score,) = nodes.read_steps(graph)
    tensors = {id(graph.inputs[0]): keras.ops.convert_to_tensor(images, "float32")}
    _run(steps, tensors)
    place, first = _map_of(steps, tensors, model.name, layer)
    key = steps[place].output

    def rest(feature_map: typing.Any) -> typing.Any:
        after = {**tensors, key: feature_map}
        _run(steps[place + 1 :], after)
        return after[score][0, index]

    slopes = _GRADIENTS[backend](rest, tensors[key])
    return tuple(  # type: ignore[return-value]
        np.transpose(each, (1, 2, 0)) if first else each
        for each in (_array(tensors[key])[0], _array(slopes)[0])
    )


def _run(steps: list[nodes.Step], tensors: dict[typing.Any, typing.Any]) -> None:
    """Computes the steps in turn; `tensors` has their inputs by key, and gets the rest."""
    for step in steps:
        outputs = nodes.called(step, [tensors[key] for key in step.inputs])
        tensors.update(zip(step.outputs, outputs, strict=True))


def _map_of(
    steps: list[nodes.Step],
    tensors: dict[typing.Any, typing.Any],
    name: str,
    layer: str | None,
) -> tuple[int, bool]:
    """Returns the step that computes a map, and whether its channels are first."""
    found = dict(_maps(steps, tensors))
    if not found:
        raise InvalidArgument(f"{name} has no feature map larger than 1 x 1")
    if layer is None:
        return list(found.items())[-1]
    named = [x for x in found if layer in (steps[x].path, steps[x].layer.name)]
    if named:
        return named[-1], found[named[-1]]
    near = nearest(layer, [steps[place].path for place in found], count=1)
    hint = f"; did you mean {printable(near[0])!r}?" if near else ""
    raise InvalidArgument(
        f"layer must be one of the {len(found)} layers of {name} that put out a feature "
        f"map larger than 1 x 1; got {shown(layer)}{hint}"
    )


def _maps(
    steps: list[nodes.Step], tensors: dict[typing.Any, typing.Any]
) -> Iterator[tuple[int, bool]]:
    """Yields the step of each feature map, and whether its channels are first."""
    first, has_weights = keras.config.image_data_format() == "channels_first", False
    for number, step in enumerate(steps):
        # Preprocessing in the model makes images, not feature maps.
        has_weights |= bool(getattr(step.layer, "weights", ())) and not isinstance(
            step.layer, keras.layers.Normalization
        )
        # An activation or a sum has the order of the layers before it.
        order = getattr(step.layer, "data_format", None)
        first = first if order is None else order == "channels_first"
        shape = tuple(tensors[step.output].shape)
        sides = shape[2:] if first else shape[1:3]
        if has_weights and len(shape) == 4 and max(sides) > 1:
            yield number, first


def _array(tensor: typing.Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def _tensorflow(rest: _Score, feature_map: typing.Any) -> typing.Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(feature_map)
        score = rest(feature_map)
    return tape.gradient(score, feature_map, unconnected_gradients="zero")


def _jax(rest: _Score, feature_map: typing.Any) -> typing.Any:
    import jax

    return jax.grad(rest)(feature_map)


def _torch(rest: _Score, feature_map: typing.Any) -> typing.Any:
    import torch

    leaf = feature_map.detach().requires_grad_(True)
    return torch.autograd.grad(rest(leaf), leaf)[0]


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
