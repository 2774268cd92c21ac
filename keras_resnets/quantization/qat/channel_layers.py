"""A BN that stands alone as an int8 file has it: a product and a sum, both rounded."""

import typing
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_resnets.networks.layers import PACKAGE
from keras_resnets.quantization.qat import fake_quant


class _ByChannel(keras.layers.Layer):
    """One number a channel, which an integer file holds as int8 of one scale."""

    def __init__(self, replaces: Sequence[str] = (), **kwargs: typing.Any) -> None:
        super().__init__(**kwargs)
        self.replaces = tuple(replaces)
        self.enabled = True

    def build(self, input_shape: typing.Any) -> None:
        self.values = self._by_channel(input_shape[-1], "values", True)

    def _by_channel(self, channels: int, name: str, trainable: bool) -> typing.Any:
        # Under mixed precision bfloat16 would come before the rounding.
        return self.add_weight(
            shape=(channels,),
            initializer="ones",
            trainable=trainable,
            autocast=False,
            name=name,
        )

    def folded_values(self) -> typing.Any:
        """The float32 numbers that are rounded."""
        return ops.convert_to_tensor(self.values)

    def bounds(self) -> tuple[typing.Any, typing.Any]:
        """(low, high) of the grid that the numbers are rounded to: float32 scalars."""
        fixed = ops.stop_gradient(self.folded_values())
        return ops.minimum(ops.min(fixed), 0.0), ops.maximum(ops.max(fixed), 1e-8)

    def rounded_values(self) -> typing.Any:
        """The numbers as the file holds them."""
        values = self.folded_values()
        if not self.enabled:
            return ops.cast(values, self.compute_dtype)
        values = fake_quant.fake_quantize(values, *self.bounds())
        return ops.cast(values, self.compute_dtype)

    def compute_output_shape(self, input_shape: typing.Any) -> typing.Any:
        return input_shape

    def get_config(self) -> dict[str, typing.Any]:
        return {**super().get_config(), "replaces": list(self.replaces)}


@keras.saving.register_keras_serializable(package=PACKAGE)
class ChannelScale(_ByChannel):
    """Multiplies every channel by a rounded number: a BN's first half.

    Trained is gamma, as in the float network: what multiplies is that times a factor,
    the power of two next to one over the standard deviation.

    Args:
        replaces: names of the layers that it computes, for reports.

    Example:
        >>> import keras
        >>> tuple(ChannelScale()(keras.ops.ones((1, 2, 2, 3))).shape)
        (1, 2, 2, 3)
    """

    def build(self, input_shape: typing.Any) -> None:
        super().build(input_shape)
        self.factor = self._by_channel(input_shape[-1], "factor", False)

    def set_values(self, values: np.ndarray, factor: typing.Any) -> None:
        """Sets the numbers to `values`, with about `factor` in them for good."""
        factor = fake_quant.nearest_power_of_two(factor)
        self.factor.assign(factor)
        self.values.assign(values.astype("float32") / factor)

    def folded_values(self) -> typing.Any:
        return super().folded_values() * ops.convert_to_tensor(self.factor)

    def call(self, inputs: typing.Any) -> typing.Any:
        return ops.multiply(inputs, self.rounded_values())


@keras.saving.register_keras_serializable(package=PACKAGE)
class ChannelOffset(_ByChannel):
    """Adds a rounded number to every channel: a BN's second half.

    Args:
        replaces: see `ChannelScale`.

    Example:
        >>> import keras
        >>> tuple(ChannelOffset()(keras.ops.ones((1, 2, 2, 3))).shape)
        (1, 2, 2, 3)
    """

    def call(self, inputs: typing.Any) -> typing.Any:
        return ops.add(inputs, self.rounded_values())
