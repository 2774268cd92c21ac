"""A quantization-aware network that computes as a file of mixed precision does."""

import contextlib

import keras

from keras_resnets.quantization.choices import PRECISIONS
from keras_resnets.quantization.qat import layers as quantized


@contextlib.contextmanager
def computing(graph, precisions):
    """Lets the network compute in `precisions` whatever runs eagerly inside.

    Args:
        graph: its `operators.Graph`.
        precisions: by name of an operator; int8 where there is none.
    """
    weights = [x for x in graph.operators if x.weights is not None]
    before = [(x.weights, x.weights.enabled) for x in weights]
    with contextlib.ExitStack() as stack:
        for grid in (x.output for x in graph.operators):
            kept = graph.precision_of(grid, precisions)
            stack.enter_context(_rounding(grid, kept, graph.largest(grid)))
        try:
            for x in weights:
                x.weights.enabled = _rounds(x, precisions.get(x.name, PRECISIONS[0]))
                if not x.weights.enabled and x.weights.name in graph.biases:
                    stack.enter_context(_with_bias(x.weights, graph.biases))
            yield
        finally:
            for layer, enabled in before:
                layer.enabled = enabled


@contextlib.contextmanager
def _rounding(grid, precision, largest):
    """Lets a `FakeQuantize` round as a tensor of `precision` does."""
    before = grid.enabled, grid.bits, float(grid.low), float(grid.high)
    try:
        grid.enabled = precision != "float"
        if precision == "int16":
            # Zero is in the middle there.
            grid.bits = 16
            grid.set_range(-largest, largest)
        yield
    finally:
        grid.enabled, grid.bits, *ends = before
        grid.set_range(*ends)


@contextlib.contextmanager
def _with_bias(layer, biases):
    before = keras.ops.convert_to_numpy(layer.bias)
    try:
        layer.bias.assign(biases[layer.name])
        yield
    finally:
        layer.bias.assign(before)


def _rounds(operator, precision):
    if isinstance(operator.weights, quantized.KERNELS):
        return precision != "float"
    # A constant beside an int16 tensor is int16 itself: as good as exact.
    return precision == "int8"
