"""Makes the layers of a network with its settings.

`Parts` sets padding, initializers, names, dtype and data format, so that
`blocks.py` reads like the papers' figures.
"""

import dataclasses
import typing

import keras

from keras_resnets.networks import layers
from keras_resnets.networks.architecture import Architecture
from keras_resnets.networks.blueprint import Conv
from keras_resnets.networks.blueprint import Shortcut


def he_normal_fan_out() -> keras.initializers.Initializer:
    """He 2015 (arXiv:1502.01852) as in fb.resnet.torch: N(0, 2 / (k * k * out))."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


@dataclasses.dataclass(frozen=True)
class Parts:
    """Makes and applies named layers for one network.

    Attributes:
        architecture: the network's `Architecture`.
        prefix: the prefix of every layer's name.
        dtype: dtype policy of the layers, or None for Keras' global one.
        data_format: `"channels_last"` or `"channels_first"`.
        kernel_initializer: initializer of the convolutions; None: `he_normal_fan_out`.
    """

    architecture: Architecture
    prefix: str = ""
    dtype: typing.Any = None
    data_format: str = "channels_last"
    kernel_initializer: typing.Any = None

    @property
    def channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def named(self, name: str) -> dict[str, typing.Any]:
        return {"name": self.prefix + name, "dtype": self.dtype}

    def spatial(self, name: str) -> dict[str, typing.Any]:
        return {**self.named(name), "data_format": self.data_format}

    def conv(
        self,
        x: keras.KerasTensor,
        conv: Conv,
        name: str,
        followed_by_bn: bool = True,
        zero: bool = False,
    ) -> keras.KerasTensor:
        """Applies one `blueprint.Conv` with the architecture's padding."""
        padding = "same"
        if conv.stride > 1 and conv.kernel > 1 and self.architecture.padding != "same":
            # TensorFlow's "same" would pad only right and bottom.
            x = self.pad(x, conv.kernel // 2 * conv.dilation, f"{name}_pad")
            padding = "valid"
        bias = self.architecture.conv_bias
        special = conv.groups > 1 or conv.dilation > 1
        make = layers.Conv2D if special else layers.PlainConv2D
        return make(
            conv.filters,
            conv.kernel,
            strides=conv.stride,
            padding=padding,
            dilation_rate=conv.dilation,
            groups=conv.groups,
            use_bias=bias == "all" or (bias == "unnormalized" and not followed_by_bn),
            kernel_initializer=self.initializer(zero),
            **self.spatial(name),
        )(x)

    def initializer(self, zero: bool = False) -> typing.Any:
        if zero:
            return "zeros"
        if self.kernel_initializer is None:
            return he_normal_fan_out()
        if isinstance(self.kernel_initializer, keras.initializers.Initializer):
            return self.kernel_initializer.clone()
        return self.kernel_initializer

    def pad(self, x: keras.KerasTensor, amount: int, name: str) -> keras.KerasTensor:
        return keras.layers.ZeroPadding2D(amount, **self.spatial(name))(x)

    def bn(
        self, x: keras.KerasTensor, name: str, zero: bool = False
    ) -> keras.KerasTensor:
        return layers.BatchNormalization(
            axis=self.channel_axis,
            momentum=self.architecture.bn_momentum,
            epsilon=self.architecture.bn_epsilon,
            gamma_initializer="zeros" if zero else "ones",
            **self.named(name),
        )(x)

    def act(
        self, x: keras.KerasTensor, name: str, of_sum: bool = False
    ) -> keras.KerasTensor:
        """Applies the activation; `of_sum`: `x` is an addition (`layers.ReLU`)."""
        activation = self.architecture.activation
        if activation == "relu":
            make = layers.ReLU if of_sum else keras.layers.ReLU
            return make(**self.named(name))(x)
        if activation == "leaky_relu":
            return keras.layers.LeakyReLU(
                negative_slope=self.architecture.negative_slope, **self.named(name)
            )(x)
        return keras.layers.Activation(activation, **self.named(name))(x)

    def conv_bn_act(
        self, x: keras.KerasTensor, conv: Conv, name: str, number: str = ""
    ) -> keras.KerasTensor:
        """Applies convolution, BN, activation: `name_conv1`, `name_bn1`, `name_act1`."""
        x = self.conv(x, conv, f"{name}_conv{number}")
        x = self.bn(x, f"{name}_bn{number}")
        return self.act(x, f"{name}_act{number}")

    def max_pool(
        self,
        x: keras.KerasTensor,
        size: int,
        stride: int,
        name: str,
        padding: str = "valid",
    ) -> keras.KerasTensor:
        return layers.MaxPooling2D(size, stride, padding, **self.spatial(name))(x)

    def average_pool(
        self, x: keras.KerasTensor, stride: int, name: str
    ) -> keras.KerasTensor:
        # Keras excludes the padding from the mean, as torch's
        # AvgPool2d(2, ceil_mode=True, count_include_pad=False) does.
        pool = keras.layers.AveragePooling2D(2, stride, "same", **self.spatial(name))
        return pool(x)

    def identity_pad(
        self, x: keras.KerasTensor, shortcut: Shortcut, name: str
    ) -> keras.KerasTensor:
        return layers.IdentityPadShortcut(
            shortcut.filters,
            shortcut.stride,
            self.architecture.identity_pad_position,
            **self.spatial(name),
        )(x)

    def add(
        self, x: keras.KerasTensor, y: keras.KerasTensor, name: str
    ) -> keras.KerasTensor:
        return keras.layers.Add(**self.named(name))([x, y])

    def drop_path(
        self, x: keras.KerasTensor, rate: float, name: str
    ) -> keras.KerasTensor:
        return layers.StochasticDepth(rate, **self.named(name))(x) if rate else x

    def dropout(
        self, x: keras.KerasTensor, rate: float, name: str
    ) -> keras.KerasTensor:
        return keras.layers.Dropout(rate, **self.named(name))(x) if rate else x

    def discard(
        self, kept: keras.KerasTensor, discarded: keras.KerasTensor, name: str
    ) -> keras.KerasTensor:
        return layers.Discard(**self.named(name))([kept, discarded])
