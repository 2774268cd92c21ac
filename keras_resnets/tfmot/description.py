"""Describes a Keras 3 network as plain data, from which Keras 2 can rebuild it."""

import typing
from collections.abc import Mapping

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import activations
from keras_resnets.graph import anatomy
from keras_resnets.graph.nodes import Step
from keras_resnets.graph.nodes import graph_of
from keras_resnets.graph.nodes import read_steps
from keras_resnets.networks import layers

# The class name in Keras 2 and the attributes of its config, by class.
_PLAIN = {
    keras.layers.Conv2D: (
        "Conv2D",
        (
            *("filters", "kernel_size", "strides", "padding"),
            *("dilation_rate", "groups", "use_bias"),
        ),
    ),
    keras.layers.Dense: ("Dense", ("units", "use_bias")),
    keras.layers.BatchNormalization: (
        "BatchNormalization",
        ("axis", "momentum", "epsilon", "center", "scale"),
    ),
    keras.layers.ReLU: ("ReLU", ("max_value", "negative_slope", "threshold")),
    keras.layers.Activation: ("Activation", ()),
    keras.layers.Softmax: ("Softmax", ("axis",)),
    keras.layers.Add: ("Add", ()),
    keras.layers.Multiply: ("Multiply", ()),
    keras.layers.Concatenate: ("Concatenate", ("axis",)),
    keras.layers.MaxPooling2D: ("MaxPooling2D", ("pool_size", "strides", "padding")),
    keras.layers.AveragePooling2D: (
        "AveragePooling2D",
        ("pool_size", "strides", "padding"),
    ),
    keras.layers.GlobalAveragePooling2D: ("GlobalAveragePooling2D", ("keepdims",)),
    keras.layers.GlobalMaxPooling2D: ("GlobalMaxPooling2D", ("keepdims",)),
    keras.layers.ZeroPadding2D: ("ZeroPadding2D", ("padding",)),
    keras.layers.Flatten: ("Flatten", ()),
    keras.layers.Reshape: ("Reshape", ("target_shape",)),
    keras.layers.Permute: ("Permute", ("dims",)),
    keras.layers.Dropout: ("Dropout", ("rate", "noise_shape")),
    keras.layers.SpatialDropout2D: ("SpatialDropout2D", ("rate",)),
}
_PLAIN |= {
    layers.Conv2D: _PLAIN[keras.layers.Conv2D],
    layers.PlainConv2D: _PLAIN[keras.layers.Conv2D],
    layers.BatchNormalization: _PLAIN[keras.layers.BatchNormalization],
    layers.ReLU: _PLAIN[keras.layers.ReLU],
    layers.MaxPooling2D: _PLAIN[keras.layers.MaxPooling2D],
}
# Functions that are the same in both versions, under the same name.
_FUNCTIONS = ("linear", "relu", "softmax", "sigmoid", "tanh", "elu", "selu")
# TensorFlow's fused BN raises a smaller epsilon to this.
LEAST_EPSILON = 1.001e-5


def describe(model: keras.Model) -> dict[str, typing.Any]:
    """Describes `model` up to its final softmax as plain data.

    Args:
        model: a functional or Sequential `keras.Model` with one image input and one
            output, channels last; nested models are unfolded.

    Returns:
        A dict for JSON: `input`, `input_shape`, `output` (names of tensors), `steps` in
        their order (`layer`, `kind`, `config`, `inputs`, `output`), and `softmax`,
        whether the model ends in one.

    Raises:
        InvalidArgument: a layer without a counterpart; it is named.
    """
    steps, outputs = read_steps(model)
    if len(outputs) != 1 or len(model.inputs) != 1:
        raise InvalidArgument(
            "the bridge to tf_keras takes a model with one input and one output; "
            f"{model.name} has {len(model.inputs)} and {len(outputs)}"
        )
    (output,), softmax = outputs, False
    if steps[-1].output == output and _is_softmax_layer(steps[-1].layer):
        *steps, last = steps
        output, softmax = last.inputs[0], True
    names = {id(graph_of(model).inputs[0]): "image"}
    described = []
    for layer, step in zip(_names(steps), steps, strict=True):
        names[step.output] = f"tensor_{len(names)}"
        if isinstance(step.layer, layers.Discard):
            # At inference it passes its first input on.
            names[step.output] = names[step.inputs[0]]
            continue
        kind, config = _kind_of(step)
        if step.output == output and config.get("activation") == anatomy.SOFTMAX:
            config, softmax = {**config, "activation": "linear"}, True
        described.append(
            {
                "layer": layer,
                "kind": kind,
                "config": config,
                "inputs": [names[key] for key in step.inputs],
                "output": names[step.output],
            }
        )
    return {
        "input": "image",
        "input_shape": list(model.inputs[0].shape[1:]),
        "output": names[output],
        "softmax": softmax,
        "steps": _needed(described, names[output]),
    }


def _needed(steps: typing.Any, output: str) -> list[dict[str, typing.Any]]:
    """The steps that `output` depends on, without discarded branches."""
    needed_tensors, kept = {output}, []
    for step in reversed(steps):
        if step["output"] in needed_tensors:
            needed_tensors.update(step["inputs"])
            kept.append(step)
    return kept[::-1]


def _names(steps: typing.Any) -> list[str]:
    """A unique name for the layer of every step: its own, unless another layer has it."""
    taken: dict[str, keras.layers.Layer] = {}
    names = []
    for step in steps:
        name = step.layer.name
        while taken.setdefault(name, step.layer) is not step.layer:
            name = f"{name}_again"
        names.append(name)
    return names


def named_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns the layers of `model` with variables, by their names in `describe`."""
    steps, _ = read_steps(model)
    return {
        name: step.layer
        for name, step in zip(_names(steps), steps, strict=True)
        if step.layer.weights
    }


def read_values(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns values by `layer/variable`, as the rebuilt network takes them."""
    values_by_name = {}
    for name, layer in named_layers(model).items():
        for variable in layer.weights:
            values = keras.ops.convert_to_numpy(variable).astype("float32")
            if variable.name == "moving_variance":
                # In float64, so that nothing is lost before both are compared.
                values = values.astype("float64") - _epsilon_lifted(layer)
            values_by_name[f"{name}/{variable.name}"] = values
    return values_by_name


def write_values(model: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    """Sets the variables of `model` that `values` holds; others do not change."""
    for name, layer in named_layers(model).items():
        for variable in layer.weights:
            value = values.get(f"{name}/{variable.name}")
            if value is None:
                continue
            if variable.name == "moving_variance":
                value = np.maximum(value.astype("float64") + _epsilon_lifted(layer), 0)
            variable.assign(value)


def _epsilon_lifted(norm: keras.layers.Layer) -> float:
    """Returns by how much the epsilon of the rebuilt BN exceeds that of `norm`."""
    return max(LEAST_EPSILON - norm.epsilon, 0.0)


def _kind_of(step: Step) -> tuple[str, dict[str, typing.Any]]:
    """(class name, config) in Keras 2 of the layer of a step."""
    layer = step.layer
    if getattr(layer, "data_format", None) == "channels_first":
        raise InvalidArgument(
            f"the bridge to tf_keras takes a network of channels_last; {layer.name} is "
            "not"
        )
    if isinstance(layer, layers.IdentityPadShortcut):
        return _identity_pad(layer)
    if isinstance(layer, layers.StochasticDepth):
        return "Dropout", {"rate": layer.rate, "noise_shape": [None, 1, 1, 1]}
    if type(layer) is keras.layers.LeakyReLU:
        return "LeakyReLU", {"alpha": float(layer.negative_slope)}
    if type(layer) not in _PLAIN:
        raise _unknown(layer, type(layer).__name__)
    kind, attributes = _PLAIN[type(layer)]
    config = {name: getattr(layer, name) for name in attributes}
    if "epsilon" in config:
        config["epsilon"] = max(config["epsilon"], LEAST_EPSILON)
    if hasattr(layer, "activation"):
        name = activations.name_of(layer.activation)
        if kind == "Activation" and name == "relu6":
            return "ReLU", {"max_value": 6.0}
        if name not in _FUNCTIONS:
            function = anatomy.function_of(layer)
            raise _unknown(layer, f"{type(layer).__name__} with {function}")
        config["activation"] = name
    return kind, config


def _identity_pad(layer: keras.layers.Layer) -> tuple[str, dict[str, typing.Any]]:
    channels = layer.input.shape[-1]
    new = layer.filters - channels
    before = new // 2 if layer.position == "both" else 0
    config = {"strides": layer.strides, "before": before, "behind": new - before}
    return "IdentityPad", config


def _is_softmax_layer(layer: keras.layers.Layer) -> bool:
    if type(layer) is keras.layers.Softmax:
        return layer.axis == -1
    is_activation = type(layer) is keras.layers.Activation
    return is_activation and anatomy.function_of(layer) == anatomy.SOFTMAX


def _unknown(layer: keras.layers.Layer, kind: str) -> InvalidArgument:
    return InvalidArgument(
        f"no tf_keras counterpart is known for layer {layer.name} ({kind}): use Conv2D, "
        "Dense, BatchNormalization, ReLU, LeakyReLU, Add, pooling and padding in its "
        "place, or stay in Keras 3 with quantize_aware and Prune"
    )
