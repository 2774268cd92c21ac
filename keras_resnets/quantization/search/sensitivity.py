"""The error of each layer when only this layer is quantized."""

import contextlib
import dataclasses
import typing
from collections.abc import Callable
from collections.abc import Iterator

import keras
import numpy as np

from keras_resnets import renamed
from keras_resnets.errors import check_choice
from keras_resnets.export import parity
from keras_resnets.export import recipes
from keras_resnets.export import signature
from keras_resnets.export.recipes import Recipe
from keras_resnets.images import collecting
from keras_resnets.quantization import bias_correction
from keras_resnets.quantization import ranges
from keras_resnets.quantization.bias_correction import biases_of
from keras_resnets.quantization.choices import LAYER_ROUNDINGS
from keras_resnets.quantization.qat.aware import quantize_aware
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import QUANTIZED
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.rewrite import rewrite


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
    of: tuple[str, ...]
    rmse: float
    agreement: float


@renamed.arguments(pictures="images")
def sensitivity(
    model: keras.Model,
    images: typing.Any,
    recipe: str | Recipe = "static_wi8_ai8",
    calibration: typing.Any = None,
    progress: Callable[..., object] | None = None,
    rounding: str = "nearest",
) -> list[LayerCost]:
    """Ranks the layers of a float model by what each costs when quantized alone.

    Args:
        model: see `quantize_aware`.
        images: preprocessed training images to measure on, float32 (count, height,
            width, channels), or what else `to_tflite` takes as a calibration; a
            hundred tell the order.
        recipe: how each layer is quantized.
        calibration: images for the ranges; `images` by default.
        progress: called with the number of layers done, and of all.
        rounding: of kernels, `"nearest"` or `"second-order"`: then each kernel is the
            one that the whole network's rounding gives it.

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
    images = collecting.collect(images, None, what="images")
    check_choice("rounding", rounding, LAYER_ROUNDINGS)
    recipe = recipes.find(recipe).with_rounding(rounding)
    if rounding != "nearest":
        # Steps that the rounding finds do not follow the largest weight.
        recipe = recipe.replace(weight_ranges="learned")
    quantized = quantize_aware(
        model,
        recipe,
        images if calibration is None else calibration,
        # Layers are compared with those of `plain`.
        scaling=False,
    )
    images = collecting.check_images("images", images, model.inputs[0].shape[1:])
    plain = rewrite(model, recipe)
    kernels = None
    if rounding != "nearest":
        layers = [x for x in plain.layers if isinstance(x, KERNELS)]
        kernels = {x.name: x.folded_kernel() for x in layers}
    costs = layer_costs(quantized, images, biases_of(plain), progress, kernels)
    return sorted(costs, key=lambda cost: -cost.rmse)


def layer_costs(
    quantized: keras.Model,
    images: np.ndarray,
    biases: dict[str, np.ndarray],
    progress: Callable[..., object] | None = None,
    kernels: dict[str, typing.Any] | None = None,
) -> list[LayerCost]:
    """A `LayerCost` of every layer that rounds, in order.

    Args:
        quantized: a model of `rewrite` with ranges.
        images: see `sensitivity`.
        biases: of kernels that are not rounded, by name of the layer.
        progress: see there.
        kernels: in float, by name of the layer, where `quantized` has rounded ones.
    """
    measured = measurable(quantized)
    with _in_float(quantized, biases, kernels or {}):
        expected = _run(measured, quantized, images, [])
    # One logit tells two classes apart, see `images.binary`.
    cut = 0.0 if np.shape(expected)[1:] == (1,) else None
    costs = []
    targets = [layer for layer in quantized.layers if isinstance(layer, QUANTIZED)]
    for done, layer in enumerate(targets, 1):
        with _in_float(quantized, biases, kernels or {}, but=layer.name):
            rounded = _run(measured, quantized, images, [layer])
        compared = parity.compare(expected, rounded, cut)
        part = "activations" if isinstance(layer, FakeQuantize) else "weights"
        costs.append(
            LayerCost(layer.name, part, layer.replaces, compared.rmse, compared.top1)
        )
        if progress:
            progress(done, len(targets))
    return costs


@contextlib.contextmanager
def _in_float(
    quantized: keras.Model,
    biases: dict[str, np.ndarray],
    kernels: dict[str, typing.Any],
    but: str | None = None,
) -> Iterator[None]:
    """Lets layers compute with the biases and kernels that they had in float."""
    others = {name: bias for name, bias in biases.items() if name != but}
    with contextlib.ExitStack() as stack:
        stack.enter_context(bias_correction.replaced(quantized, others))
        for name in kernels.keys() - {but}:
            layer = quantized.get_layer(name)
            stack.enter_context(layer.computing_with(kernels[name]))
        yield


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
