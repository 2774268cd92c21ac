"""A quantization-aware network at rest: float32, inference, every range a constant."""

import keras
import numpy as np

from keras_resnets.compression import fake_quant
from keras_resnets.compression.layers import KERNELS
from keras_resnets.compression.layers import FakeQuantize
from keras_resnets.compression.layers import is_quantized
from keras_resnets.compression.layers import largest_radius
from keras_resnets.errors import InvalidArgument


def freeze(model, int4=False):
    """A copy of `model` whose ranges are constants, for inference and export.

    Weights of 4 bits become integers from -7 to 7 of 8 bits: the same numbers, which
    every runtime knows.

    Args:
        model: from `quantize_aware`, trained or calibrated.
        int4: keep 4 bits as such.

    Returns:
        A `keras.Model` of the same function, under float32.

    Raises:
        InvalidArgument: a model that is not quantization-aware, or one whose ranges are
            not known yet.
    """
    if not isinstance(model, keras.Model) or not is_quantized(model):
        raise InvalidArgument(
            "a quantization-aware model is wanted, such as quantize_aware returns; "
            f"{getattr(model, 'name', type(model).__name__)} is none"
        )
    clone = keras.models.clone_model(
        model, clone_function=lambda layer: _fixed(layer, int4)
    )
    for old, new in zip(model.layers, clone.layers, strict=True):
        if isinstance(new, KERNELS):
            _fix_kernel(old, new, int4)
            continue
        new.set_weights(old.get_weights())
        if isinstance(new, FakeQuantize):
            _fix_range(old, new)
    return clone


def _fixed(layer, int4):
    config = {**layer.get_config(), "dtype": "float32"}
    if isinstance(layer, FakeQuantize):
        config["ranges"] = "fixed"
    if isinstance(layer, KERNELS):
        config["weight_ranges"] = "fixed"
        config["weight_bits"] = layer.weight_bits if int4 else 8
    if "kernel_initializer" in config:
        config["kernel_initializer"] = "zeros"
    return type(layer).from_config(config)


def _fix_range(old, new):
    if not float(old.known):
        raise InvalidArgument(
            f"the range of {old.name} is not known: give quantize_aware a calibration "
            "set, or train first"
        )
    new.set_range(float(old.low), float(old.high))


def radius_of(layer):
    """float32 half range of a layer's kernel, as it rounds it now."""
    if layer.weight_ranges == "max":
        kernel = keras.ops.convert_to_numpy(layer.folded_kernel())
        return largest_radius(kernel, layer.per_channel)
    radius = np.abs(keras.ops.convert_to_numpy(layer.kernel_radius))
    return np.maximum(radius, 1e-8).astype("float32")


def _fix_kernel(old, new, int4):
    kernel, radius = old.folded_kernel(), radius_of(old)
    if old.weight_bits < 8 and not int4:
        _, few = fake_quant.levels(old.weight_bits, narrow=True)
        _, many = fake_quant.levels(8, narrow=True)
        kernel = fake_quant.fake_quantize_symmetric(
            kernel, keras.ops.convert_to_tensor(radius), old.weight_bits
        )
        # The same step, of which there are more.
        radius = radius * np.float32(many / few)
    new.set_kernel(keras.ops.convert_to_numpy(kernel))
    new.bias.assign(old.bias)
    new.kernel_radius.assign(radius)
