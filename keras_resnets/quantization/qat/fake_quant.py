"""Fake quantization: rounds floats to the values that integers can represent.

Call these functions inside a layer only: Keras' operation loses its arguments when it
is called with symbolic tensors.
"""

import typing

import keras
import numpy as np
from keras import ops

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown


def checked_bits(bits: object) -> int:
    """Returns `bits`, which may come from a file, as an int.

    Raises:
        InvalidArgument: it is not a whole number from 2 to 16.
    """
    if isinstance(bits, int) and not isinstance(bits, bool) and 2 <= bits <= 16:
        return bits
    raise InvalidArgument(
        f"the bits of an integer must be a whole number from 2 to 16; got {shown(bits)}"
    )


def levels(bits: int, narrow: bool = False) -> tuple[int, int]:
    """Returns (min, max) of an integer: -128, 127 for 8 bits; -127, 127 if narrow."""
    half = 2 ** (bits - 1)
    return (-half + 1 if narrow else -half), half - 1


def fake_quantize(
    x: typing.Any, low: typing.Any, high: typing.Any, bits: int = 8
) -> typing.Any:
    """Rounds `x` to 2 ** bits values in [low, high], shifted so that 0 is one of them.

    Args:
        x: float32 tensor.
        low: float32 scalar <= 0.
        high: float32 scalar >= 0.
        bits: 2 to 16.

    Returns:
        float32 tensor of the same shape. Values inside the range pass their gradient
        to `x`, those outside to `low` and `high`.
    """
    return keras.quantizers.fake_quant_with_min_max_vars(x, low, high, num_bits=bits)


def fake_quantize_symmetric(
    x: typing.Any, radius: typing.Any, bits: int = 8
) -> typing.Any:
    """Rounds `x` to multiples of radius / (2 ** (bits - 1) - 1) in [-radius, radius].

    Args:
        x: float32 tensor.
        radius: float32 scalar, or array with one value per channel of the last axis.
        bits: 2 to 16.
    """
    axis = None if len(radius.shape) == 0 else -1
    return keras.quantizers.fake_quant_with_min_max_vars(
        x, -radius, radius, num_bits=bits, narrow_range=True, axis=axis
    )


def fake_quantize_learned(
    x: typing.Any, radius: typing.Any, bits: int = 8
) -> typing.Any:
    """`fake_quantize_symmetric` with gradients of learned step sizes for `radius`.

    Esser et al. 2020, "Learned Step Size Quantization" (arXiv:1902.08153): every value
    contributes to the gradient of its step, which is divided by the square root of the
    number of values that share the step times the largest integer. The results are
    those of `fake_quantize_symmetric` up to the last bits of float32 and ties.
    """
    _, largest = levels(bits, narrow=True)
    axes = range(len(x.shape) - len(radius.shape))
    shared = int(np.prod([x.shape[axis] for axis in axes]))
    step = scale_gradient(radius / largest, 1.0 / float(np.sqrt(shared * largest)))
    integers = ops.clip(x / step, -largest, largest)
    return with_gradient_of(ops.round(integers), integers) * step


def with_gradient_of(value: typing.Any, other: typing.Any) -> typing.Any:
    """Returns `value`, exactly, with the gradient of `other`."""
    return ops.stop_gradient(value) + (other - ops.stop_gradient(other))


def scale_gradient(x: typing.Any, factor: typing.Any) -> typing.Any:
    """Returns `x`, exactly, with its gradient multiplied by `factor`."""
    return with_gradient_of(x, x * factor)


def nearest_power_of_two(numbers: np.ndarray) -> np.ndarray:
    """Returns the nearest powers of two, float32; 1 for 0 and above 2**40."""
    exponent = np.rint(np.log2(np.maximum(np.abs(numbers), 1e-30)))
    return np.where(np.abs(exponent) > 40, 1.0, np.exp2(exponent)).astype("float32")


def largest_amax(kernel: np.ndarray, per_channel: bool) -> np.ndarray:
    """Returns the amax of a NumPy kernel, overall or per output channel."""
    axes = tuple(range(kernel.ndim - 1)) if per_channel else None
    return np.maximum(np.abs(kernel).max(axis=axes), 1e-8).astype("float32")
