"""Depthwise and separable convolutions as layers that the rewriter knows."""

import typing
from collections.abc import Sequence

import keras

from keras_resnets.graph.nodes import Step
from keras_resnets.graph.nodes import split
from keras_resnets.quantization.qat.depthwise_layers import QuantizedDepthwiseConv2D


def apart(steps: Sequence[Step]) -> list[Step]:
    """Returns `steps` with two for a `SeparableConv2D`: depthwise, then 1x1.

    A file has an integer tensor between both.

    Args:
        steps: the steps of `nodes.read_steps`.
    """
    pairs: dict[int, tuple[typing.Any, typing.Any]] = {}
    found = []
    for step in steps:
        layer = step.layer
        if type(layer) is not keras.layers.SeparableConv2D:
            found.append(step)
            continue
        if id(layer) not in pairs:
            pairs[id(layer)] = _pair(layer, step.arguments.keras_tensors[0].shape)
        found += split(step, pairs[id(layer)])
    return found


def _pair(layer: typing.Any, shape: Sequence[int | None]) -> tuple[typing.Any, ...]:
    common = {"dtype": layer.dtype_policy, "trainable": layer.trainable}
    first = keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        layer.strides,
        layer.padding,
        layer.depth_multiplier,
        layer.data_format,
        layer.dilation_rate,
        use_bias=False,
        depthwise_initializer="zeros",
        name=f"{layer.name}_depthwise",
        **common,
    )
    second = keras.layers.Conv2D(
        layer.filters,
        1,
        data_format=layer.data_format,
        activation=layer.activation,
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        name=layer.name,
        **common,
    )
    first.build(shape)
    second.build(first.compute_output_shape(shape))
    first.kernel.assign(layer.depthwise_kernel)
    second.kernel.assign(layer.pointwise_kernel)
    if layer.use_bias:
        second.bias.assign(layer.bias)
    return first, second


def in_groups(
    layer: typing.Any, config: dict[str, typing.Any]
) -> tuple[type[QuantizedDepthwiseConv2D], dict[str, typing.Any]]:
    """Returns (class, config) of the layer that rounds a depthwise convolution.

    Args:
        layer: a built `keras.layers.DepthwiseConv2D`.
        config: its config, with the changes for its rounding.
    """
    channels, each = layer.kernel.shape[-2:]
    config = {**config, "filters": channels * each, "groups": channels}
    for role in ("initializer", "regularizer", "constraint"):
        value = config.pop(f"depthwise_{role}", None)
        config.setdefault(f"kernel_{role}", value)
    del config["depth_multiplier"]
    return QuantizedDepthwiseConv2D, config
