"""Random weights and BN statistics that make a comparison meaningful.

In a new network BN is the identity, and branches with zero gammas are exactly zero.
Comparing its export would detect few errors, activations grow with the depth, and all
classes are equally likely. After `settle`, every BN has an effect, and activations and
logits have the scale of a trained network's.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnets.export.prepare import all_layers
from keras_resnets.export.signature import outputs
from keras_resnets.images import calibration_checks

# Standard deviation over 1,000 classes that gives the top class about 0.05 to 0.3.
LOGIT_SPREAD = 2.0
# The number of pixels for the statistics.
_POSITIONS = 60_000


def settle(model: keras.Model, images: np.ndarray, seed: int = 0) -> None:
    """Gives every BN of `model` random gammas and betas, and matching statistics.

    Args:
        model: a `keras.Model`; its BN variables, the kernels of convolutions that end
            a branch without BN, and the classifier's are modified in place.
        images: float32 array (count, height, width, channels), already preprocessed;
            of large images only the first are used.
        seed: seed of the random values.
    """
    rng = np.random.default_rng(seed)
    # A large image has enough positions.
    images = images[: max(_POSITIONS // (images.shape[1] * images.shape[2]), 1)]
    norms = [
        layer
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Conv2D) and _ends_branch(layer):
            layer.kernel.assign(0.4 * layer.kernel)
    for layer in norms:
        # Branches end with small gammas, as in trained networks.
        high = 0.6 if _ends_branch(layer) else 1.5
        shape = layer.gamma.shape
        layer.gamma.assign(rng.uniform(high / 3, high, shape).astype("float32"))
        layer.beta.assign(rng.uniform(-0.2, 0.2, shape).astype("float32"))
        layer.call = _measuring(layer, rng.uniform(0.5, 1.5, shape).astype("float32"))
    changed = norms
    if {"predictions", "logits"}.intersection(outputs(model)):
        last = [layer for layer in all_layers(model) if hasattr(layer, "kernel")][-1]
        last.call = _sharpening(last)
        changed = [*norms, last]
    try:
        _run(model, images)
    finally:
        for layer in changed:
            del layer.call
    for layer in norms:
        setattr(layer, calibration_checks.SETTLED, True)


def _run(model: keras.Model, images: np.ndarray) -> None:
    """Calls `model` and frees every map after its last use; Keras would keep them all."""
    by_depth = getattr(model, "_nodes_by_depth", None)
    if by_depth is None:
        model(images, training=False)
        return
    nodes = [
        node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]
    ]
    nodes = [node for node in nodes if not node.is_input]
    last = {id(x): node for node in nodes for x in node.input_tensors}
    values = {id(model.inputs[0]): ops.convert_to_tensor(images)}
    for node in nodes:
        arguments, options = node.arguments.fill_in(values)
        outputs_of_node = keras.tree.flatten(node.operation(*arguments, **options))
        values.update(zip(map(id, node.outputs), outputs_of_node, strict=True))
        for x in node.input_tensors:
            if last[id(x)] is node:
                values.pop(id(x), None)


def _measuring(layer: Any, jitter: np.ndarray) -> Callable[..., Any]:
    """Returns a `call` that sets the layer's statistics from its inputs and applies it."""

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        x = ops.cast(inputs, "float32")
        axes = [
            axis for axis in range(len(x.shape)) if axis != layer.axis % len(x.shape)
        ]
        # All channels are scaled by the same factor, and not centred: with statistics
        # per channel, every BN of a random network would amplify weak channels and their
        # rounding errors again.
        power = ops.mean(ops.square(x)) + 1e-3
        layer.moving_mean.assign(0.3 * jitter * ops.mean(x, axes))
        layer.moving_variance.assign(power * jitter)
        return type(layer).call(layer, inputs, training=False)

    return call


def _sharpening(layer: Any) -> Callable[..., Any]:
    """Returns a `call` that scales the classifier by the spread of its logits."""

    def call(inputs: Any, training: Any = None) -> Any:
        features = ops.cast(inputs, "float32")
        if len(features.shape) == 4:
            first = layer.data_format == "channels_first"
            features = ops.mean(features, (2, 3) if first else (1, 2))
        kernel = ops.reshape(layer.kernel, (features.shape[-1], -1))
        spread = ops.mean(ops.std(ops.matmul(features, kernel), axis=-1))
        layer.kernel.assign(layer.kernel * (LOGIT_SPREAD / (spread + 1e-9)))
        return type(layer).call(layer, inputs)

    return call


def _ends_branch(layer: Any) -> bool:
    """Whether the layer's output is the end of a branch, before the addition."""
    if "shortcut" in layer.name:
        return False
    consumers = _consumers(layer)
    activations = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.Activation)
    for consumer in list(consumers):
        if isinstance(consumer, activations):
            consumers += _consumers(consumer)
    return any(isinstance(consumer, keras.layers.Add) for consumer in consumers)


def _consumers(layer: Any) -> list[Any]:
    return [node.operation for node in layer._outbound_nodes]
