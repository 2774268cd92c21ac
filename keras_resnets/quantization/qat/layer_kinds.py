"""Classifies layers for the rewriter: kernels, BN, activations, unsupported ones."""

import typing

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import UnknownLayer
from keras_resnets.graph import activations
from keras_resnets.graph import operations
from keras_resnets.graph.nodes import Step
from keras_resnets.networks import layers
from keras_resnets.quantization.qat import layers as quantized

# They move, select or drop values: the output keeps the scale of the input.
PASSING = (
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.MaxPooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    layers.IdentityPadShortcut,
    layers.StochasticDepth,
    *operations.IDLE,
)
# Each of their outputs is a mean of inputs, with the scale of the inputs.
AVERAGING = (
    keras.layers.AveragePooling2D,
    keras.layers.Resizing,
    keras.layers.UpSampling2D,
)
# They compute new values from one or more tensors, with a range of their own.
MAKING = (keras.layers.GlobalAveragePooling2D, keras.layers.LeakyReLU)
MERGING = (
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
# Layers whose weights a file rounds.
WITH_KERNEL = (
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    *layers.CONVOLUTIONS,
)
# In a file they are fused into the preceding operator.
FUSED = ("relu", "relu6")
# Their output has the same range in every file, whatever the images.
BOUNDED = ("softmax", "sigmoid", "tanh")
# Functions with a range of their own in front and behind.
CURVED = (
    keras.activations.leaky_relu,
    keras.activations.gelu,
    keras.activations.hard_silu,
    keras.activations.silu,
)


def kind_of(layer: typing.Any) -> str:
    """Returns how a layer becomes integer, `"unknown"` if it does not.

    Args:
        layer: a Keras layer.
    """
    function = activation(layer)
    kinds = {
        "passing": isinstance(layer, PASSING),
        "averaging": is_averaging(layer),
        "merging": isinstance(layer, MERGING),
        "making": isinstance(layer, MAKING) or function in FUSED,
        "kernel": is_kernel(layer),
        "norm": is_norm(layer),
        "bounded": function in BOUNDED,
        "curve": is_curve(layer),
    }
    return next((name for name, is_so in kinds.items() if is_so), "unknown")


def policy(step: Step) -> typing.Any:
    """Returns the dtype policy of a step, or the dtype of an operation."""
    policy = getattr(step.layer, "dtype_policy", None)
    return policy or step.arguments.keras_tensors[0].dtype


def is_averaging(layer: typing.Any) -> bool:
    """Returns whether a layer of `AVERAGING` is configured as TFLite's operators are."""
    if not isinstance(layer, AVERAGING):
        return False
    kind = getattr(layer, "interpolation", "nearest")
    others = ("antialias", "pad_to_aspect_ratio")
    return kind in ("nearest", "bilinear") and not any(
        getattr(layer, name, False) for name in others
    )


def is_norm(layer: typing.Any) -> bool:
    """Returns whether `layer` is a BN."""
    classes = (keras.layers.BatchNormalization, layers.BatchNormalization)
    return type(layer) in classes


def check_norm(layer: typing.Any) -> None:
    """Raises `UnknownLayer` for a BN over another axis than the last."""
    if layer.axis not in (-1, 3):
        raise UnknownLayer(
            "no integer form is known for a BN over another axis than the last; "
            f"{layer.name} has axis={layer.axis}"
        )


def is_kernel(layer: typing.Any) -> bool:
    """Returns whether it is a convolution or dense layer with a supported activation."""
    if type(layer) not in WITH_KERNEL:
        return False
    inside = activations.inside(layer)
    return activation(inside) in ("linear", *FUSED, *BOUNDED) or is_curve(inside)


def is_curve(layer: typing.Any) -> bool:
    """Returns whether it is an activation layer with a function of `CURVED`."""
    if type(layer) is keras.layers.LeakyReLU:
        return True
    return type(layer) is keras.layers.Activation and layer.activation in CURVED


def is_int8_only(layer: typing.Any) -> bool:
    """Returns whether TFLite's operator has no form for int16: HARD_SWISH."""
    return getattr(layer, "activation", None) is keras.activations.hard_silu


def is_positive(layer: typing.Any) -> bool:
    """Returns whether an activation of `BOUNDED` is never negative."""
    return activation(layer) != "tanh"


def has_end(layer: typing.Any) -> bool:
    """Returns whether the activation of a kernel layer is a separate operator."""
    return activation(activations.inside(layer)) in BOUNDED


def is_linear(layer: typing.Any) -> bool:
    """Returns whether a kernel layer has no activation."""
    return activation(activations.inside(layer)) == "linear"


def activation(layer: typing.Any) -> str | None:
    """Returns the name of a plain activation layer's function; None for other layers."""
    if type(layer) in (keras.layers.ReLU, layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        limits = {None: "relu", 6.0: "relu6"}
        return limits.get(layer.max_value) if plain else None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if type(layer) is keras.layers.Activation:
        return activations.name_of(layer.activation)
    return None


def unsupported(step: Step) -> InvalidArgument:
    """Returns the `InvalidArgument` for a layer without an integer form."""
    layer = step.layer
    if isinstance(layer, quantized.QUANTIZED):
        return InvalidArgument(
            f"the model is already quantized: {step.path} is a {type(layer).__name__}; "
            "give its float model"
        )
    kind = type(layer).__name__
    name = getattr(layer, "activation", None)
    if name is not None:
        kind = f"{kind} with {getattr(name, '__name__', type(name).__name__)}"
    return UnknownLayer(
        f"no integer form is known for layer {step.path} ({kind})",
        "use relu, relu6, leaky_relu, sigmoid, tanh, hard_sigmoid, silu, hard_silu or "
        "gelu, Conv2D, DepthwiseConv2D, SeparableConv2D, Dense, BatchNormalization, Add, "
        "Multiply, Concatenate, pooling, padding, cropping, Resizing (bilinear or "
        "nearest) or UpSampling2D instead",
    )
