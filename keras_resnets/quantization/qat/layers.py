"""Layers of a quantization-aware model, which simulate the operators of an int8 file.

There is a `FakeQuantize` for every integer tensor of the file; `QuantizedConv2D`,
`QuantizedDense` and the layers of channel_layers.py round their weights, in float32.
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
from keras_resnets.quantization.qat import zeros
from keras_resnets.quantization.qat.channel_layers import ChannelOffset
from keras_resnets.quantization.qat.channel_layers import ChannelScale

# How a range is updated in training: by batch statistics, by gradient, not at all.
RANGES = ("moving_average", "learned", "fixed")
# The weight of a new batch in a moving average.
RATE = 0.01


@keras.saving.register_keras_serializable(package=PACKAGE)
class FakeQuantize(keras.layers.Layer):
    """Rounds its input to the values of an integer tensor with one scale.

    y = s * (clip(round(x / s) + z, q_min, q_max) - z), of the shape of x, with scale s
    and zero point z from the range [low, high] and integers q_min..q_max.

    Args:
        bits: bits of the integers, 2 to 16.
        ranges: `"moving_average"` of the minima and maxima of the training batches (see
            `rate`), `"learned"` by gradient, or `"fixed"`.
        positive: whether the input is never negative, as after a ReLU.
        replaces: names of the layers whose output it rounds, for reports.

    Attributes:
        low, high: the range, which always contains 0.
        rate: weight of a new batch in the moving average; 0 stops it.
        known: 1 once the range is set. Until then inference does not round, and the
            first training batch sets the range.
        enabled: False turns rounding off in eager calls and in functions traced later.
        exporting: True leaves only the operation that converters recognize.

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
        # Weight decay and clipping must not change a range.
        return self.add_weight(
            shape=(),
            initializer="zeros",
            trainable=trainable,
            dtype="float32",
            autocast=False,
            name=name,
        )

    def set_range(self, low: float, high: float) -> None:
        """Sets the range, widened to contain 0."""
        self.low.assign(min(float(low), 0.0))
        self.high.assign(max(float(high), 0.0))
        self.known.assign(1.0)

    def bounds(self) -> tuple[float, float]:
        """Returns (low, high), also of variables that are mirrored on several devices."""
        return _number(self.low), _number(self.high)

    def is_known(self) -> bool:
        """Returns whether the range is set."""
        return _number(self.known) > 0

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
        """Rounds to the nearest multiple of the step, ties to even, as MEAN does."""
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
            # The gradient is a sum over clipped values: it is scaled by the size.
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


def _number(variable: typing.Any) -> float:
    # As a tensor first: float() takes no variable that is mirrored on several devices.
    return float(ops.convert_to_numpy(ops.convert_to_tensor(variable)))


class _RoundsKernel(zeros.KeepsZeros):
    """Base class of the layers with a kernel.

    The kernel is multiplied by a constant per channel, about the scale of the folded
    BN, and then rounded. The trainable weight is the kernel without the constant, as in
    the float network: the BN after raw pixels multiplies by 0.01, and a learning rate
    that suits the rest of the network would be 10,000 times too large for the product.

    Attributes:
        kernel_factor: the constant, one per output channel; a power of two, so that it
            is exact.
        kernel_radius: amax of the rounded kernel: a scalar, or one per output channel.
    """

    # Attributes of the Keras layer that a subclass also inherits from.
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
        keeps_zeros: str | None,
    ) -> None:
        check_choice("weight_ranges", weight_ranges, ("max", "learned", "fixed"))
        self.weight_bits = fake_quant.checked_bits(weight_bits)
        self.per_channel = per_channel
        self.weight_ranges = weight_ranges
        self.replaces = tuple(replaces)
        self.keeps_zeros = zeros.checked(keeps_zeros)
        self.enabled = True
        self._given: typing.Any = None

    def add_weight(
        self, *arguments: typing.Any, name: str | None = None, **options: typing.Any
    ) -> typing.Any:
        # Under mixed precision the kernel would be cast to bfloat16 before the rounding.
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
        """Sets the kernel.

        Args:
            kernel: NumPy array of the layer's shape, multiplied by the factor.
            factor: NumPy array (channels,), the factor; 1 by default.
        """
        if factor is None:
            factor = np.ones(kernel.shape[-1])
        factor = fake_quant.nearest_power_of_two(factor)
        self.kernel_factor.assign(factor)
        self.kernel.assign(kernel / factor)

    def folded_kernel(self) -> typing.Any:
        """Returns the float32 kernel before rounding, multiplied by the factor."""
        factor = ops.convert_to_tensor(self.kernel_factor)
        return self.masked(ops.convert_to_tensor(self.kernel) * factor)

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
        """Makes the layer use another kernel, a float32 tensor, within the context."""
        self._given = kernel
        try:
            yield
        finally:
            self._given = None

    def rounded_kernel(self) -> typing.Any:
        """Returns the rounded kernel in the layer's compute dtype."""
        if self._given is not None:
            return ops.cast(self._given, self.compute_dtype)
        kernel = self.folded_kernel()
        if not self.enabled:
            return ops.cast(kernel, self.compute_dtype)
        if self.weight_ranges == "learned":
            radius = ops.convert_to_tensor(self.kernel_radius)
            if self.per_channel:
                # Proportional to the factor, as the kernel is.
                factor = ops.convert_to_tensor(self.kernel_factor)
                radius = fake_quant.scale_gradient(radius, ops.square(factor))
            radius = ops.maximum(ops.abs(radius), 1e-8)
            kernel = fake_quant.fake_quantize_learned(kernel, radius, self.weight_bits)
        else:
            rounded = fake_quant.fake_quantize_symmetric(
                kernel, self._radius(kernel), self.weight_bits
            )
            # No value is clipped, so the gradient is that of the kernel, and the slow
            # gradient of the operation (one channel at a time) is not needed.
            kernel = fake_quant.with_gradient_of(rounded, kernel)
        return ops.cast(kernel, self.compute_dtype)

    def _radius(self, kernel: typing.Any) -> typing.Any:
        if self.weight_ranges == "fixed":
            return ops.convert_to_tensor(self.kernel_radius)
        axes = tuple(range(len(kernel.shape) - 1)) if self.per_channel else None
        return ops.maximum(ops.max(ops.abs(ops.stop_gradient(kernel)), axes), 1e-8)

    def get_config(self) -> dict[str, typing.Any]:
        return {
            **super().get_config(),
            "weight_bits": self.weight_bits,
            "per_channel": self.per_channel,
            "weight_ranges": self.weight_ranges,
            "replaces": list(self.replaces),
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedConv2D(_RoundsKernel, layers.Conv2D):
    """A convolution with a rounded kernel, symmetric around 0.

    Shapes are those of `keras.layers.Conv2D`. The kernel W becomes
    s * clip(round(W / s), -q, q), q = 2 ** (weight_bits - 1) - 1, s = amax / q.

    Args:
        filters, kernel_size: see `keras.layers.Conv2D`, as all other arguments.
        weight_bits: bits per weight, 2 to 16.
        per_channel: whether each output channel has its own scale.
        weight_ranges: `"max"`, amax is the largest absolute value; `"learned"` or
            `"fixed"`.
        replaces: names of the layers that it replaces, for reports.
        keeps_zeros: `"weights"`: weights that are zero stay zero in training;
            `"blocks"`: blocks of four zeros along the inputs do; None: no zeros do.

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
        keeps_zeros: str | None = None,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self._configure(weight_bits, per_channel, weight_ranges, replaces, keeps_zeros)

    def convolution_op(self, inputs: typing.Any, kernel: typing.Any) -> typing.Any:
        return super().convolution_op(inputs, self.rounded_kernel())


@keras.saving.register_keras_serializable(package=PACKAGE)
class QuantizedDense(_RoundsKernel, keras.layers.Dense):
    """A dense layer with a rounded kernel, see `QuantizedConv2D`: (..., n) to (..., units).

    Args:
        units: see `keras.layers.Dense`, as all other arguments.
        weight_bits: bits per weight, 2 to 16.
        per_channel: see `QuantizedConv2D`; TensorFlow's converter only supports False,
            the default.
        weight_ranges, replaces, keeps_zeros: see `QuantizedConv2D`.

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
        keeps_zeros: str | None = None,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self._configure(weight_bits, per_channel, weight_ranges, replaces, keeps_zeros)

    def call(self, inputs: typing.Any, training: bool | None = None) -> typing.Any:
        outputs = ops.matmul(inputs, self.rounded_kernel())
        if self.use_bias:
            outputs = ops.add(outputs, ops.cast(self.bias, outputs.dtype))
        return outputs if self.activation is None else self.activation(outputs)


KERNELS = (QuantizedConv2D, QuantizedDense)
QUANTIZED = (FakeQuantize, *KERNELS, ChannelScale, ChannelOffset)


def fitted(model: keras.Model) -> keras.Model:
    """Returns the model that `fit` trains: the student of a `Distiller`, or `model`."""
    return getattr(model, "student", model)


def is_quantized(model: keras.Model) -> bool:
    """Returns whether `model`, or a model inside it, has layers of this module."""
    inner = model._flatten_layers(include_self=False)
    return any(isinstance(layer, QUANTIZED) for layer in inner)
