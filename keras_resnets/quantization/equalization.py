"""Scales channels between two kernels so that rounded weights have smaller errors.

A ReLU lets a positive factor per channel pass: relu(x / s) = relu(x) / s. The kernel
before it absorbs 1 / s in its own scales per channel; the kernel after it is multiplied
by s (Nagel 2019, arXiv:1906.04721, section 4.1). With a scale per output channel, only
the second kernel is rounded with other errors: inputs with small weights get finer
steps. Here s minimizes the expected error of its outputs, and is used if that halves.
"""

import dataclasses
import typing
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.graph.nodes import Step
from keras_resnets.graph.nodes import applications
from keras_resnets.graph.nodes import read_steps
from keras_resnets.quantization import ranges
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat import layer_kinds
from keras_resnets.quantization.qat.depthwise_layers import QuantizedAffine
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import FakeQuantize
from keras_resnets.quantization.qat.layers import QuantizedConv2D

# Number of images; squares need fewer than ranges.
_IMAGES = 200
# Steps of the descent, and the sizes of the first and the last one, in log(s).
_STEPS = 200
_SIZES = (0.1, 0.005)
# Second-order rounding takes a scale of about this share of that of the largest weight.
_CUT = 0.7
# A pair is scaled if its expected squared error falls to this share or below. In the
# networks of this package that are trained for CIFAR-10 one pair reaches 0.3 to 0.4, the
# last BN and the classifier of a pre-activation network, and lowers the error of the
# logits by a tenth. The others have 0.7 to 1.0; scaling them changed the error of the
# logits by -2 to +1 % on 5,000 training images that the rounding had not read.
_SHARE = 0.5
# These operators leave channels where they are and pass a factor.
_PASSING = (
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.MaxPooling2D,
    *layer_kinds.AVERAGING,
    keras.layers.GlobalAveragePooling2D,
    FakeQuantize,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A kernel, and those that read its output through a ReLU.

    Attributes:
        before: a layer with one scale per channel.
        after: the layers behind the ReLU; no other layers read its output.
    """

    before: typing.Any
    after: tuple[typing.Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Read:
    """What decides the error of a kernel whose inputs are divided by factors s.

    Attributes:
        largest: float64 (inputs, outputs), the largest absolute weight over the window.
        power: float64 (inputs, outputs), sum of the squared weights over the window.
        window: number of positions.
        square: float64 (inputs,), mean squared input.
        top: float64 (inputs,), largest input.
        bits: bits per weight.
        per_channel: whether each output has its own scale.
    """

    largest: np.ndarray
    power: np.ndarray
    window: int
    square: np.ndarray
    top: np.ndarray
    bits: int
    per_channel: bool

    def error(self, logs: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the expected squared error relative to the outputs, and its gradient.

        The rounding error of a number is uniform within its step.

        Args:
            logs: float64 (inputs,), log(s).
        """
        scales = np.exp(logs)
        _, levels = fake_quant.levels(self.bits, narrow=True)
        square, power = self.square / scales**2, self.power * scales[:, None] ** 2
        # Outputs that are always 0 have no error that counts.
        weights = (self.square @ self.power + 1e-12) ** -1.0 / self.power.shape[1]
        amax = self.largest * scales[:, None]
        first = amax.argmax(axis=0)
        amax = amax.max(axis=0)
        if not self.per_channel:
            first, amax = np.full_like(first, first[amax.argmax()]), amax.max()
        step = (_CUT * amax / levels) ** 2 / 12 * self.window * weights
        of_weights = step * square.sum()
        highest = (self.top / scales).argmax()
        grid = (self.top / scales)[highest] ** 2 / (255**2 * 12)
        of_inputs = grid * (power @ weights)
        gradient = 2 * (of_inputs - np.sum(step) * square)
        np.add.at(gradient, first, 2 * of_weights * np.ones(len(first)))
        gradient[highest] -= 2 * of_inputs.sum()
        return float(np.sum(of_weights) + of_inputs.sum()), gradient


def equalize(model: keras.Model, images: np.ndarray) -> None:
    """Scales channels between kernels of `model` where the expected error halves.

    The model computes the same.

    Args:
        model: a model of `rewrite`, before its ranges are set.
        images: float32 array (count, height, width, channels), preprocessed; the first
            two hundred are used.
    """
    found = pairs(model)
    layers = [layer for pair in found for layer in pair.after]
    if not layers:
        return
    seen = dict(zip(layers, _inputs(model, layers, images[:_IMAGES]), strict=True))
    for pair in found:
        # An earlier pair may have changed the kernels, but not the inputs, of this one.
        reads = [_read(layer, *seen[layer]) for layer in pair.after]
        scales = best_scales(reads)
        before = _error(reads, np.zeros(len(scales)))
        if _error(reads, np.log(scales)) <= _SHARE * before:
            _scale(pair, scales)


def pairs(model: keras.Model) -> list[Pair]:
    """Returns the `Pair`s of a model of `rewrite`, in order.

    Example:
        >>> import keras_resnets
        >>> from keras_resnets.export import recipes
        >>> from keras_resnets.quantization.qat.rewrite import rewrite
        >>> recipe = recipes.find("static_wi4_ai8")
        >>> len(pairs(rewrite(keras_resnets.create_model("resnet8"), recipe)))
        3
    """
    steps, outputs = read_steps(model)
    readers: dict[typing.Any, list[Step]] = {}
    for step in steps:
        for key in step.inputs:
            readers.setdefault(key, []).append(step)
    once = {key for key, uses in applications(steps).items() if len(uses) == 1}
    found = []
    for step in steps:
        behind = readers.get(step.output, [])
        if not _can_lead(step, once) or len(behind) != 1:
            continue
        if layer_kinds.activation(behind[0].layer) != "relu":
            continue
        after = _behind(behind[0], readers, outputs)
        if after and all(_can_follow(x, once) for x in after):
            found.append(Pair(step.layer, tuple(x.layer for x in after)))
    return found


def _can_lead(step: Step, once: set[int]) -> bool:
    layer = step.layer
    is_kernel = isinstance(layer, KERNELS) and id(layer) in once
    return is_kernel and layer.per_channel and layer.trainable


def _can_follow(step: Step, once: set[int]) -> bool:
    layer = step.layer
    if not isinstance(layer, KERNELS) or id(layer) not in once:
        return False
    grouped = isinstance(layer, QuantizedConv2D) and layer.groups > 1
    return not grouped and layer.trainable


def _behind(
    step: Step,
    readers: dict[typing.Any, list[Step]],
    outputs: Sequence[typing.Any],
) -> list[Step]:
    """Returns the steps that read an output, behind those that pass a factor.

    There are none if it is an output of the network, too.
    """
    if step.output in outputs:
        return []
    found: list[Step] = []
    for reader in readers.get(step.output, []):
        if isinstance(reader.layer, _PASSING):
            more = _behind(reader, readers, outputs)
            if not more:
                return []
            found += more
        else:
            found.append(reader)
    return found


def _error(reads: Sequence[Read], logs: np.ndarray) -> float:
    return sum(read.error(logs)[0] for read in reads)


def best_scales(reads: Sequence[Read]) -> np.ndarray:
    """Returns the factors with the least sum of errors, with a geometric mean of 1.

    Args:
        reads: the kernels that read the channels.

    Returns:
        float64 array (channels,); all 1 if nothing better is found.
    """
    logs = np.zeros(len(reads[0].square))
    best, least = logs, np.inf
    mean, square = np.zeros_like(logs), np.zeros_like(logs)
    for number, size in enumerate(np.geomspace(*_SIZES, _STEPS), start=1):
        found = [read.error(logs) for read in reads]
        error = sum(one for one, _ in found)
        if error < least:
            best, least = logs, error
        # Adam.
        gradient = np.sum([one for _, one in found], axis=0)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.9 * square + 0.1 * gradient**2
        weight = 1 - 0.9**number
        step = (mean / weight) / (np.sqrt(square / weight) + 1e-12)
        logs = logs - size * step
        logs = logs - logs.mean()
    return np.exp(best)


def _inputs(
    model: keras.Model, layers: Sequence[typing.Any], images: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (mean square, largest value) of each input channel of each layer."""
    read = ranges.inputs_of(model)
    tensors = [read[id(layer)][0] for layer in layers]
    probe = keras.Model(model.inputs, tensors)
    batch = ranges.images_at_a_time(tensors, images.shape[1:])
    squares: list[typing.Any] = [0.0] * len(layers)
    tops: list[typing.Any] = [0.0] * len(layers)
    with ranges.float_arithmetic(model):
        for start in range(0, len(images), batch):
            chunk = images[start : start + batch]
            fed = np.resize(chunk, (min(batch, len(images)), *chunk.shape[1:]))
            outputs = keras.tree.flatten(probe.predict_on_batch(fed))
            for index, values in enumerate(outputs):
                rows = np.asarray(values, "float64")[: len(chunk)]
                rows = rows.reshape(-1, rows.shape[-1])
                squares[index] = squares[index] + np.square(rows).mean(axis=0) * (
                    len(chunk) / len(images)
                )
                tops[index] = np.maximum(tops[index], rows.max(axis=0))
    return list(zip(squares, tops, strict=True))


def _read(layer: typing.Any, square: np.ndarray, top: np.ndarray) -> Read:
    kernel = keras.ops.convert_to_numpy(layer.folded_kernel()).astype("float64")
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    # A channel that is always 0 would be multiplied without a limit.
    square = np.maximum(square, 1e-4 * square.mean())
    return Read(
        largest=np.abs(kernel).max(axis=0),
        power=np.square(kernel).sum(axis=0),
        window=len(kernel),
        square=square,
        top=np.maximum(top, np.sqrt(square)),
        bits=layer.weight_bits,
        per_channel=layer.per_channel,
    )


def _scale(pair: Pair, scales: np.ndarray) -> None:
    """Divides the outputs of a kernel by factors, and multiplies what reads them."""
    layer, scales = pair.before, scales.astype("float32")
    kernel, factor, bias = (
        keras.ops.convert_to_numpy(x)
        for x in (layer.folded_kernel(), layer.kernel_factor, layer.bias)
    )
    if isinstance(layer, QuantizedAffine):
        layer.set_values(kernel[0, 0, 0] / scales, bias / scales, factor / scales)
    else:
        _set(layer, kernel / scales, factor / scales)
        layer.bias.assign(bias / scales)
    for reader in pair.after:
        kernel = keras.ops.convert_to_numpy(reader.folded_kernel()) * scales[:, None]
        _set(reader, kernel, keras.ops.convert_to_numpy(reader.kernel_factor))


def _set(layer: typing.Any, kernel: np.ndarray, factor: np.ndarray) -> None:
    layer.set_kernel(kernel, factor)
    layer.kernel_radius.assign(fake_quant.largest_amax(kernel, layer.per_channel))
