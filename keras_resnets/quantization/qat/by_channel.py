"""Scale and offset per channel: a BN that is not folded, or a Rescaling layer."""

import dataclasses
import typing
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.graph import bn_folding
from keras_resnets.quantization.qat import depthwise_layers
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat import layers as quantized


@dataclasses.dataclass(frozen=True, eq=False)
class Numbers:
    """Scale and offset of every channel: y = scale * x + offset.

    Attributes:
        scale: NumPy array (channels,).
        offset: NumPy array (channels,).
        factor: NumPy array (channels,), the part of `scale` that is not trained.
        trained: whether training changes them: not those of a `Rescaling`.
    """

    scale: np.ndarray
    offset: np.ndarray
    factor: np.ndarray
    trained: bool = True

    @classmethod
    def of_norm(cls, layer: keras.layers.Layer) -> "Numbers":
        """Returns the scale and offset of a BN with its current statistics."""
        scale, offset = bn_folding.scale_and_offset(layer)
        factor = bn_folding.inverse_deviation(layer)
        return cls(scale, offset, factor, layer.trainable)

    @property
    def channels(self) -> int:
        """The number of channels."""
        return len(self.scale)


def affine(numbers: Numbers, **options: typing.Any) -> depthwise_layers.QuantizedAffine:
    """Builds the layer for one operator; `options` are those of `QuantizedAffine`."""
    layer = depthwise_layers.QuantizedAffine(
        numbers.channels,
        kernel_initializer="zeros",
        trainable=numbers.trained,
        **options,
    )
    layer.build((None, None, None, numbers.channels))
    layer.set_values(numbers.scale, numbers.offset, numbers.factor)
    return layer


def product_and_sum(
    numbers: Numbers, replaces: Sequence[str], names: Sequence[str], dtype: typing.Any
) -> tuple[quantized.ChannelScale, quantized.ChannelOffset]:
    """Builds layers, called `names`, for two operators with a range between them."""
    options = {"dtype": dtype, "trainable": numbers.trained}
    product = quantized.ChannelScale(replaces, name=names[0], **options)
    summand = quantized.ChannelOffset(replaces, name=names[1], **options)
    for layer in (product, summand):
        layer.build((None, numbers.channels))
    product.set_values(numbers.scale, numbers.factor)
    summand.values.assign(numbers.offset.astype("float32"))
    return product, summand


def of_image(
    numbers: Numbers, per_channel: bool, **options: typing.Any
) -> quantized.QuantizedConv2D:
    """Builds a fixed 1x1 convolution for the scaling of an image; only its sum rounds.

    Args:
        numbers: scale and offset.
        per_channel: whether its kernel has one scale per channel.
        **options: arguments of `QuantizedConv2D`.
    """
    layer = quantized.QuantizedConv2D(
        numbers.channels,
        1,
        per_channel=per_channel,
        kernel_initializer="zeros",
        trainable=False,
        **options,
    )
    layer.build((None, None, None, numbers.channels))
    kernel = np.diag(numbers.scale)[None, None].astype("float32")
    layer.set_kernel(kernel, numbers.scale)
    layer.bias.assign(numbers.offset.astype("float32"))
    layer.kernel_radius.assign(fake_quant.largest_amax(kernel, layer.per_channel))
    return layer
