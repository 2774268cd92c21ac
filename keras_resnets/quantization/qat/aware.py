"""Quantization-aware training: models that simulate their int8 file."""

import dataclasses
import typing
from collections.abc import Callable

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_type
from keras_resnets.errors import check_whole
from keras_resnets.export import prepare
from keras_resnets.export.recipes import Recipe
from keras_resnets.graph import provenance
from keras_resnets.images.calibration import checked_set
from keras_resnets.quantization import operators
from keras_resnets.quantization import ranges
from keras_resnets.quantization.equalization import equalize
from keras_resnets.quantization.plan import PrecisionPlan
from keras_resnets.quantization.qat import depthwise_layers
from keras_resnets.quantization.qat import layers as quantized
from keras_resnets.quantization.qat.layer_kinds import AVERAGING
from keras_resnets.quantization.qat.layer_kinds import PASSING
from keras_resnets.quantization.qat.rewrite import rewrite
from keras_resnets.quantization.rounding.methods import round_kernels


def quantize_aware(
    model: keras.Model,
    recipe: str | Recipe | PrecisionPlan = "static_wi8_ai8",
    calibration: typing.Any = None,
    method: str = "mse",
    percentile: float = 99.99,
    seed: int = 0,
    progress: Callable[..., object] | None = None,
    scaling: bool = True,
) -> keras.Model:
    """Returns a copy of `model` that is trained with the rounding of an int8 file.

    BN is folded into the preceding convolution with its current statistics: train the
    float model first, then fine-tune the result at a tenth of the learning rate or
    less. A BN that cannot be folded becomes a multiplication and an addition per
    channel, as in the file.

    Args:
        model: a built functional or Sequential `keras.Model` with one image input,
            under any dtype policy; it is not changed.
        recipe: name of a trainable recipe in `recipes.RECIPES`, a `Recipe`, or a
            `PrecisionPlan` with 4-bit or 8-bit weights.
        calibration: preprocessed training images (a `CalibrationSet`, or anything that
            `export.to_tflite` takes). They give the initial ranges, correct the biases,
            and round the kernels unless the recipe's rounding is `"nearest"`. Without
            them, moving averages start with the first training batch.
        method: see `ranges.set_ranges`.
        percentile: see `ranges.set_ranges`.
        seed: seed of the sample that `method="mse"` uses.
        progress: called with the number of calibration images done.
        scaling: whether channels are scaled before 4-bit kernels are rounded by images,
            see `equalization.equalize`.

    Returns:
        A functional `keras.Model` with the same inputs and outputs, to compile and fit.
        It is saved and loaded like any other model; `report` lists its layers.

    Raises:
        InvalidArgument: the model is already quantized or has a layer without an
            integer form, which the message names; the recipe is not for training; it
            has learned ranges and there is no `calibration`; or the images do not fit.

    Example:
        >>> import keras_resnets
        >>> model = keras_resnets.create_model("resnet8")
        >>> aware = quantize_aware(model)
        >>> aware.output_shape
        (None, 10)
    """
    plan = PrecisionPlan.of(recipe).for_training()
    recipe = plan.recipe
    _check_model(model)
    if plan.layers:
        plan.check_network(model.name, prepare.all_layers(model))
    if calibration is None and recipe.activation_ranges == "learned":
        raise InvalidArgument(
            "learned ranges require calibration images; got calibration=None"
        )
    if calibration is not None:
        shape = model.inputs[0].shape[1:]
        preprocessing = provenance.known_preprocessing(model)
        calibration = checked_set(calibration, shape, preprocessing, model)
    aware = rewrite(model, recipe)
    if plan.layers:
        operators.set_weight_bits(aware, plan, aware.inputs[0].shape[1:])
    provenance.inherit(aware, model, confidence=None)
    if calibration is not None and scaling and plan.equalizes:
        equalize(aware, calibration.images)
    if recipe.weight_ranges == "learned":
        set_amax(aware)
    if calibration is not None:
        ranges.set_ranges(aware, calibration.images, method, percentile, seed, progress)
        round_kernels(aware, calibration.images, recipe, seed, progress)
    return aware


def _check_model(model: keras.Model) -> None:
    prepare.check_functional(model, "quantization")
    prepare.check_one_image(model, "quantization")
    if quantized.is_quantized(model):
        raise InvalidArgument(
            f"{model.name} is already quantized: give its float model"
        )
    for layer in model.layers:
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            raise InvalidArgument(
                "quantization requires data_format='channels_last'; "
                f"{layer.name} has 'channels_first'"
            )


def set_amax(model: keras.Model) -> None:
    """Sets every kernel's range to the one with the smallest squared rounding error."""
    for layer in model.layers:
        if isinstance(layer, quantized.KERNELS):
            kernel = keras.ops.convert_to_numpy(layer.folded_kernel())
            radius = ranges.least_squares_amax(
                kernel, layer.weight_bits, layer.per_channel
            )
            layer.kernel_radius.assign(radius)


class FreezeRanges(keras.callbacks.Callback):
    """Callback that stops the moving averages of all ranges at an epoch.

    For a `training.distillation.Distiller`, those of the student.

    Args:
        epoch: the epoch, counted from 0, at whose start the ranges are fixed.

    Example:
        >>> FreezeRanges(2).epoch
        2
    """

    def __init__(self, epoch: int) -> None:
        super().__init__()
        check_whole("epoch", epoch)
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: typing.Any = None) -> None:
        if epoch == self.epoch:
            freeze_ranges(quantized.fitted(self.model))


def freeze_ranges(model: keras.Model) -> None:
    """Stops the moving averages of all ranges of `model`."""
    check_type("model", model, keras.Model, "a keras.Model")
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, quantized.FakeQuantize):
            layer.rate.assign(0.0)


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """A layer of a quantization-aware model, and the layers that it replaces.

    Attributes:
        name: name of the layer.
        kind: its class.
        of: names of the layers of the float model that it replaces.
        done: description of its quantization.
    """

    name: str
    kind: str
    of: tuple[str, ...]
    done: str


def report(model: keras.Model) -> list[LayerReport]:
    """Describes the layers of a quantization-aware model.

    Args:
        model: a model returned by `quantize_aware`, also after saving and loading.

    Returns:
        List of `LayerReport`s, in the order of the graph.

    Raises:
        InvalidArgument: the model is not quantization-aware.

    Example:
        >>> import keras_resnets
        >>> aware = quantize_aware(keras_resnets.create_model("resnet8"))
        >>> report(aware)[2].done
        'weights of 8 bits by channel (max), BN folded in'
    """
    check_type("model", model, keras.Model, "a quantization-aware keras.Model")
    if not quantized.is_quantized(model):
        raise InvalidArgument(f"{model.name} is not quantization-aware")
    return [
        LayerReport(
            name=layer.name,
            kind=type(layer).__name__,
            of=getattr(layer, "replaces", (layer.name,)),
            done=_done(layer),
        )
        for layer in model.layers
    ]


def _done(layer: keras.layers.Layer) -> str:
    if isinstance(layer, depthwise_layers.QuantizedAffine):
        return f"numbers of {layer.weight_bits} bits by channel: a BN that stands alone"
    if isinstance(layer, quantized.KERNELS):
        scales = "by channel" if layer.per_channel else "with one scale"
        folded = ", BN folded in" if len(layer.replaces) > 1 else ""
        return (
            f"weights of {layer.weight_bits} bits {scales} ({layer.weight_ranges})"
            f"{folded}"
        )
    if isinstance(layer, quantized.FakeQuantize):
        return f"integers of {layer.bits} bits, range {_range_words(layer)}"
    if isinstance(layer, (quantized.ChannelScale, quantized.ChannelOffset)):
        return "numbers of 8 bits with one scale: half of a BN that stands alone"
    if isinstance(layer, AVERAGING):
        return "nothing by itself: its output is rounded with the range of its input"
    if isinstance(layer, PASSING):
        return "nothing: its output has the range of its input"
    if isinstance(layer, keras.layers.InputLayer):
        return "nothing: the rounding follows"
    if isinstance(layer, keras.layers.Activation):
        return "nothing: the file has it in integers of a fixed range"
    return "nothing by itself: its output is rounded"


def _range_words(layer: quantized.FakeQuantize) -> str:
    if not layer.is_known():
        return "not known yet"
    low, high = layer.bounds()
    return f"{min(low, 0.0):.4g} to {high:.4g} ({layer.ranges})"
