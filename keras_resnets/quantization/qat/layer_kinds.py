"""Classifies layers for the rewriter: kernels, BN, activations, unsupported ones."""

import typing

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import UnknownLayer
from keras_resnets.graph import anatomy
from keras_resnets.graph import operations
from keras_resnets.graph.nodes import Step
from keras_resnets.networks import layers
from keras_resnets.quantization.qat import layers as quantized

# They move, select or drop values: the output keeps the scale of the input.
PASSING = (
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    layers.IdentityPadShortcut,
    layers.StochasticDepth,
    *operations.IDLE,
)
# They compute new values from one or more tensors, with a range of their own.
MAKING = (keras.layers.GlobalAveragePooling2D, keras.layers.LeakyReLU)
MERGING = (
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
# In a file they are fused into the preceding operator.
FUSED = ("relu", "relu6")
# Their output has the same range in every file, whatever the images.
BOUNDED = ("softmax", "sigmoid")
# Functions with a range of their own in front and behind.
CURVED = (
    keras.activations.leaky_relu,
    keras.activations.gelu,
    keras.activations.hard_silu,
    keras.activations.silu,
)


def policy(step: Step) -> typing.Any:
    """Returns the dtype policy of a step, or the dtype of an operation."""
    policy = getattr(step.layer, "dtype_policy", None)
    return policy or step.arguments.keras_tensors[0].dtype


def is_norm(layer: typing.Any) -> bool:
    """Returns whether `layer` is a BN."""
    classes = (keras.layers.BatchNormalization, layers.BatchNormalization)
    return type(layer) in classes


def check_norm(layer: typing.Any) -> None:
    """Raises `InvalidArgument` for a BN over another axis than the last."""
    if layer.axis not in (-1, 3):
        raise InvalidArgument(
            "quantization requires BN over the last axis; "
            f"{layer.name} has axis={layer.axis}"
        )


def is_kernel(layer: typing.Any) -> bool:
    """Returns whether it is a convolution or dense layer with a supported activation."""
    classes = (keras.layers.Dense, *layers.CONVOLUTIONS)
    if type(layer) not in classes:
        return False
    inside = ("linear", *FUSED, *BOUNDED)
    return anatomy.function_of(layer) in inside or layer.activation in CURVED


def is_curve(layer: typing.Any) -> bool:
    """Returns whether it is an activation layer with a function of `CURVED`."""
    is_activation = isinstance(layer, keras.layers.Activation)
    return is_activation and layer.activation in CURVED


def is_int8_only(layer: typing.Any) -> bool:
    """Returns whether TFLite's operator has no form for int16: HARD_SWISH."""
    return getattr(layer, "activation", None) is keras.activations.hard_silu


def has_end(layer: typing.Any) -> bool:
    """Returns whether the activation of a kernel layer is a separate operator."""
    return anatomy.function_of(layer) in BOUNDED


def activation(layer: typing.Any) -> str | None:
    """Returns the name of an activation layer's function; None for other layers."""
    if type(layer) in (keras.layers.ReLU, layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        limits = {None: "relu", 6.0: "relu6"}
        return limits.get(layer.max_value) if plain else None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, keras.layers.Activation):
        return layer.activation.__name__
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
        kind = f"{kind} with {getattr(name, '__name__', name)}"
    return UnknownLayer(
        f"no integer form is known for layer {step.path} ({kind}): use relu, relu6, "
        "leaky_relu, sigmoid, silu, hard_silu or gelu, Conv2D, Dense, "
        "BatchNormalization, Add, Multiply, Concatenate, pooling and padding instead, or "
        "quantize after training to 8 bits with the engine 'converter'"
    )
