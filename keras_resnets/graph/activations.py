"""Activations of users' layers, recognized by what they compute.

A user's own function may have the name of a known one, the same function has several
names in several libraries, and a layer may be the activation of another one.
"""

import typing

import keras

# Where a function has the name of what it computes.
_LIBRARIES = ("keras", "keras_resnets", "tensorflow", "tf_keras", "jax", "torch")
# Libraries whose functions have the default arguments of those in keras.activations.
_ALIKE = ("keras", "tensorflow")
# Names of functions of `keras.activations` in these libraries.
_OTHER_NAMES = {
    "identity": "linear",
    "softmax_v2": "softmax",
    "swish": "silu",
    "hard_swish": "hard_silu",
}
# Layers that are an activation alone.
_ALONE = (
    keras.layers.Activation,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)


def is_of_library(function: typing.Any) -> bool:
    """Returns whether a function or class is part of Keras or of one of its backends."""
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in _LIBRARIES


def name_of(function: typing.Any) -> str | None:
    """Returns the name of the function of `keras.activations` that computes the same.

    Args:
        function: an activation, such as `tf.nn.silu`.

    Returns:
        The name; None for a user's function and for functions that Keras lacks.

    Example:
        >>> import keras
        >>> name_of(keras.ops.relu6), name_of(lambda x: x)
        ('relu6', None)
    """
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__name__", None) or ""
    name = _OTHER_NAMES.get(name, name)
    known = getattr(keras.activations, name, None)
    if module.partition(".")[0] not in _ALIKE or known is None:
        return None
    # The one of keras.ops approximates by default.
    return None if function is keras.ops.gelu else name


def plain(layer: typing.Any) -> typing.Any:
    """Returns the plainest Keras layer that computes what an activation layer computes.

    Args:
        layer: any layer.

    Returns:
        A new layer of its name and dtype for an `Activation` of a layer or of another
        library's function, and for a `ReLU` that is a leaky one; otherwise `layer`.

    Example:
        >>> import keras
        >>> plain(keras.layers.Activation(keras.layers.ReLU(6.0))).max_value
        6.0
    """
    options = {"name": layer.name, "dtype": getattr(layer, "dtype_policy", None)}
    if type(layer) is keras.layers.Activation:
        function = layer.activation
        if type(function) in _ALONE:
            return plain(type(function).from_config(function.get_config() | options))
        name = name_of(function)
        if name is not None and function is not getattr(keras.activations, name):
            return keras.layers.Activation(name, **options)
    if type(layer) is keras.layers.ReLU and layer.negative_slope:
        if layer.max_value is None and not layer.threshold:
            slope = float(layer.negative_slope)
            return keras.layers.LeakyReLU(negative_slope=slope, **options)
    return layer


def inside(layer: typing.Any) -> typing.Any:
    """Returns the `activation` of a layer as a plain layer of its name and dtype."""
    options = {"name": layer.name, "dtype": layer.dtype_policy}
    return plain(keras.layers.Activation(layer.activation, **options))
