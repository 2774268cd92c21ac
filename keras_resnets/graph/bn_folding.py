"""Folds batch normalization into the layer before it, as every converter does."""

import typing

import keras
import numpy as np


def scale_and_offset(
    norm: keras.layers.BatchNormalization,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the float64 (scale, offset) per channel of a BN layer at inference."""
    scale = inverse_deviation(norm)
    if norm.scale:
        scale = scale * _values(norm.gamma)
    offset = -_values(norm.moving_mean) * scale
    if norm.center:
        offset = offset + _values(norm.beta)
    return scale, offset


def inverse_deviation(norm: keras.layers.BatchNormalization) -> np.ndarray:
    """Returns the float64 factor per channel of a BN layer without its gamma."""
    return 1.0 / np.sqrt(_values(norm.moving_variance) + norm.epsilon)


def fold(
    layer: keras.layers.Layer, norm: keras.layers.BatchNormalization | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a float32 (kernel, bias) equivalent to `layer` followed by `norm`.

    That of a depthwise convolution is (height, width, 1, output channels), as that of a
    convolution in as many groups as channels.

    Args:
        layer: a convolution or dense layer without activation.
        norm: the BN layer that is the only consumer of its output, or None.
    """
    kernel = _values(layer.kernel)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    bias = np.zeros(kernel.shape[-1])
    if layer.use_bias:
        bias = _values(layer.bias)
    if norm is not None:
        scale, offset = scale_and_offset(norm)
        # Output channels are the last axis of every kernel, grouped ones included.
        kernel, bias = kernel * scale, bias * scale + offset
    return kernel.astype("float32"), bias.astype("float32")


def _values(variable: typing.Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype("float64")
