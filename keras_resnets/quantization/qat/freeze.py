"""Freezes a quantization-aware model: float32, inference only, constant ranges."""

import typing

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph import copies
from keras_resnets.graph.nodes import layers_of
from keras_resnets.graph.nodes import rebuilt
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.layers import is_quantized

# Half of the range of int32, since products are added to the bias.
_BIAS_LIMIT = 2**30


def freeze(model: keras.Model) -> keras.Model:
    """Returns a copy of `model` with constant ranges, for inference and export.

    4-bit weights become 8-bit integers from -7 to 7, with the same values, which every
    runtime supports.

    Args:
        model: a model returned by `quantize_aware`, trained or calibrated.

    Returns:
        A `keras.Model` that computes the same function, under the float32 policy.

    Raises:
        InvalidArgument: the model is not quantization-aware, or a range is not known
            yet.
    """
    check_quantized(model)
    clone, frozen = rebuilt(model, _fixed)
    for old, _ in layers_of(model):
        new = frozen.get(id(old))
        if isinstance(new, KERNELS):
            _fix_kernel(old, new)
        elif new is not None:
            new.set_weights(old.get_weights())
        if isinstance(new, FakeQuantize):
            _fix_range(old, new)
    return clone


def check_quantized(model: object) -> None:
    """Raises `InvalidArgument` unless `model` is quantization-aware."""
    if not isinstance(model, keras.Model) or not is_quantized(model):
        raise InvalidArgument(
            "model must be a quantization-aware model, such as quantize_aware returns; "
            f"got {getattr(model, 'name', type(model).__name__)}"
        )


def check_ranges(model: keras.Model) -> None:
    """Raises `InvalidArgument` if a range of `model` is not known yet."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, FakeQuantize):
            _check_range(layer)


def _fixed(layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
    changes: dict[str, typing.Any] = {"dtype": "float32", "name": name}
    if isinstance(layer, FakeQuantize):
        changes["ranges"] = "fixed"
    if isinstance(layer, KERNELS):
        # Nothing is trained.
        changes |= {"weight_ranges": "fixed", "weight_bits": 8, "keeps_zeros": None}
    return copies.blank(layer, **changes)


def _check_range(layer: keras.layers.Layer) -> None:
    if not layer.is_known():
        raise InvalidArgument(
            f"the range of {layer.name} is not set: give quantize_aware calibration "
            "images, or train first"
        )


def _fix_range(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    _check_range(old)
    new.set_range(*old.bounds())


def amax_of(layer: keras.layers.Layer) -> np.ndarray:
    """Returns the amax of a layer's kernel, float32, by which its file rounds it."""
    if layer.weight_ranges == "max":
        kernel = keras.ops.convert_to_numpy(layer.folded_kernel())
        radius = fake_quant.largest_amax(kernel, layer.per_channel)
    else:
        radius = np.abs(keras.ops.convert_to_numpy(layer.kernel_radius))
    return np.maximum(radius, least_amax(layer)).astype("float32")


def least_amax(layer: keras.layers.Layer, bits: int | None = None) -> typing.Any:
    """Returns the smallest amax with which the bias fits into an int32.

    The scale of the bias is that of the input times that of the kernel. If the kernel
    is almost zero and the bias is not, as in a channel that a BN has switched off, the
    bias would overflow. A larger scale costs such a kernel less than the rounding of
    the bias.

    Args:
        layer: one of `KERNELS`.
        bits: bits per weight; None for those of the layer.
    """
    grid, node, _ = layer.input._keras_history
    while not isinstance(grid, FakeQuantize):
        # Its output has the scale and zero point of its input.
        grid, node, _ = grid._inbound_nodes[node].input_tensors[0]._keras_history
    low, high = grid.bounds()
    step = (high - low) / (2**grid.bits - 1)
    if not step > 0:
        return 1e-8
    _, largest = fake_quant.levels(bits or layer.weight_bits, narrow=True)
    bias = np.abs(keras.ops.convert_to_numpy(layer.bias).astype("float64"))
    least = np.maximum(bias * (largest / (step * _BIAS_LIMIT)), 1e-8)
    return least if layer.per_channel else least.max()


def _fix_kernel(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    kernel, radius = old.folded_kernel(), amax_of(old)
    if old.weight_bits < 8:
        _, few = fake_quant.levels(old.weight_bits, narrow=True)
        _, many = fake_quant.levels(8, narrow=True)
        kernel = fake_quant.fake_quantize_symmetric(
            kernel, keras.ops.convert_to_tensor(radius), old.weight_bits
        )
        # The same step, with more integers.
        radius = radius * np.float32(many / few)
    new.set_kernel(keras.ops.convert_to_numpy(kernel))
    new.bias.assign(_unequal(keras.ops.convert_to_numpy(old.bias)))
    new.kernel_radius.assign(radius)


def _unequal(bias: np.ndarray) -> np.ndarray:
    """Returns a bias without equal values in all channels.

    Behind a kernel that scales each channel by itself, TensorFlow's converter rounds
    such a bias by the scale of the first channel in all of them. The next float32
    rounds to the same integer.
    """
    bias = np.array(bias)
    if bias.size > 1 and (bias == bias[0]).all() and bias[0]:
        bias[0] = np.nextafter(bias[0], np.float32(0), dtype="float32")
    return bias
