"""Convolutions of a quantization-aware model that keep channels apart."""

import typing

import keras
import numpy as np
from keras import ops

from keras_resnets.networks.layers import PACKAGE
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat.layers import QuantizedConv2D


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedDepthwiseConv2D(QuantizedConv2D):
    """A depthwise convolution with a rounded kernel: DEPTHWISE_CONV_2D in a file.

    It is a convolution of as many groups as input channels, whose kernel
    (height, width, 1, filters) is that of `keras.layers.DepthwiseConv2D`, (height,
    width, channels, filters / channels), in the same order.

    Args:
        filters: number of output channels, a multiple of `groups`.
        kernel_size: (height, width).
        groups: number of input channels.
        **kwargs: other arguments of `QuantizedConv2D`.

    Example:
        >>> import keras
        >>> layer = QuantizedDepthwiseConv2D(6, 3, groups=3, padding="same")
        >>> tuple(layer(keras.ops.ones((1, 4, 4, 3))).shape)
        (1, 4, 4, 6)
    """

    def convolution_op(self, inputs: typing.Any, kernel: typing.Any) -> typing.Any:
        each = self.filters // self.groups
        shape = (*self.kernel_size, self.groups, each)
        return ops.depthwise_conv(
            inputs,
            ops.reshape(self.rounded_kernel(), shape),
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
        )


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedAffine(QuantizedConv2D):
    """A multiplication and an addition per channel, for a BN that is not folded.

    y[..., c] = w[c] * x[..., c] + b[c]. In a file it is one DEPTHWISE_CONV_2D with the
    following ReLU fused: the product is not rounded before the sum, and w has one scale
    per channel. It is trained as an elementwise product, which is faster than a
    convolution with as many groups.

    Args:
        filters: number of channels.
        **kwargs: arguments of `QuantizedConv2D`, such as `weight_bits`, `replaces`.

    Attributes:
        exporting: True computes the convolution that converters recognize.

    Example:
        >>> import keras
        >>> tuple(QuantizedAffine(3)(keras.ops.ones((1, 2, 2, 3))).shape)
        (1, 2, 2, 3)
    """

    def __init__(self, filters: int, **kwargs: typing.Any) -> None:
        super().__init__(filters, **{**kwargs, "kernel_size": 1, "groups": filters})
        self.exporting = False

    def set_values(
        self, scale: np.ndarray, offset: np.ndarray, factor: np.ndarray
    ) -> None:
        """Sets w and b, with a constant factor of w split off; see `set_kernel`."""
        kernel = scale.astype("float32")[None, None, None]
        self.set_kernel(kernel, factor)
        self.bias.assign(offset.astype("float32"))
        self.kernel_radius.assign(fake_quant.largest_amax(kernel, True))

    def convolution_op(self, inputs: typing.Any, kernel: typing.Any) -> typing.Any:
        kernel = self.rounded_kernel()
        if self.exporting:
            turned = ops.reshape(kernel, (1, 1, self.filters, 1))
            return ops.depthwise_conv(inputs, turned)
        return ops.multiply(inputs, kernel[0, 0, 0])
