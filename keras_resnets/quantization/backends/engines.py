"""The engines that quantize: three ways from a float model to a TFLite file."""

import contextlib
import dataclasses
import typing
from collections.abc import Iterator

import keras
import numpy as np

from keras_resnets.export.prepare import Ready
from keras_resnets.export.tflite import convert as tflite
from keras_resnets.quantization import operators
from keras_resnets.quantization import ranges
from keras_resnets.quantization.backends import mixed_file
from keras_resnets.quantization.backends.litert import edge_quantizer
from keras_resnets.quantization.bias_correction import biases_of
from keras_resnets.quantization.equalization import equalize
from keras_resnets.quantization.options import Options
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat.depthwise_layers import QuantizedAffine
from keras_resnets.quantization.qat.freeze import freeze
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.rewrite import rewrite
from keras_resnets.quantization.rounding.kernels import Alternatives
from keras_resnets.quantization.rounding.methods import round_kernels
from keras_resnets.system import progress


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """The common base of the files of all plans with the same recipe and weights.

    Kernels that were rounded by images stay rounded: layers that `file` makes float
    must have been skipped, unless the rounding is nearest.

    Attributes:
        rounded: the network with fake quantization, frozen.
        graph: its operators, an `operators.Graph`.
        content: bytes of the file in which all of them are int8.
    """

    rounded: keras.Model
    graph: operators.Graph
    content: bytes

    def file(self, precisions: dict[str, str]) -> bytes:
        """Returns the bytes of the file with some operators in other precisions.

        Args:
            precisions: `"int8"`, `"int16"` or `"float"` by name of an operator.
        """
        return mixed_file.mix(self.content, self.graph, precisions)


def base(
    ready: Ready, options: Options, alternatives: Alternatives | None = None
) -> Base:
    """Returns the `Base` of the files of `options`, with the weights quantized.

    `alternatives`: see `rounding.kernels.round_second_order`.
    """
    rounded, observed, biases = ranged(ready, options, alternatives)
    content = bytes(from_fake_quantized(rounded, ready, options.file.io_dtype))
    graph = operators.read(rounded, ready.shape, observed, biases)
    return Base(rounded, graph, content)


def own_ranges(ready: Ready, options: Options) -> bytes:
    """Computes ranges, corrects biases, and converts a graph with both.

    The only engine that supports bits of single layers.
    """
    if not options.plan.precisions:
        frozen, _, _ = ranged(ready, options)
        return from_fake_quantized(frozen, ready, options.file.io_dtype)
    converted = base(ready, options)
    names = converted.graph.names
    precisions = options.plan.fitted(names).precisions
    return converted.file({names[label]: x for label, x in precisions.items()})


def ranged(
    ready: Ready, options: Options, alternatives: Alternatives | None = None
) -> tuple[keras.Model, dict[str, tuple[float, float]], dict[str, np.ndarray]]:
    """Returns the frozen model of `ready` with fake quantization, ranges and biases.

    Args:
        ready: a `session.Ready` with a calibration.
        options: the `Options`; the weight bits of their plan are used.
        alternatives: see `rounding.kernels.round_second_order`.

    Returns:
        (model, result of `ranges.set_ranges`, biases for float kernels by name of the
        layer).
    """
    plan = options.plan
    network = rewrite(ready.model, plan.recipe)
    if plan.layers:
        plan = operators.set_weight_bits(network, plan, ready.shape)
    images: typing.Any = ready.calibration
    if plan.equalizes:
        equalize(network, images)
    biases = biases_of(network)
    with progress.step("finding activation ranges"):
        observed = ranges.set_ranges(
            network,
            images,
            options.method or "mse",
            options.percentile,
            options.seed,
            options.progress,
        )
    if ready.takes_pixels:
        # A scale of 1: the integers are the pixels.
        next(x for x in network.layers if isinstance(x, FakeQuantize)).set_range(0, 255)
    with progress.step(f"rounding weights ({plan.recipe.rounding})"):
        round_kernels(
            network,
            images,
            plan.recipe,
            options.seed,
            options.progress,
            [layer.name for layer in network.layers if _stays_float(layer, plan)],
            alternatives,
        )
    return freeze(network), observed, biases


def _stays_float(layer: keras.layers.Layer, plan: PrecisionPlan) -> bool:
    """Returns whether the kernel of a layer stays float in a plan."""
    if not isinstance(layer, KERNELS) or layer.replaces[0] not in plan.layers:
        return False
    return plan.layers[layer.replaces[0]].weight_bits is None


def from_fake_quantized(frozen: keras.Model, ready: Ready, io_dtype: str) -> bytes:
    """Converts a model with fake quantization into the bytes of its int8 file."""
    # The frozen model is the reference, unless preprocessing is included.
    reference = ready.reference if ready.takes_pixels else frozen
    alone = dataclasses.replace(
        ready, model=frozen, reference=reference, calibration=None
    )
    with exporting(frozen):
        return tflite.convert(alone, "int8", io_dtype)


@contextlib.contextmanager
def exporting(frozen: keras.Model) -> Iterator[None]:
    """Reduces the layers of `frozen` to what converters recognize, in the context."""
    ranged = [
        x for x in frozen.layers if isinstance(x, (FakeQuantize, QuantizedAffine))
    ]
    for layer in ranged:
        layer.exporting = True
    try:
        yield
    finally:
        for layer in ranged:
            layer.exporting = False


def converter(ready: Ready, options: Options) -> bytes:
    """Quantizes by TensorFlow's converter."""
    recipe, io_dtype = options.plan.recipe, options.file.io_dtype
    return tflite.convert(ready, recipe.quantize, io_dtype, not recipe.per_channel)


ENGINES = {
    "ranges": own_ranges,
    "converter": converter,
    "ai_edge_quantizer": edge_quantizer,
}
