"""Copies of layers and models that keep users' functions.

Keras writes a function into a config by its name. A layer made from the config lacks a
function that is not registered, or has another function of that name.
"""

import typing

import keras

from keras_resnets.graph import activations
from keras_resnets.graph import anatomy


def copied(
    operation: typing.Any, kind: typing.Any = None, **changes: typing.Any
) -> typing.Any:
    """Returns a new layer or operation like `operation`, without its weights.

    Args:
        operation: a Keras layer, or an operation of `keras.ops`.
        kind: class of the new one; None for that of `operation`.
        **changes: entries of its config to replace. An operation has none.

    Returns:
        The new layer.
    """
    make = kind or type(operation)
    config = operation.get_config()
    if not isinstance(operation, keras.layers.Layer):
        return make.from_config(config)
    config |= changes
    if type(operation) is keras.layers.Lambda:
        return _copied_lambda(operation, config)
    if activations.is_of_library(type(operation)):
        functions = {name: getattr(operation, name, None) for name in config}
        for name, function in functions.items():
            if name not in changes and _is_function(function):
                config[name] = function
    return make.from_config(config)


def blank(
    operation: typing.Any, kind: typing.Any = None, **changes: typing.Any
) -> typing.Any:
    """Returns `copied` with zeros as its kernel, for weights that are set afterwards.

    Drawing random ones would take longer than all else.
    """
    if isinstance(operation, keras.layers.Layer):
        if "kernel_initializer" in operation.get_config():
            changes["kernel_initializer"] = "zeros"
    return copied(operation, kind, **changes)


def clone(model: keras.Model) -> keras.Model:
    """Returns a copy of `model` with layers and weights of its own.

    Args:
        model: a functional or Sequential `keras.Model`.
    """
    copy = keras.models.clone_model(model, clone_function=_same, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def in_float32(model: keras.Model) -> keras.Model:
    """Returns `model` computing in float32, as it does when its file is loaded.

    Args:
        model: a functional or Sequential `keras.Model`.

    Returns:
        A copy with weights of its own; `model` if all of its layers are float32.
    """
    if all(layer.dtype_policy.name == "float32" for layer in anatomy.all_layers(model)):
        return model
    copy = keras.models.clone_model(model, clone_function=_float32, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _float32(layer: typing.Any) -> typing.Any:
    return layer if isinstance(layer, keras.Model) else blank(layer, dtype="float32")


def _same(layer: typing.Any) -> typing.Any:
    return layer if isinstance(layer, keras.Model) else copied(layer)


def _is_function(value: typing.Any) -> bool:
    # An object with a config is made again from it.
    return callable(value) and not hasattr(value, "get_config")


def _copied_lambda(layer: typing.Any, config: dict[str, typing.Any]) -> typing.Any:
    # from_config refuses every lambda, since it may come from a file.
    live = {"function": layer.function, "mask": layer.mask}
    live |= {"output_shape": layer._output_shape, "arguments": layer.arguments}
    return keras.layers.Lambda(**{**config, **live})
