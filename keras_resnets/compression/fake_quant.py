"""Fake quantization: real numbers rounded to the values that integers stand for.

Everything here is called with real tensors inside a layer, never with symbolic ones: on
those Keras' operation drops its arguments.
"""

import keras
import numpy as np
from keras import ops


def levels(bits, narrow=False):
    """(least, largest) integer: -128 and 127 for 8 bits, -127 and 127 if narrow."""
    half = 2 ** (bits - 1)
    return (-half + 1 if narrow else -half), half - 1


def fake_quantize(x, low, high, bits=8):
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


def fake_quantize_symmetric(x, radius, bits=8):
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


def fake_quantize_learned(x, radius, bits=8):
    """`fake_quantize_symmetric` with a gradient for `radius` from every value.

    Each value tells the step how the rounding error changes with it (learned step size,
    Esser 2020, arXiv:1902.08153). The gradient of a step is divided by the root of the
    number of values that share it and of the largest integer, as proposed there.
    """
    _, largest = levels(bits, narrow=True)
    axes = tuple(range(len(x.shape) - len(radius.shape)))
    shared = int(np.prod([x.shape[axis] for axis in axes]))

    @ops.custom_gradient
    def rounded(x, radius):
        result = fake_quantize_symmetric(x, radius, bits)

        def grad(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            step = radius / largest
            value = x / step
            inside = ops.cast(ops.abs(value) <= largest, x.dtype)
            slope = inside * (ops.round(value) - value)
            slope = slope + (1.0 - inside) * largest * ops.sign(value)
            scale = 1.0 / float(np.sqrt(shared * largest))
            # The step is the radius over `largest`.
            toward = ops.sum(upstream * slope, axes) * (scale / largest)
            return upstream * inside, ops.reshape(toward, ops.shape(radius))

        return result, grad

    return rounded(x, radius)


def scale_gradient(x, factor):
    """`x`, but for rounding, whose gradient is multiplied by `factor`."""
    part = x * factor
    return ops.stop_gradient(x - part) + part
