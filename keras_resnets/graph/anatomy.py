"""The parts of any network: its layers, nested ones included, its head, its outputs.

All of it is read from the graph, whatever the layers are called and however they are
nested.
"""

import typing
from collections.abc import Callable
from collections.abc import Iterable

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import activations

LOGITS, SOFTMAX, SIGMOID = "logits", "softmax", "sigmoid"
# The function of a layer that only its values tell.
CUSTOM = "custom"
_PROBABILITIES = {"softmax": SOFTMAX, "sigmoid": SIGMOID, "hardsigmoid": SIGMOID}
# Layers and operations whose outputs are probabilities if their inputs are.
_PASSED = frozenset(
    "Activation ActivityRegularization Cast Dropout ExpandDims Flatten GaussianDropout "
    "GaussianNoise GetItem GlobalAveragePooling1D GlobalAveragePooling2D Identity Mean "
    "Permute Reshape Squeeze StopGradient Transpose".split()
)
# Pixels are scaled by about 1/255; no other layer scales by so little.
_OF_PIXELS = 1 / 50
# What models of other libraries are, and how to get a model of Keras 3 of them.
_WAYS = {
    "tf_keras": " of tf_keras, which is Keras 2: build the network of Keras 3's "
    "keras.layers and call its set_weights(model.get_weights()), after strip_pruning or "
    "strip_clustering; instead of quantize_model, quantize that network here",
    "torch": ", a module of PyTorch: torch.save(model.state_dict(), file), then "
    "keras_resnets.create_model(name, weights=file)",
}
# Images whose outputs are inspected if the graph does not determine their kind.
_LOOKED_AT = 8


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of a model, with those in nested models and wrappers, each once.

    A model or wrapper precedes the layers that it contains.
    """
    return model._flatten_layers(include_self=False)


def holds_others(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a model or a wrapper, or contains layers otherwise."""
    return bool(layer._layers)


def type_and_remedy(value: object) -> str:
    """Returns the type of something that is no `keras.Model`, and how to get one of it.

    Example:
        >>> type_and_remedy(3)
        'int'
    """
    name = type(value).__name__
    if isinstance(value, keras.layers.Layer):
        # On the PyTorch backend it is a module of PyTorch, too.
        return name
    packages = [kind.__module__.partition(".")[0] for kind in type(value).__mro__]
    way = next((_WAYS[package] for package in packages if package in _WAYS), "")
    return name + way


def check_no_lora(layers: Iterable[keras.layers.Layer], what: str) -> None:
    """Raises `InvalidArgument` for a layer with a LoRA adapter.

    Its `kernel` is a sum that Keras computes, to which nothing can be assigned.
    """
    for layer in layers:
        if getattr(layer, "lora_enabled", False):
            raise InvalidArgument(
                f"{what} takes layers without LoRA adapters; {layer.name} has one of "
                f"rank {layer.lora_rank}: model.save_weights('merged.weights.h5') merges "
                "them; load that file into the network as it was built"
            )


def has_graph(operation: typing.Any) -> bool:
    """Returns whether it is a model with a graph; a subclassed one has none."""
    return isinstance(operation, keras.Model) and bool(
        getattr(operation, "outputs", None)
    )


def producer(
    tensor: keras.KerasTensor, levels: tuple[typing.Any, ...] = ()
) -> tuple[typing.Any, typing.Any]:
    """Returns the layer or operation that produces a tensor, within nested models.

    Args:
        tensor: a symbolic tensor of a functional model's graph.
        levels: the nested models that contain it, as this function returned them.

    Returns:
        (operation, its inputs as a list of (tensor, levels)); an `InputLayer` of the
        whole model has none.
    """
    operation, node, index = tensor._keras_history
    inputs = operation._inbound_nodes[node].input_tensors
    if has_graph(operation):
        inner = keras.tree.flatten(operation.outputs)[index]
        return producer(inner, (*levels, (operation, inputs)))
    if levels and isinstance(operation, keras.layers.InputLayer):
        *outer, (model, outside) = levels
        places = [id(entry) for entry in keras.tree.flatten(model.inputs)]
        return producer(outside[places.index(id(tensor))], tuple(outer))
    return operation, [(source, levels) for source in inputs]


def head(model: keras.Model) -> list[typing.Any]:
    """Returns the layers with weights after the last feature map, from the output back.

    The last feature map is the input of the last global pooling or flattening. If no
    layer after it has weights (DarkNet-19's classifier is a convolution before its
    pooling), the last layer with weights is the head.
    """
    operations, passed = [], set()
    waiting = [(model.outputs[0], ())]
    while waiting:
        operation, inputs = producer(*waiting.pop())
        if id(operation) in passed:
            continue
        passed.add(id(operation))
        operations.append(operation)
        if not _pools(operation):
            waiting += [source for source in inputs if not _is_map(*source)]
    weighted = [layer for layer in operations if _has_weights(layer)]
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
    """Whether a tensor is a feature map, and not the result of pooling one."""
    if _is_large(tensor):
        return True
    while len(tensor.shape) > 2 and not _is_large(tensor):
        operation, inputs = producer(tensor, levels)
        if "Pooling" in type(operation).__name__ or not inputs:
            return False
        tensor, levels = inputs[0]
    # A map of one pixel, because the image was so small.
    return len(tensor.shape) > 2


def _is_large(tensor: keras.KerasTensor) -> bool:
    return sum(side is None or side > 1 for side in tensor.shape[1:]) > 1


def function_of(operation: typing.Any) -> str:
    """Returns the function that a layer or an operation of `keras.ops` ends in.

    Returns:
        Its name in lower case without underscores: `"softmax"` for
        `keras.layers.Softmax`, `Dense(activation="softmax")` and `tf.nn.softmax`;
        `"linear"` for a layer whose `activation` is None; for other layers the name of
        their class. `"custom"` for a user's own function or class, whatever its name.

    Example:
        >>> function_of(keras.layers.Dense(10)), function_of(keras.layers.Softmax())
        ('linear', 'softmax')
    """
    function = operation
    if hasattr(operation, "activation"):
        function = operation.activation or keras.activations.linear
    if not hasattr(function, "__name__"):
        function = type(function)
    if not activations.is_of_library(function):
        return CUSTOM
    name = function.__name__
    # TensorFlow's own softmax is called softmax_v2.
    return name.lower().replace("_", "").removesuffix("v2")


def kind_of_outputs(model: keras.Model) -> str:
    """Returns the kind of a classifier's outputs: `"logits"`, `"softmax"` or `"sigmoid"`.

    It is read from the graph, from the output back: through nested models, layers that
    change no values, and averages. If a custom layer decides, the outputs for random
    images are inspected.
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
        if function == CUSTOM:
            return None
        if name == "Average":
            kinds = {_kind(*source) for source in inputs}
            return kinds.pop() if len(kinds) == 1 else None
        if name in _PASSED and function in ("linear", name.lower()) and inputs:
            tensor, levels = inputs[0]
            continue
        # A layer with weights and none of the activations above computes sums of products.
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
    """Returns the name of a layer in the model that scales pixel values, or None.

    A `Rescaling` by about 1/255, or a `Normalization` by means that only pixel values
    in 0..255 have, as at the beginning of `keras.applications.EfficientNetB0`.
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
    """The `trainable` flags that a user set in a model: recorded once, never widened.

    Args:
        model: a `keras.Model`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._flags = [(layer, layer.trainable) for layer in all_layers(model)]
        self._model, self._whole = model, model.trainable
        self._held = [weight for weight in model.weights if not weight.trainable]

    @property
    def frozen(self) -> list[int]:
        """Indices in `all_layers` of the layers with weights that the user froze."""
        return [
            index
            for index, (layer, flag) in enumerate(self._flags)
            if layer.weights and not flag
        ]

    def allow(
        self, allowed: Callable[[keras.layers.Layer], bool] = lambda layer: True
    ) -> None:
        """Makes the layers trainable that the user left trainable and `allowed` accepts.

        Args:
            allowed: function of a layer that contains no others; those that do keep
                their flags.
        """
        self._model.trainable = self._whole
        # Setting a container's flag also sets its layers' flags: containers come first.
        for layer, flag in self._flags:
            inner = [
                sublayer for sublayer in all_layers(layer) if not holds_others(sublayer)
            ]
            layer.trainable = flag and any(map(allowed, inner or [layer]))
        for weight in self._held:
            weight.trainable = False
