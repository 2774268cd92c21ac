"""What makes the bytes of a quantized file: three ways from a float model to TFLite."""

import contextlib
import dataclasses

from keras_resnets.export.tflite import convert as tflite
from keras_resnets.quantization import ranges
from keras_resnets.quantization.backends.litert import edge_quantizer
from keras_resnets.quantization.bias_correction import biases_of
from keras_resnets.quantization.bias_correction import correct_biases
from keras_resnets.quantization.qat.freeze import freeze
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.rewrite import rewrite


@dataclasses.dataclass(frozen=True)
class Options:
    """What an engine is told besides the recipe.

    Attributes:
        method, percentile: how ranges come from pictures, see `ranges.set_ranges`.
        io_dtype, batch, packed: see `keras_resnets.export.to_tflite`.
        int4: store weights of 4 bits as such, see `export.tflite.int4`.
        seed: of the sample that ranges are sought on.
        progress: called with the number of calibration pictures done.
    """

    method: str | None = None
    percentile: float = 99.99
    io_dtype: str = "int8"
    batch: int | str = 1
    packed: bool = True
    int4: bool = False
    seed: int = 0
    progress: object = None


def own_ranges(ready, recipe, options):
    """Ranges sought here, biases corrected, written into the graph that is converted."""
    made, _, _ = ranged(ready, recipe, options)
    return from_fake_quantized(made, ready, options)


def ranged(ready, recipe, options):
    """The model of `ready` as one that rounds, its ranges and biases set, frozen.

    Returns:
        (that model, what `ranges.set_ranges` saw, the biases that go with kernels that
        are not rounded, by name of the layer).
    """
    made = rewrite(ready.model, recipe)
    biases = biases_of(made)
    seen = ranges.set_ranges(
        made,
        ready.calibration,
        options.method or "mse",
        options.percentile,
        options.seed,
        options.progress,
    )
    if ready.takes_pixels:
        # A scale of 1: the integers are the pixels.
        next(x for x in made.layers if isinstance(x, FakeQuantize)).set_range(0, 255)
    correct_biases(made, ready.calibration)
    return freeze(made), seen, biases


def from_fake_quantized(frozen, ready, options):
    """Bytes of the int8 file of a model that knows its ranges."""
    # Its own reference, unless the pre-processing is part of it.
    reference = ready.reference if ready.takes_pixels else frozen
    alone = dataclasses.replace(
        ready, model=frozen, reference=reference, calibration=None
    )
    with exporting(frozen):
        return tflite.convert(alone, "int8", options.io_dtype, batch=options.batch)


@contextlib.contextmanager
def exporting(frozen):
    """Leaves nothing in the ranges of `frozen` but what converters know, inside."""
    ranged = [x for x in frozen.layers if isinstance(x, FakeQuantize)]
    for layer in ranged:
        layer.exporting = True
    try:
        yield
    finally:
        for layer in ranged:
            layer.exporting = False


def converter(ready, recipe, options):
    """TensorFlow's own post-training quantization."""
    return tflite.convert(
        ready,
        recipe.quantize,
        options.io_dtype,
        per_tensor=not recipe.per_channel,
        batch=options.batch,
    )


ENGINES = {
    "ranges": own_ranges,
    "converter": converter,
    "ai_edge_quantizer": edge_quantizer,
}
