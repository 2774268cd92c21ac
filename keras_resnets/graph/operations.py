"""Operations, constants and noise in users' graphs, expressed as layers."""

import math
import typing
from collections.abc import Callable

import keras
import numpy as np

from keras_resnets.errors import UnknownLayer
from keras_resnets.graph import activations

# Layers that do nothing at inference. Some versions of Keras lack some of them.
_IDLE = (
    "ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise Identity "
    "RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter "
    "RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur "
    "RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization "
    "RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation "
    "RandomZoom SpatialDropout1D SpatialDropout2D"
).split()
IDLE = tuple(
    getattr(keras.layers, name) for name in _IDLE if hasattr(keras.layers, name)
)


def is_operation(layer: typing.Any) -> bool:
    """Whether it is an operation of `keras.ops`, as a `+` of tensors also makes."""
    return not isinstance(layer, keras.layers.Layer)


def as_layer(step: typing.Any) -> typing.Any:
    """Returns the layer of a step, or the layer equivalent to its `keras.ops` operation.

    Args:
        step: a `nodes.Step`.

    Returns:
        A Keras layer, or None for an operation without an equivalent layer, or with
        numbers beside its tensors (see `affine_of`).
    """
    operation = step.layer
    if not is_operation(operation):
        return operation
    describe = _LAYERS.get(type(operation).__name__)
    description = describe and describe(operation, step)
    if description is None:
        return None
    kind, config = description
    dtype = step.arguments.keras_tensors[0].dtype
    return kind(**config, name=operation.name, dtype=dtype)


def as_plain_layer(step: typing.Any) -> typing.Any:
    """Returns what `as_layer` returns, with activations in their plainest form.

    Args:
        step: a `nodes.Step`.
    """
    layer = as_layer(step)
    return layer if layer is None else activations.plain(layer)


def _merging(kind: typing.Any) -> Callable[[typing.Any, typing.Any], typing.Any]:
    # An operation with a number has one input tensor.
    return lambda operation, step: (kind, {}) if len(step.inputs) == 2 else None


def _function(name: str) -> Callable[[typing.Any, typing.Any], typing.Any]:
    return lambda operation, step: (keras.layers.Activation, {"activation": name})


def _mean(operation: typing.Any, step: typing.Any) -> typing.Any:
    axes, tensor = operation.axis, step.arguments.keras_tensors[0]
    axes = (axes,) if isinstance(axes, int) else tuple(axes or ())
    over = {axis % len(tensor.shape) for axis in axes}
    if len(tensor.shape) != 4 or over != {1, 2}:
        return None
    return keras.layers.GlobalAveragePooling2D, {"keepdims": operation.keepdims}


def _reshape(operation: typing.Any, step: typing.Any) -> typing.Any:
    input_shape = step.arguments.keras_tensors[0].shape[1:]
    batch, *shape = operation.newshape
    # The batch must not change.
    is_static = None not in input_shape and all(size and size > 0 for size in shape)
    if batch != -1 or not is_static or math.prod(shape) != math.prod(input_shape):
        return None
    return keras.layers.Reshape, {"target_shape": tuple(shape)}


def _resize(operation: typing.Any, step: typing.Any) -> typing.Any:
    # Its axes are its own, whatever the model's layers have.
    if operation.data_format != "channels_last":
        return None
    names = (
        "interpolation",
        "antialias",
        "crop_to_aspect_ratio",
        "pad_to_aspect_ratio",
    )
    config = {name: getattr(operation, name) for name in names}
    height, width = operation.size
    return keras.layers.Resizing, {"height": height, "width": width, **config}


# Class and arguments of the equivalent layer, by the class of the operation.
_LAYERS = {
    "Add": _merging(keras.layers.Add),
    "Subtract": _merging(keras.layers.Subtract),
    "Multiply": _merging(keras.layers.Multiply),
    "Concatenate": lambda op, _: (keras.layers.Concatenate, {"axis": op.axis}),
    "Mean": _mean,
    "Reshape": _reshape,
    "Resize": _resize,
    "Relu": lambda op, _: (keras.layers.ReLU, {}),
    "Relu6": lambda op, _: (keras.layers.ReLU, {"max_value": 6.0}),
    "LeakyRelu": lambda op, _: (
        keras.layers.LeakyReLU,
        {"negative_slope": op.negative_slope},
    ),
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "Silu": _function("silu"),
    "HardSigmoid": _function("hard_sigmoid"),
    "HardSilu": _function("hard_silu"),
    "Gelu": lambda op, _: None if op.approximate else _function("gelu")(op, _),
    "Softmax": lambda op, _: (keras.layers.Softmax, {"axis": op.axis}),
}


def affine_of(step: typing.Any) -> tuple[typing.Any, ...] | None:
    """Returns the factor and the offset that a step applies to every channel.

    Args:
        step: a `nodes.Step`.

    Returns:
        (scale, offset), float64 of one value or one per channel, for a `Rescaling`, a
        `Normalization` or an operation with a number. None for any other step, and for
        numbers that vary within a channel.
    """
    layer = step.layer
    pair: tuple[typing.Any, typing.Any] | None
    if type(layer) is keras.layers.Rescaling:
        pair = layer.scale, layer.offset
    elif type(layer) is keras.layers.Normalization:
        pair = _normalization(layer)
    elif is_operation(layer) and len(step.inputs) == 1:
        pair = _with_number(type(layer).__name__, step.arguments)
    else:
        return None
    if pair is None:
        return None
    values = [np.squeeze(np.asarray(value, "float64")) for value in pair]
    channels = step.arguments.keras_tensors[0].shape[-1]
    return tuple(values) if all(v.shape in ((), (channels,)) for v in values) else None


def _normalization(layer: typing.Any) -> tuple[typing.Any, typing.Any] | None:
    mean, variance = (
        keras.ops.convert_to_numpy(x).astype("float64")
        for x in (layer.mean, layer.variance)
    )
    if mean.size > 1 and mean.shape[-1] != mean.size:
        return None
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if layer.invert:
        return deviation, mean
    return 1 / deviation, -mean / deviation


def _with_number(
    kind: str, arguments: typing.Any
) -> tuple[typing.Any, typing.Any] | None:
    if len(arguments.args) != 2 or arguments.kwargs:
        return None
    first, second = arguments.args
    tensor_first = isinstance(first, keras.KerasTensor)
    number = second if tensor_first else first
    try:
        number = np.asarray(keras.ops.convert_to_numpy(number), "float64")
    except (TypeError, ValueError):
        return None
    if number.size > 1 and number.shape[-1] != number.size:
        return None
    if kind == "Add":
        return 1.0, number
    if kind == "Subtract":
        return (1.0, -number) if tensor_first else (-1.0, number)
    if kind == "Multiply":
        return number, 0.0
    if kind in ("Divide", "TrueDivide") and tensor_first and np.all(number != 0):
        return 1.0 / number, 0.0
    return None


def refused(step: typing.Any) -> UnknownLayer:
    """Returns the `UnknownLayer` for an operation without an equivalent layer."""
    kind = type(step.layer).__name__
    return UnknownLayer(
        f"no integer form is known for the operation {step.path} (keras.ops, {kind})",
        "use +, - and * of two tensors or with a number, concatenate, the mean over "
        "height and width, image.resize, relu, sigmoid, tanh, hard_sigmoid, silu, "
        "hard_silu or reshapes that keep the batch",
    )
