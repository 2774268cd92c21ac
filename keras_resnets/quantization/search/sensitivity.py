"""The error of each layer when only this layer is quantized."""

import dataclasses
import typing
from collections.abc import Callable

import keras
import numpy as np

from keras_resnets import renamed
from keras_resnets.export import parity
from keras_resnets.export import signature
from keras_resnets.quantization import bias_correction
from keras_resnets.quantization import ranges
from keras_resnets.quantization import recipes
from keras_resnets.quantization.bias_correction import biases_of
from keras_resnets.quantization.qat.aware import quantize_aware
from keras_resnets.quantization.qat.layers import QUANTIZED
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.rewrite import rewrite
from keras_resnets.quantization.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The effect of rounding one layer on the logits.

    Attributes:
        name: of the layer in the quantization-aware model.
        part: `"weights"` or `"activations"`.
        of: the layers of the float model that it replaces.
        rmse: root mean square difference over the standard deviation of the logits.
        agreement: share of images with the same top-1 class.
    """

    name: str
    part: str
    of: tuple
    rmse: float
    agreement: float


@renamed.arguments(pictures="images")
def sensitivity(
    model: keras.Model,
    images: np.ndarray,
    recipe: str | Recipe = "static_wi8_ai8",
    calibration: typing.Any = None,
    progress: Callable[..., object] | None = None,
) -> list[LayerCost]:
    """Ranks the layers of a float model by what each costs when quantized alone.

    Args:
        model: see `quantize_aware`.
        images: float32 array (count, height, width, channels), preprocessed training
            images to measure on; a hundred tell the order.
        recipe: how each layer is quantized.
        calibration: images for the ranges; `images` by default.
        progress: called with the number of layers done, and of all.

    Returns:
        A list of `LayerCost`, the costliest first. The sum of their squared errors is
        about the squared error of the network.

    Raises:
        InvalidArgument: see `quantize_aware`.

    Example:
        >>> import keras_resnets, numpy as np
        >>> model = keras_resnets.create_model("resnet8")
        >>> x = np.random.default_rng(0).uniform(0, 255, (10, 32, 32, 3))
        >>> len(sensitivity(model, x))
        25
    """
    images = np.asarray(images, "float32")
    # Each layer is rounded and put back: its kernel must be there as it is.
    recipe = recipes.find(recipe).with_rounding("nearest")
    quantized = quantize_aware(
        model, recipe, images if calibration is None else calibration
    )
    biases = biases_of(rewrite(model, recipe))
    costs = layer_costs(quantized, images, biases, progress)
    return sorted(costs, key=lambda cost: -cost.rmse)


def layer_costs(
    quantized: keras.Model,
    images: np.ndarray,
    biases: dict[str, np.ndarray],
    progress: Callable[..., object] | None = None,
) -> list[LayerCost]:
    """A `LayerCost` of every layer that rounds, in order.

    Args:
        quantized: a model of `rewrite` with ranges.
        images: see `sensitivity`.
        biases: of kernels that are not rounded, by name of the layer.
        progress: see there.
    """
    measured = measurable(quantized)
    with bias_correction.replaced(quantized, biases):
        expected = _run(measured, quantized, images, [])
    costs = []
    targets = [layer for layer in quantized.layers if isinstance(layer, QUANTIZED)]
    for done, layer in enumerate(targets, 1):
        others = {name: b for name, b in biases.items() if name != layer.name}
        with bias_correction.replaced(quantized, others):
            rounded = _run(measured, quantized, images, [layer])
        compared = parity.compare(expected, rounded)
        part = "activations" if isinstance(layer, FakeQuantize) else "weights"
        costs.append(
            LayerCost(layer.name, part, layer.replaces, compared.rmse, compared.top1)
        )
        if progress:
            progress(done, len(targets))
    return costs


def measurable(quantized: keras.Model) -> keras.Model:
    """The model that outputs the logits of `quantized`, or else its outputs."""
    logits = signature.logits_of(quantized)
    if logits is None:
        # Of several the worst counts.
        logits = (
            signature.outputs(quantized)
            if len(quantized.outputs) > 1
            else quantized.outputs[0]
        )
    return keras.Model(quantized.inputs[0], logits)


def _run(
    measured: keras.Model,
    model: keras.Model,
    images: np.ndarray,
    rounding: list[keras.layers.Layer],
) -> typing.Any:
    """The outputs of the network when only some layers round."""
    batches = []
    tensors = [ranges.input_of(x) for x in model.layers if isinstance(x, FakeQuantize)]
    batch = ranges.images_at_a_time(tensors, images.shape[1:])
    # Eagerly: a graph for each layer would take longer than its images.
    with ranges.float_arithmetic(model, but=rounding):
        for start in range(0, len(images), batch):
            outputs = measured(images[start : start + batch], training=False)
            outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)
            batches.append(outputs)

    def joined(*parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts).astype("float32")

    return keras.tree.map_structure(joined, *batches)
