"""What a layer is to a rewriter: kernel, BN, activation, or nothing that it knows."""

import typing

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import UnknownLayer
from keras_resnets.graph import anatomy
from keras_resnets.graph import operations
from keras_resnets.graph.nodes import Step
from keras_resnets.networks import layers
from keras_resnets.quantization.qat import layers as quantized

# They move, choose or drop values, which stay on the grid that they are on.
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
# They make new values of one tensor or of several, which get a range of their own.
MAKING = (keras.layers.GlobalAveragePooling2D, keras.layers.LeakyReLU)
MERGING = (
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
# A file has them in the operator in front.
FUSED = ("relu", "relu6")
# Their output has one range in every file, whatever the images.
BOUNDED = ("softmax", "sigmoid")


def policy(step: Step) -> typing.Any:
    """The dtype policy of a step, or the dtype of an operation."""
    policy = getattr(step.layer, "dtype_policy", None)
    return policy or step.arguments.keras_tensors[0].dtype


def is_norm(layer: typing.Any) -> bool:
    """Whether it is a BN."""
    classes = (keras.layers.BatchNormalization, layers.BatchNormalization)
    return type(layer) in classes


def is_kernel(layer: typing.Any) -> bool:
    """Whether it is a convolution or dense layer, with an activation that is known."""
    classes = (keras.layers.Dense, keras.layers.Conv2D, layers.Conv2D)
    inside = ("linear", *FUSED, *BOUNDED)
    return type(layer) in classes and anatomy.function_of(layer) in inside


def has_end(layer: typing.Any) -> bool:
    """Whether a kernel ends in a function that no operator has in it."""
    return anatomy.function_of(layer) in BOUNDED


def activation(layer: typing.Any) -> str | None:
    """The name of the function that an activation layer applies; None for others."""
    if type(layer) is keras.layers.ReLU:
        plain = not layer.negative_slope and not layer.threshold
        limits = {None: "relu", 6.0: "relu6"}
        return limits.get(layer.max_value) if plain else None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, keras.layers.Activation):
        return layer.activation.__name__
    return None


def unsupported(step: Step) -> InvalidArgument:
    """The `InvalidArgument` for a step whose layer has no integer form."""
    layer = step.layer
    if isinstance(layer, quantized.QUANTIZED):
        return InvalidArgument(
            f"the model is quantized already: {step.path} is a {type(layer).__name__}; "
            "give the float model that it was made of"
        )
    kind = type(layer).__name__
    name = getattr(layer, "activation", None)
    if name is not None:
        kind = f"{kind} with {getattr(name, '__name__', name)}"
    return UnknownLayer(
        f"no integer form is known for layer {step.path} ({kind}): use relu, relu6, "
        "leaky_relu or sigmoid, Conv2D, Dense, BatchNormalization, Add, Multiply, "
        "Concatenate, pooling and padding in its place, or quantize after training with "
        "the engine 'converter'"
    )
