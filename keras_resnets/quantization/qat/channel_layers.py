"""Layers of a BN that is not folded: a rounded multiplication and addition."""

import typing
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_resnets.networks.layers import PACKAGE
from keras_resnets.quantization.qat import fake_quant


class _ByChannel(keras.layers.Layer):
    """One value per channel, stored in an integer file as int8 with one scale."""

    def __init__(self, replaces: Sequence[str] = (), **kwargs: typing.Any) -> None:
        super().__init__(**kwargs)
        self.replaces = tuple(replaces)
        self.enabled = True

    def build(self, input_shape: typing.Any) -> None:
        self.values = self._by_channel(input_shape[-1], "values", True)

    def _by_channel(self, channels: int, name: str, trainable: bool) -> typing.Any:
        # Under mixed precision the values would be cast to bfloat16 before the rounding.
        return self.add_weight(
            shape=(channels,),
            initializer="ones",
            trainable=trainable,
            autocast=False,
            name=name,
        )

    def folded_values(self) -> typing.Any:
        """Returns the float32 values to round."""
        return ops.convert_to_tensor(self.values)

    def bounds(self) -> tuple[typing.Any, typing.Any]:
        """Returns the range (low, high) of the values: float32 scalars."""
        fixed = ops.stop_gradient(self.folded_values())
        return ops.minimum(ops.min(fixed), 0.0), ops.maximum(ops.max(fixed), 1e-8)

    def rounded_values(self) -> typing.Any:
        """Returns the rounded values, as in the file."""
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
    """Multiplies every channel by a rounded value: the first half of a BN.

    The trainable weight is gamma, as in the float network. The multiplier is gamma
    times a constant, the power of two nearest to 1 / standard deviation.

    Args:
        replaces: names of the layers that it replaces, for reports.

    Example:
        >>> import keras
        >>> tuple(ChannelScale()(keras.ops.ones((1, 2, 2, 3))).shape)
        (1, 2, 2, 3)
    """

    def build(self, input_shape: typing.Any) -> None:
        super().build(input_shape)
        self.factor = self._by_channel(input_shape[-1], "factor", False)

    def set_values(self, values: np.ndarray, factor: typing.Any) -> None:
        """Sets the values, with a constant factor of about `factor` split off."""
        factor = fake_quant.nearest_power_of_two(factor)
        self.factor.assign(factor)
        self.values.assign(values.astype("float32") / factor)

    def folded_values(self) -> typing.Any:
        return super().folded_values() * ops.convert_to_tensor(self.factor)

    def call(self, inputs: typing.Any) -> typing.Any:
        return ops.multiply(inputs, self.rounded_values())


@keras.saving.register_keras_serializable(package=PACKAGE)
class ChannelOffset(_ByChannel):
    """Adds a rounded value to every channel: the second half of a BN.

    Args:
        replaces: see `ChannelScale`.

    Example:
        >>> import keras
        >>> tuple(ChannelOffset()(keras.ops.ones((1, 2, 2, 3))).shape)
        (1, 2, 2, 3)
    """

    def call(self, inputs: typing.Any) -> typing.Any:
        return ops.add(inputs, self.rounded_values())
