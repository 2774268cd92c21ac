"""Fake quantization: real numbers rounded to the values that integers stand for.

Everything here is called with real tensors inside a layer, never with symbolic ones: on
those Keras' operation drops its arguments.
"""

import typing

import keras
import numpy as np
from keras import ops

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown


def checked_bits(bits: object) -> int:
    """`bits` of an integer, also where a file tells them.

    Raises:
        InvalidArgument: no whole number from 2 to 16.
    """
    if isinstance(bits, int) and not isinstance(bits, bool) and 2 <= bits <= 16:
        return bits
    raise InvalidArgument(
        f"the bits of an integer must be a whole number from 2 to 16; got {shown(bits)}"
    )


def levels(bits: int, narrow: bool = False) -> tuple[int, int]:
    """(least, largest) integer: -128 and 127 for 8 bits, -127 and 127 if narrow."""
    half = 2 ** (bits - 1)
    return (-half + 1 if narrow else -half), half - 1


def fake_quantize(
    x: typing.Any, low: typing.Any, high: typing.Any, bits: int = 8
) -> typing.Any:
    """`x` on the grid of `bits` that spans [low, high], moved so that 0 lies on it.

    Args:
        x: float32 tensor.
        low: float32 scalar, at most 0.
        high: float32 scalar, at least 0.
        bits: 2 to 16.

    Returns:
        float32, of the same shape. Gradients reach `x` inside the range, `low` and
        `high` from what lies outside.
    """
    return keras.quantizers.fake_quant_with_min_max_vars(x, low, high, num_bits=bits)


def fake_quantize_symmetric(
    x: typing.Any, radius: typing.Any, bits: int = 8
) -> typing.Any:
    """`x` on the grid of whole multiples of radius / (2 ** (bits - 1) - 1).

    Args:
        x: float32 tensor.
        radius: float32: a scalar, or one a channel of the last axis.
        bits: 2 to 16.
    """
    axis = None if len(radius.shape) == 0 else -1
    return keras.quantizers.fake_quant_with_min_max_vars(
        x, -radius, radius, num_bits=bits, narrow_range=True, axis=axis
    )


def fake_quantize_learned(
    x: typing.Any, radius: typing.Any, bits: int = 8
) -> typing.Any:
    """`fake_quantize_symmetric` with a gradient for `radius` from every value.

    The numbers are the same to float32's last bits, but for exact halves of a step.

    Each value tells the step how the rounding error changes with it (learned step size,
    Esser 2020, arXiv:1902.08153). The gradient of a step is divided by the root of the
    number of values that share it and of the largest integer, as proposed there.
    """
    _, largest = levels(bits, narrow=True)
    axes = range(len(x.shape) - len(radius.shape))
    shared = int(np.prod([x.shape[axis] for axis in axes]))
    step = scale_gradient(radius / largest, 1.0 / float(np.sqrt(shared * largest)))
    integers = ops.clip(x / step, -largest, largest)
    return with_gradient_of(ops.round(integers), integers) * step


def with_gradient_of(value: typing.Any, other: typing.Any) -> typing.Any:
    """The numbers of `value`, exactly, with the gradient of `other`."""
    return ops.stop_gradient(value) + (other - ops.stop_gradient(other))


def scale_gradient(x: typing.Any, factor: typing.Any) -> typing.Any:
    """The numbers of `x`, exactly, with its gradient multiplied by `factor`."""
    return with_gradient_of(x, x * factor)


def nearest_power_of_two(numbers: np.ndarray) -> np.ndarray:
    """float32 powers of two near the absolute values; 1 for 0 and beyond 2**40."""
    exponent = np.rint(np.log2(np.maximum(np.abs(numbers), 1e-30)))
    return np.where(np.abs(exponent) > 40, 1.0, np.exp2(exponent)).astype("float32")
