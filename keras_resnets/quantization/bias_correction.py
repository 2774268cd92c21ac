"""Corrects biases for the mean error of rounded weights."""

import contextlib
import typing
from collections.abc import Iterator

import keras
import numpy as np

from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat.freeze import amax_of
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.ranges import float_arithmetic
from keras_resnets.quantization.ranges import images_at_a_time
from keras_resnets.quantization.ranges import inputs_of

# Number of images; means need fewer than ranges.
_IMAGES = 100


def correct_biases(model: keras.Model, images: np.ndarray) -> None:
    """Subtracts the mean error of each rounded kernel from its bias.

    Each rounded weight has a small error; over inputs that are mostly positive the
    errors add up to a constant (Nagel 2019, arXiv:1906.04721, section 4.2, with means
    from images). Borders, which include padding, are treated like the interior.

    Args:
        model: a model of `rewrite` whose kernel ranges are set.
        images: float32 array (count, height, width, channels); the first hundred are
            used.
    """
    targets = [layer for layer in model.layers if isinstance(layer, KERNELS)]
    means = _input_means(model, targets, images[:_IMAGES])
    for layer, mean in zip(targets, means, strict=True):
        shift = _mean_error(layer, mean)
        bias = keras.ops.convert_to_numpy(layer.bias)
        layer.bias.assign((bias - shift).astype("float32"))


def biases_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the bias of every layer with a kernel, by name."""
    return {
        layer.name: keras.ops.convert_to_numpy(layer.bias)
        for layer in model.layers
        if isinstance(layer, KERNELS)
    }


@contextlib.contextmanager
def replaced(model: keras.Model, biases: dict[str, np.ndarray]) -> Iterator[None]:
    """Replaces biases of `model`, by name of the layer, within the context."""
    before = {name: bias for name, bias in biases_of(model).items() if name in biases}
    try:
        for name in before:
            model.get_layer(name).bias.assign(biases[name])
        yield
    finally:
        for name, bias in before.items():
            model.get_layer(name).bias.assign(bias)


def _input_means(
    model: keras.Model, targets: list[keras.layers.Layer], images: np.ndarray
) -> list[np.ndarray]:
    """Returns the float64 mean of each input channel of each layer."""
    read = inputs_of(model)
    owners = [index for index, layer in enumerate(targets) for _ in read[id(layer)]]
    probed = [tensor for layer in targets for tensor in read[id(layer)]]
    probe = keras.Model(model.inputs, probed)
    batch = images_at_a_time(probed, images.shape[1:])
    sums: list[typing.Any] = [0.0] * len(targets)
    count = 0
    with float_arithmetic(model):
        for start in range(0, len(images), batch):
            chunk = images[start : start + batch]
            predicted = probe.predict_on_batch(
                np.resize(chunk, (min(batch, len(images)), *chunk.shape[1:]))
            )
            for index, values in zip(
                owners, keras.tree.flatten(predicted), strict=True
            ):
                axes = tuple(range(1, values.ndim - 1))
                by_image = np.asarray(values, "float64")[: len(chunk)].mean(axis=axes)
                sums[index] = sums[index] + by_image.sum(axis=0)
            count += len(chunk)
    return [total / (count * owners.count(index)) for index, total in enumerate(sums)]


def _mean_error(layer: keras.layers.Layer, mean: np.ndarray) -> np.ndarray:
    """Returns the mean error of each output channel that rounding the kernel causes."""
    kernel = layer.folded_kernel()
    radius = keras.ops.convert_to_tensor(amax_of(layer))
    rounded = fake_quant.fake_quantize_symmetric(kernel, radius, layer.weight_bits)
    error = keras.ops.convert_to_numpy(rounded).astype("float64")
    error -= keras.ops.convert_to_numpy(kernel)
    # (inputs of a group, outputs), summed over the window.
    error = error.reshape(-1, *error.shape[-2:]).sum(axis=0)
    groups = len(mean) // error.shape[0]
    outputs = error.shape[1] // groups
    parts = [
        part @ error[:, index * outputs : (index + 1) * outputs]
        for index, part in enumerate(np.split(mean, groups))
    ]
    return np.concatenate(parts)
