"""Layers that compute as an int8 file will: the parts of a quantization-aware network.

`FakeQuantize` stands where the file has an integer tensor; `QuantizedConv2D`,
`QuantizedDense` and those of channel_layers.py round their weights. All other layers of
such a network are Keras' own. Whatever the dtype policy, the rounding is in float32.
"""

import contextlib
import typing
from collections.abc import Iterator
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_resnets.errors import check_choice
from keras_resnets.networks import layers
from keras_resnets.networks.layers import PACKAGE
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat.channel_layers import ChannelOffset
from keras_resnets.quantization.qat.channel_layers import ChannelScale

# Whether a range moves with the batches, by gradient, or not at all.
RANGES = ("moving_average", "learned", "fixed")
# How far a moving average follows a batch.
RATE = 0.01


@keras.saving.register_keras_serializable(package=PACKAGE)
class FakeQuantize(keras.layers.Layer):
    """Rounds to the values that an integer tensor of one scale can hold.

    Args:
        bits: of the integer.
        ranges: `"moving_average"` (of the least and largest value of the training
            batches; see `rate`), `"learned"` (by gradient), or `"fixed"`.
        positive: whether the input is never negative, as behind a ReLU.
        replaces: names of the layers whose output this is, for reports.

    Attributes:
        low, high: the range; it always holds 0.
        rate: how far a moving average follows each batch; 0 stops it.
        known: 1 once there is a range. Before, nothing is rounded at inference, and
            the first training batch sets it.
        enabled: False takes the rounding away (of eager calls and of what is traced
            from then on).
        exporting: True leaves nothing but the operation that a converter knows.

    Example:
        >>> import keras
        >>> layer = FakeQuantize(ranges="fixed", positive=True)
        >>> layer.build((None, 1))
        >>> layer.set_range(0.0, 255.0)
        >>> float(layer(keras.ops.array([[41.7]]))[0, 0])
        42.0
    """

    def __init__(
        self,
        bits: int = 8,
        ranges: str = "moving_average",
        positive: bool = False,
        replaces: Sequence[str] = (),
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("ranges", ranges, RANGES)
        self.bits = fake_quant.checked_bits(bits)
        self.ranges = ranges
        self.positive = positive
        self.replaces = tuple(replaces)
        self.enabled = True
        self.exporting = False

    def build(self, input_shape: typing.Any) -> None:
        learned = self.ranges == "learned"
        self.low = self._scalar("low", learned and not self.positive)
        self.high = self._scalar("high", learned)
        self.known = self._scalar("known", False)
        self.rate = self._scalar("rate", False)
        self.rate.assign(RATE if self.ranges == "moving_average" else 0.0)

    def _scalar(self, name: str, trainable: bool) -> typing.Any:
        # A range is no weight: whoever clips or decays those must not touch it.
        return self.add_weight(
            shape=(),
            initializer="zeros",
            trainable=trainable,
            dtype="float32",
            autocast=False,
            name=name,
        )

    def set_range(self, low: float, high: float) -> None:
        """Sets the range, widened to hold 0."""
        self.low.assign(min(float(low), 0.0))
        self.high.assign(max(float(high), 0.0))
        self.known.assign(1.0)

    def call(
        self,
        inputs: typing.Any,
        training: bool | None = None,
        halves_to_even: bool = False,
    ) -> typing.Any:
        if not self.enabled:
            return inputs
        x = ops.cast(inputs, "float32")
        if halves_to_even and not self.exporting:
            x = fake_quant.with_gradient_of(self._halves_to_even(x), x)
        if training and self.ranges == "moving_average":
            low, high = self._follow(x)
        else:
            low, high = self._bounds(x, training)
        rounded = fake_quant.fake_quantize(x, low, high, self.bits)
        if not training and self.ranges != "fixed":
            known = ops.convert_to_tensor(self.known)
            rounded = ops.where(known > 0, rounded, x)
        return ops.cast(rounded, self.compute_dtype)

    def _halves_to_even(self, x: typing.Any) -> typing.Any:
        """The nearest multiple of the step; of two the even one, as a file's mean."""
        low, high = self._bounds(x, training=False)
        step = ops.maximum(high - low, 1e-8) / (2**self.bits - 1)
        return ops.round(x / step) * step

    def _follow(self, x: typing.Any) -> tuple[typing.Any, typing.Any]:
        x = ops.stop_gradient(x)
        low = ops.zeros(()) if self.positive else ops.minimum(ops.min(x), 0.0)
        high = ops.maximum(ops.max(x), 0.0)
        old_low, old_high, known, rate = map(
            ops.convert_to_tensor, (self.low, self.high, self.known, self.rate)
        )
        rate = ops.where(known > 0, rate, 1.0)
        low = old_low + rate * (low - old_low)
        high = old_high + rate * (high - old_high)
        self.low.assign(low)
        self.high.assign(high)
        self.known.assign(ops.ones_like(known))
        return low, high

    def _bounds(
        self, x: typing.Any, training: bool | None
    ) -> tuple[typing.Any, typing.Any]:
        low, high = ops.convert_to_tensor(self.low), ops.convert_to_tensor(self.high)
        if self.ranges != "learned":
            return low, high
        if training:
            # Every value that is cut off pushes; the push is that of a typical one.
            factor = 1.0 / ops.sqrt(ops.cast(ops.size(x), "float32"))
            low = fake_quant.scale_gradient(low, factor)
            high = fake_quant.scale_gradient(high, factor)
        return ops.minimum(low, 0.0), ops.maximum(high, 1e-6)

    def compute_output_shape(self, input_shape: typing.Any) -> typing.Any:
        return input_shape

    def get_config(self) -> dict[str, typing.Any]:
        return {
            **super().get_config(),
            "bits": self.bits,
            "ranges": self.ranges,
            "positive": self.positive,
            "replaces": list(self.replaces),
        }


class _RoundsKernel:
    """What the layers with a kernel share.

    What is rounded is the kernel times a factor a channel: about that by which the BN
    that is folded in multiplies. Trained is the kernel without it, as in the float
    network: a BN behind raw pixels multiplies by 0.01, and the steps that suit the rest
    of the network would be 10,000 times too long for the product.

    Attributes:
        kernel_factor: one number an output channel, a power of two, so that it rounds
            nothing.
        kernel_radius: half of the range of what is rounded: a scalar, or one a channel.
    """

    # Of the Keras layer that a class is as well.
    kernel: typing.Any
    bias: typing.Any
    use_bias: bool
    compute_dtype: str

    def _configure(
        self,
        weight_bits: int,
        per_channel: bool,
        weight_ranges: str,
        replaces: Sequence[str],
    ) -> None:
        check_choice("weight_ranges", weight_ranges, ("max", "learned", "fixed"))
        self.weight_bits = fake_quant.checked_bits(weight_bits)
        self.per_channel = per_channel
        self.weight_ranges = weight_ranges
        self.replaces = tuple(replaces)
        self.enabled = True
        self._given: typing.Any = None

    def add_weight(
        self, *arguments: typing.Any, name: str | None = None, **options: typing.Any
    ) -> typing.Any:
        # Under mixed precision a kernel would come as bfloat16, before it is rounded.
        options.setdefault("autocast", name != "kernel")
        return super().add_weight(*arguments, name=name, **options)  # type: ignore[misc]

    def build(self, input_shape: typing.Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        self.kernel_radius = self.add_weight(
            shape=(self.kernel.shape[-1],) if self.per_channel else (),
            initializer="ones",
            trainable=self.weight_ranges == "learned",
            dtype="float32",
            autocast=False,
            name="kernel_radius",
        )
        self.kernel_factor = self.add_weight(
            shape=(self.kernel.shape[-1],),
            initializer="ones",
            trainable=False,
            dtype="float32",
            autocast=False,
            name="kernel_factor",
        )

    def set_kernel(self, kernel: np.ndarray, factor: np.ndarray | None = None) -> None:
        """Sets what is rounded.

        Args:
            kernel: NumPy array of the layer's shape, the factor in it.
            factor: NumPy array, the number in it a channel; 1 by default.
        """
        if factor is None:
            factor = np.ones(kernel.shape[-1])
        factor = fake_quant.nearest_power_of_two(factor)
        self.kernel_factor.assign(factor)
        self.kernel.assign(kernel / factor)

    def folded_kernel(self) -> typing.Any:
        """The float32 kernel that is rounded, the factor in it."""
        factor = ops.convert_to_tensor(self.kernel_factor)
        return ops.convert_to_tensor(self.kernel) * factor

    def save_own_variables(self, store: typing.Any) -> None:
        for name, variable in self._named_variables():
            store[name] = variable

    def load_own_variables(self, store: typing.Any) -> None:
        for name, variable in self._named_variables():
            variable.assign(store[name])

    def _named_variables(self) -> Iterator[tuple[str, typing.Any]]:
        yield "kernel", self.kernel
        yield "kernel_radius", self.kernel_radius
        yield "kernel_factor", self.kernel_factor
        if self.use_bias:
            yield "bias", self.bias

    @contextlib.contextmanager
    def computing_with(self, kernel: typing.Any) -> Iterator[None]:
        """Lets the layer multiply by another kernel, a float32 tensor, inside."""
        self._given = kernel
        try:
            yield
        finally:
            self._given = None

    def rounded_kernel(self) -> typing.Any:
        """The kernel on its grid, in the layer's compute dtype."""
        if self._given is not None:
            return ops.cast(self._given, self.compute_dtype)
        kernel = self.folded_kernel()
        if not self.enabled:
            return ops.cast(kernel, self.compute_dtype)
        if self.weight_ranges == "learned":
            radius = ops.convert_to_tensor(self.kernel_radius)
            if self.per_channel:
                # It is in proportion to the factor, as the kernel is.
                factor = ops.convert_to_tensor(self.kernel_factor)
                radius = fake_quant.scale_gradient(radius, ops.square(factor))
            radius = ops.maximum(ops.abs(radius), 1e-8)
            kernel = fake_quant.fake_quantize_learned(kernel, radius, self.weight_bits)
        else:
            rounded = fake_quant.fake_quantize_symmetric(
                kernel, self._radius(kernel), self.weight_bits
            )
            # No value lies outside: the gradient is that of the kernel, and what the
            # operation computes for it (one channel at a time) is not needed.
            kernel = fake_quant.with_gradient_of(rounded, kernel)
        return ops.cast(kernel, self.compute_dtype)

    def _radius(self, kernel: typing.Any) -> typing.Any:
        if self.weight_ranges == "fixed":
            return ops.convert_to_tensor(self.kernel_radius)
        axes = tuple(range(len(kernel.shape) - 1)) if self.per_channel else None
        return ops.maximum(ops.max(ops.abs(ops.stop_gradient(kernel)), axes), 1e-8)

    def get_config(self) -> dict[str, typing.Any]:
        return {
            **super().get_config(),  # type: ignore[misc]
            "weight_bits": self.weight_bits,
            "per_channel": self.per_channel,
            "weight_ranges": self.weight_ranges,
            "replaces": list(self.replaces),
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedConv2D(_RoundsKernel, layers.Conv2D):
    """A convolution whose kernel is rounded to `weight_bits`, symmetric around 0.

    Args:
        filters, kernel_size: and all others, as `keras.layers.Conv2D`.
        weight_bits: of a weight.
        per_channel: one scale an output channel, or one in all.
        weight_ranges: `"max"` (the largest absolute value decides), `"learned"` or
            `"fixed"`.
        replaces: names of the layers that it computes, for reports.

    Example:
        >>> import keras
        >>> layer = QuantizedConv2D(4, 1, weight_bits=4, use_bias=False)
        >>> tuple(layer(keras.ops.ones((1, 2, 2, 3))).shape)
        (1, 2, 2, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: typing.Any,
        weight_bits: int = 8,
        per_channel: bool = True,
        weight_ranges: str = "max",
        replaces: Sequence[str] = (),
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self._configure(weight_bits, per_channel, weight_ranges, replaces)

    def convolution_op(self, inputs: typing.Any, kernel: typing.Any) -> typing.Any:
        return super().convolution_op(inputs, self.rounded_kernel())


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedAffine(QuantizedConv2D):
    """A product and a sum a channel, as a 1x1 convolution of each channel by itself.

    y[..., c] = w[c] x[..., c] + b[c]: a BN that no convolution takes in. A file has one
    DEPTHWISE_CONV_2D of it, with the ReLU behind it: what is between the product and the
    sum is not rounded, and w hardly, since each channel has a scale of its own. Computed
    as a product, which takes less time to train than a convolution of so many groups.

    Args:
        filters: channels.
        **kwargs: of `QuantizedConv2D`, such as `weight_bits` and `replaces`.

    Attributes:
        exporting: True computes the convolution, which a converter knows.

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
        """Sets w and b, with about `factor` in w for good; see `set_kernel`."""
        kernel = scale.astype("float32")[None, None, None]
        self.set_kernel(kernel, factor)
        self.bias.assign(offset.astype("float32"))
        self.kernel_radius.assign(largest_amax(kernel, True))

    def convolution_op(self, inputs: typing.Any, kernel: typing.Any) -> typing.Any:
        kernel = self.rounded_kernel()
        if self.exporting:
            turned = ops.reshape(kernel, (1, 1, self.filters, 1))
            return ops.depthwise_conv(inputs, turned)
        return ops.multiply(inputs, kernel[0, 0, 0])


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedDense(_RoundsKernel, keras.layers.Dense):
    """A dense layer whose kernel is rounded, with one scale in all by default.

    Args:
        units: as `keras.layers.Dense`, and all others.
        weight_bits: of a weight.
        per_channel: see `QuantizedConv2D`; TensorFlow's converter knows False alone.
        weight_ranges, replaces: see there.

    Example:
        >>> import keras
        >>> tuple(QuantizedDense(4)(keras.ops.ones((1, 3))).shape)
        (1, 4)
    """

    def __init__(
        self,
        units: int,
        weight_bits: int = 8,
        per_channel: bool = False,
        weight_ranges: str = "max",
        replaces: Sequence[str] = (),
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self._configure(weight_bits, per_channel, weight_ranges, replaces)

    def call(self, inputs: typing.Any, training: bool | None = None) -> typing.Any:
        outputs = ops.matmul(inputs, self.rounded_kernel())
        if self.use_bias:
            outputs = ops.add(outputs, ops.cast(self.bias, outputs.dtype))
        return outputs if self.activation is None else self.activation(outputs)


KERNELS = (QuantizedConv2D, QuantizedDense)
QUANTIZED = (FakeQuantize, *KERNELS, ChannelScale, ChannelOffset)


def fitted(model: keras.Model) -> keras.Model:
    """The network that a `fit` of `model` trains: of a `Distiller` its student."""
    return getattr(model, "student", model)


def is_quantized(model: keras.Model) -> bool:
    """Whether `model` has a layer of this module, also in a model inside it."""
    inner = model._flatten_layers(include_self=False)
    return any(isinstance(layer, QUANTIZED) for layer in inner)


def largest_amax(kernel: np.ndarray, per_channel: bool) -> np.ndarray:
    """The largest absolute value of a NumPy kernel, in all or by output channel."""
    axes = tuple(range(kernel.ndim - 1)) if per_channel else None
    return np.maximum(np.abs(kernel).max(axis=axes), 1e-8).astype("float32")
