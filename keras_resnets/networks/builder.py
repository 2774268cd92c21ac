"""Builds a flat functional `keras.Model` from an `Architecture`."""

import sys
import typing
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.networks import blocks
from keras_resnets.networks import extent
from keras_resnets.networks.architecture import AXES
from keras_resnets.networks.architecture import Architecture
from keras_resnets.networks.blueprint import walk
from keras_resnets.networks.layer_factory import Parts


def build(
    architecture: Architecture,
    include_top: bool = True,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: typing.Any = "softmax",
    name: str | None = None,
    default_name: str | None = None,
    dtype: typing.Any = None,
    data_format: str | None = None,
    kernel_initializer: typing.Any = None,
) -> keras.Model:
    """Builds the network that `architecture` describes, with random weights.

    See `keras_resnets.create_model` for the arguments. `name` is also the prefix of
    every layer's name (`teacher_stem_conv`), so that several copies can share a graph;
    without it the model is called `default_name` and the layers `stem_conv`,
    `stage1_block1_conv1`, ...

    Returns:
        A functional `keras.Model` without nested models.

    Raises:
        InvalidArgument: an argument that is not allowed.

    Example:
        >>> from keras_resnets.models.registry import get_architecture
        >>> build(get_architecture("resnet20")).output_shape
        (None, 10)
    """
    if data_format is None:
        data_format = keras.config.image_data_format()
    check_choice("data_format", data_format, ("channels_last", "channels_first"))
    check_choice("pooling", pooling, (None, "avg", "max"))
    classes = architecture.classes if classes is None else classes
    classes = AXES["classes"].check("classes", classes)
    prefix = f"{name}_" if name else ""
    shape = _shape(architecture, input_tensor, input_shape, include_top, data_format)
    channels = _check_image_shape(architecture, shape, data_format)
    extent.check_extent(architecture, channels, classes if include_top else 0)
    if input_tensor is None:
        image = keras.Input(tuple(shape), name=f"{prefix}image")
    else:
        image = input_tensor
    parts = Parts(
        architecture=architecture,
        prefix=prefix,
        dtype=dtype,
        data_format=data_format,
        kernel_initializer=kernel_initializer,
    )
    x = trunk(image, parts)
    if include_top:
        x = _classifier(x, classes, classifier_activation, parts)
    elif pooling:
        x = _global_pool(x, pooling, parts)
    _let_keras_recurse(architecture)
    inputs = keras.utils.get_source_inputs(image)
    inputs = inputs[0] if len(inputs) == 1 else inputs
    return keras.Model(inputs, x, name=name or default_name)


def _let_keras_recurse(architecture: Architecture) -> None:
    """Raises Python's recursion limit for networks of hundreds of units.

    Keras walks a graph by recursion, two levels per unit, when a model is made and again
    whenever another is made from it (`clone_model`, feature extraction): ResNet-1202
    needs more than Python's default of 1,000. The limit stays raised for these calls.
    """
    needed = 1000 + 2 * sum(architecture.depths)
    if needed > 1500:
        sys.setrecursionlimit(max(needed, sys.getrecursionlimit()))


def trunk(x: keras.KerasTensor, parts: Parts) -> keras.KerasTensor:
    """Applies all layers before the global pooling."""
    x = blocks.stem(x, parts)
    x = blocks.stem_pool(x, parts)
    for stage in walk(parts.architecture):
        if stage.transition is not None:
            x = blocks.transition(x, stage.transition, stage.name, parts)
        for unit in stage.units:
            x = blocks.residual_unit(x, unit, parts)
    return blocks.post_activation(x, parts)


def _global_pool(x: keras.KerasTensor, kind: str, parts: Parts) -> keras.KerasTensor:
    make = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }[kind]
    return make(**parts.spatial(f"{kind}_pool"))(x)


def _classifier(
    x: keras.KerasTensor, classes: int, activation: typing.Any, parts: Parts
) -> keras.KerasTensor:
    # Half precision is too coarse for logits and softmax.
    dtype = {"dtype": keras.backend.result_type(x.dtype, "float32")}
    rate = parts.architecture.dropout_rate
    name = parts.prefix + "predictions"
    if parts.architecture.head == "conv":
        x = parts.dropout(x, rate, "dropout")
        x = keras.layers.Conv2D(
            classes,
            1,
            kernel_initializer=parts.initializer(),
            **{**parts.spatial("predictions_conv"), **dtype},
        )(x)
        pool = keras.layers.GlobalAveragePooling2D(
            **{**parts.spatial("avg_pool"), **dtype}
        )
        return keras.layers.Activation(activation, name=name, **dtype)(pool(x))
    x = _global_pool(x, "avg", parts)
    x = parts.dropout(x, rate, "dropout")
    return keras.layers.Dense(classes, activation=activation, name=name, **dtype)(x)


def _shape(
    arch: Architecture,
    input_tensor: keras.KerasTensor | None,
    input_shape: typing.Any,
    include_top: bool,
    data_format: str,
) -> typing.Any:
    """The image's shape without batch: the tensor's, the argument or the default."""
    if input_tensor is not None:
        # A KerasTensor that the user made has no layer behind it.
        symbolic = keras.backend.is_keras_tensor(input_tensor)
        if not symbolic or not hasattr(input_tensor, "_keras_history"):
            raise InvalidArgument(
                "input_tensor must be a symbolic Keras tensor such as keras.Input(...) "
                f"or a layer's output; got {type(input_tensor).__name__}"
            )
        shape = tuple(input_tensor.shape)
        if len(shape) != 4:
            raise InvalidArgument(
                "input_tensor must have 4 axes (batch, height, width, channels); "
                f"got shape {shape}"
            )
        if input_shape is not None and tuple(input_shape) != shape[1:]:
            raise InvalidArgument(
                f"input_shape {tuple(input_shape)} contradicts input_tensor, "
                f"whose shape is {shape[1:]}: leave input_shape out"
            )
        return shape[1:]
    if input_shape is not None:
        return _of_python(input_shape)
    size = arch.input_size if include_top else None
    return (size, size, 3) if data_format == "channels_last" else (3, size, size)


def _of_python(shape: typing.Any) -> typing.Any:
    """A shape whose NumPy integers are Python's; anything else as it is."""
    if isinstance(shape, np.ndarray):
        return tuple(shape.tolist())
    if not isinstance(shape, (tuple, list)):
        return shape
    return tuple(n.item() if isinstance(n, np.integer) else n for n in shape)


def _check_image_shape(
    architecture: Architecture, shape: typing.Any, data_format: str
) -> int:
    """Checks `shape` and returns its number of channels."""
    axes = (
        "(height, width, channels)"
        if data_format == "channels_last"
        else "(channels, height, width)"
    )
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise InvalidArgument(
            f"input_shape must be {axes}; got {shape!r}{_whole_shape(shape, data_format)}"
        )
    _check_order(architecture, tuple(shape), axes, data_format)
    *sizes, channels = (
        shape if data_format == "channels_last" else (*shape[1:], shape[0])
    )
    check_positive_int("the number of input channels", channels)
    extent.check_sides(architecture, sizes)
    return channels


def _whole_shape(shape: typing.Any, data_format: str) -> str:
    """A hint for an argument that is a size, or a shape with the batch."""
    if isinstance(shape, int):
        shape = (shape, shape)
    if not isinstance(shape, (tuple, list)) or len(shape) not in (2, 4):
        return ""
    last = data_format == "channels_last"
    whole = shape[1:] if len(shape) == 4 else (*shape, 3) if last else (3, *shape)
    return f": write {tuple(whole)}"


# Channels of an image whose sides are both longer: grey, RGB, RGBA.
_CHANNELS = (1, 3, 4)


def _check_order(
    architecture: Architecture,
    shape: tuple[typing.Any, ...],
    axes: str,
    data_format: str,
) -> None:
    """Raises `InvalidArgument` for channels in the place of the height or the width."""
    last = data_format == "channels_last"
    channels, sides = (shape[0], shape[1:]) if last else (shape[2], shape[:2])
    if channels not in _CHANNELS or any(
        side is not None and not (isinstance(side, int) and side > max(_CHANNELS))
        for side in sides
    ):
        return
    # Four rows of 128 points with 12 channels are an image too, if the network takes them.
    if sides[0] != sides[1] and channels >= architecture.minimum_size:
        return
    right = (*sides, channels) if last else (channels, *sides)
    other = "channels_first" if last else "channels_last"
    raise InvalidArgument(
        f"input_shape must be {axes} under data_format={data_format!r}; got {shape}: "
        f'write {right}, or give data_format="{other}"'
    )
