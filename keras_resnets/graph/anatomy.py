"""What a network of anybody's is made of: layers inside layers, its head, its outputs.

All of it is told by the graph, whatever the layers are called and however they are
nested.
"""

import typing
from collections.abc import Callable

import keras
import numpy as np

LOGITS, SOFTMAX, SIGMOID = "logits", "softmax", "sigmoid"
_PROBABILITIES = {"softmax": SOFTMAX, "sigmoid": SIGMOID, "hardsigmoid": SIGMOID}
# Layers and operations whose outputs are probabilities where their inputs are.
_PASSED = frozenset(
    "Activation ActivityRegularization Cast Dropout ExpandDims Flatten GaussianDropout "
    "GaussianNoise GetItem GlobalAveragePooling1D GlobalAveragePooling2D Identity Mean "
    "Permute Reshape Squeeze StopGradient Transpose".split()
)
# Pixels are scaled by about 1/255; nothing else is by so little.
_OF_PIXELS = 1 / 50
# Images that outputs are looked at for, where the graph does not tell what they are.
_LOOKED_AT = 8


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model, with those inside nested models and wrappers; each once.

    What holds others stands in front of them.
    """
    return model._flatten_layers(include_self=False)


def holds_others(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a model or a wrapper, or has layers of its own otherwise."""
    return bool(layer._layers)


def producer(
    tensor: keras.KerasTensor, levels: tuple[typing.Any, ...] = ()
) -> tuple[typing.Any, typing.Any]:
    """The layer or operation that makes a tensor, within nested models.

    Args:
        tensor: a symbolic tensor of a functional model's graph.
        levels: the nested models that it lies in, as this function returned them.

    Returns:
        (operation, its inputs as a list of (tensor, levels)); an `InputLayer` of the
        whole has none.
    """
    operation, node, index = tensor._keras_history
    inputs = operation._inbound_nodes[node].input_tensors
    if getattr(operation, "outputs", None) and isinstance(operation, keras.Model):
        inner = keras.tree.flatten(operation.outputs)[index]
        return producer(inner, (*levels, (operation, inputs)))
    if levels and isinstance(operation, keras.layers.InputLayer):
        *outer, (model, outside) = levels
        places = [id(entry) for entry in keras.tree.flatten(model.inputs)]
        return producer(outside[places.index(id(tensor))], tuple(outer))
    return operation, [(given, levels) for given in inputs]


def head(model: keras.Model) -> list[typing.Any]:
    """The layers behind the last feature map, from the output on; those with weights.

    The last feature map is what the last global pooling or flattening takes. Where
    nothing behind it has weights (DarkNet-19's classifier is a convolution in front of
    its pooling), the last layer with weights is the head.
    """
    found, passed = [], set()
    waiting = [(model.outputs[0], ())]
    while waiting:
        operation, inputs = producer(*waiting.pop())
        if id(operation) in passed:
            continue
        passed.add(id(operation))
        found.append(operation)
        if not _pools(operation):
            waiting += [given for given in inputs if not _is_map(*given)]
    weighted = [layer for layer in found if _has_weights(layer)]
    return weighted or [_last_with_weights(model)]


def _has_weights(operation: typing.Any) -> bool:
    return isinstance(operation, keras.layers.Layer) and bool(operation.weights)


def _last_with_weights(model: keras.Model) -> typing.Any:
    waiting, passed = [(model.outputs[0], ())], set()
    while waiting:
        operation, inputs = producer(*waiting.pop(0))
        if _has_weights(operation):
            return operation
        if id(operation) not in passed:
            passed.add(id(operation))
            waiting += inputs
    return None


def _pools(operation: typing.Any) -> bool:
    return type(operation).__name__.startswith("Global")


def _is_map(tensor: keras.KerasTensor, levels: tuple[typing.Any, ...]) -> bool:
    """Whether a tensor is a feature map, and not what a pooling left of one."""
    if _is_large(tensor):
        return True
    while len(tensor.shape) > 2 and not _is_large(tensor):
        operation, inputs = producer(tensor, levels)
        if "Pooling" in type(operation).__name__ or not inputs:
            return False
        tensor, levels = inputs[0]
    # Of one pixel, because the image was so small.
    return len(tensor.shape) > 2


def _is_large(tensor: keras.KerasTensor) -> bool:
    return sum(side is None or side > 1 for side in tensor.shape[1:]) > 1


def function_of(operation: typing.Any) -> str:
    """The function that a layer or an operation of `keras.ops` ends in.

    Returns:
        Its name in small letters without underscores: `"softmax"` of
        `keras.layers.Softmax`, of `Dense(activation="softmax")` and of `tf.nn.softmax`
        alike; `"linear"` of a layer that could have one and has none; of others the
        name of their class.

    Example:
        >>> function_of(keras.layers.Dense(10)), function_of(keras.layers.Softmax())
        ('linear', 'softmax')
    """
    function = operation
    if hasattr(operation, "activation"):
        function = operation.activation or keras.activations.linear
    name = getattr(function, "__name__", None) or type(function).__name__
    # TensorFlow's own softmax is called softmax_v2.
    return name.lower().replace("_", "").removesuffix("v2")


def kind_of_outputs(model: keras.Model) -> str:
    """What a classifier outputs: `"logits"`, `"softmax"` or `"sigmoid"`.

    Told by the graph, from the output back: through nested models, through layers that
    change no values, into averages. Where a layer of somebody's own decides, outputs
    for random images are looked at.
    """
    return _kind(model.outputs[0], ()) or _kind_by_values(model)


def _kind(tensor: keras.KerasTensor, levels: tuple[typing.Any, ...]) -> str | None:
    while True:
        operation, inputs = producer(tensor, levels)
        while isinstance(operation, keras.layers.Wrapper):
            operation = operation.layer
        name, function = type(operation).__name__, function_of(operation)
        if function in _PROBABILITIES:
            return _PROBABILITIES[function]
        if name == "Average":
            kinds = {_kind(*given) for given in inputs}
            return kinds.pop() if len(kinds) == 1 else None
        if name in _PASSED and function in ("linear", name.lower()) and inputs:
            tensor, levels = inputs[0]
            continue
        # Whatever has weights and no activation of those above is a sum of products.
        is_known = isinstance(operation, (keras.layers.Dense, keras.layers.Conv2D))
        return LOGITS if is_known or name == "Activation" else None


def _kind_by_values(model: keras.Model) -> str:
    shape = [side or 32 for side in model.inputs[0].shape[1:]]
    images = np.random.default_rng(0).normal(size=(_LOOKED_AT, *shape))
    outputs = model(keras.ops.cast(images, "float32"), training=False)
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))
    if not ((outputs >= 0) & (outputs <= 1)).all():
        return LOGITS
    sums = outputs.sum(axis=-1)
    return SOFTMAX if np.allclose(sums, 1, atol=1e-2) else SIGMOID


def scaling_layer(model: keras.Model) -> str | None:
    """The name of a layer inside that scales pixel values, or None.

    A `Rescaling` by 1/255 or so, or a `Normalization` by means that only pixel values
    in 0..255 have: `keras.applications.EfficientNetB0` begins so.
    """
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Rescaling):
            if np.max(np.abs(layer.scale)) <= _OF_PIXELS:
                return layer.name
        elif isinstance(layer, keras.layers.Normalization):
            mean = getattr(layer, "mean", None)
            if mean is not None and np.max(keras.ops.convert_to_numpy(mean)) > 5:
                return layer.name
    return None


class Flags:
    """What of a model its user lets train: taken down once, never widened.

    Args:
        model: a `keras.Model`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._flags = [(layer, layer.trainable) for layer in all_layers(model)]
        self._model, self._whole = model, model.trainable
        self._held = [weight for weight in model.weights if not weight.trainable]

    @property
    def frozen(self) -> list[int]:
        """Places among `all_layers` of those with weights that the user froze."""
        return [
            index
            for index, (layer, flag) in enumerate(self._flags)
            if layer.weights and not flag
        ]

    def allow(
        self, allowed: Callable[[keras.layers.Layer], bool] = lambda layer: True
    ) -> None:
        """Lets those layers train that the user lets train and `allowed` says so.

        Args:
            allowed: function of a layer that holds no others; those that do keep their
                own flags.
        """
        self._model.trainable = self._whole
        # What holds others sets theirs as well: in front of them.
        for layer, flag in self._flags:
            inner = [one for one in all_layers(layer) if not holds_others(one)]
            layer.trainable = flag and any(map(allowed, inner or [layer]))
        for weight in self._held:
            weight.trainable = False
