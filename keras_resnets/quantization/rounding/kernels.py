"""The kernels of a whole network, rounded one layer after the other."""

import dataclasses
import functools
import math
import typing
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.graph.nodes import Step
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat.freeze import least_amax
from keras_resnets.quantization.rounding import second_order
from keras_resnets.quantization.rounding.patches import Windows
from keras_resnets.quantization.rounding.streams import Streams

# Multiply-adds of one layer's matrix: a few seconds of two cores.
_WORK = 1.5e11
# Windows of one layer: never more, and for each input never fewer, if there are so many.
_MOST = 80_000
_FEWEST = 5
# Windows that are cut out at a time: numbers of 4 bytes.
_ALIVE = 30_000_000


class FewWindows(UserWarning):
    """Calibration images have fewer windows than a kernel has inputs."""


@dataclasses.dataclass
class Moments:
    """Sums over the windows of a layer: of x x', of the wanted change, of the means.

    Attributes:
        gram: float64 (groups, inputs, inputs).
        missing: float64 (groups, inputs, outputs): of x (y - W' x)', with y the output
            in float and x the rounded input.
        inputs, outputs: float64 sums of x (groups, inputs) and of y - W' x (groups,
            outputs).
        count: windows.
    """

    gram: np.ndarray
    missing: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    count: int = 0

    @classmethod
    def of(cls, kernel: np.ndarray) -> "Moments":
        """Nothing yet, for a kernel (groups, inputs, outputs)."""
        groups, inputs, outputs = kernel.shape
        return cls(
            np.zeros((groups, inputs, inputs)),
            np.zeros((groups, inputs, outputs)),
            np.zeros((groups, inputs)),
            np.zeros((groups, outputs)),
        )

    def add(
        self, rounded: np.ndarray, in_float: np.ndarray, kernel: np.ndarray
    ) -> None:
        """Takes in float32 windows (groups, count, inputs), as rounded and in float."""
        gap = second_order.product(in_float - rounded, kernel)
        turned = keras.ops.transpose(rounded, (0, 2, 1))
        for total, right in ((self.gram, rounded), (self.missing, gap)):
            total += keras.ops.convert_to_numpy(keras.ops.matmul(turned, right))
        self.inputs += rounded.sum(axis=1, dtype="float64")
        self.outputs += gap.sum(axis=1, dtype="float64")
        self.count += rounded.shape[1]

    def problem(
        self, kernel: np.ndarray, **options: typing.Any
    ) -> second_order.Problem:
        """What is to be solved: about the means, which the bias takes care of."""
        means = self.inputs / self.count
        gram = self.gram / self.count - means[:, :, None] * means[:, None]
        # Of a constant input rounding leaves next to nothing, on either side of 0.
        inputs = np.arange(gram.shape[1])
        gram[:, inputs, inputs] = np.maximum(gram[:, inputs, inputs], 0.0)
        missing = self.missing / self.count
        missing -= means[:, :, None] * (self.outputs / self.count)[:, None]
        return second_order.Problem(kernel, gram, missing, **options)

    def told(self, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float64 (channels,) mean and deviation of the products with a float kernel.

        Args:
            kernel: as a layer has it, (..., channels).

        Returns:
            (mean over inputs in float, standard deviation over rounded inputs).
        """
        parts = grouped(kernel, len(self.inputs))
        products = np.einsum("gi,gio->go", self.inputs, parts)
        mean = (self.outputs + products) / self.count
        power = np.einsum("gio,gio->go", parts, self.gram @ parts) / self.count
        variance = np.maximum(power - np.square(products / self.count), 0.0)
        return mean.ravel(), np.sqrt(variance).ravel()

    def shift(self, kernel: np.ndarray, rounded: np.ndarray) -> np.ndarray:
        """(groups, outputs): what the outputs lack on average with a rounded kernel."""
        lost = np.einsum("gi,gio->go", self.inputs, kernel - rounded)
        return (self.outputs + lost) / self.count


@dataclasses.dataclass(frozen=True, eq=False)
class Rounded:
    """What was found for the kernel of one layer.

    Attributes:
        kernel: float32, of the layer's shape: integers times `steps`.
        steps: float32, of each output channel, or one in all.
        bias: float32: it makes up for what the rounding adds on average.
        bits: of a weight.
    """

    kernel: np.ndarray
    steps: np.ndarray
    bias: np.ndarray
    bits: int

    def set(self, layer: keras.layers.Layer) -> None:
        """Gives it to the layer that it was found for."""
        if layer.weight_ranges == "max":
            # The largest weight does not tell the step any more.
            layer.weight_ranges = "fixed"
        _, largest = fake_quant.levels(self.bits, narrow=True)
        factor = keras.ops.convert_to_numpy(layer.kernel_factor)
        layer.set_kernel(self.kernel, factor)
        layer.kernel_radius.assign(self.steps * largest)
        layer.bias.assign(self.bias)


def grouped(kernel: np.ndarray, groups: int) -> np.ndarray:
    """A kernel (..., inputs of a group, outputs) as (groups, inputs, outputs of a group).

    Raises:
        InvalidArgument: outputs that cannot be divided into so many groups.
    """
    if kernel.shape[-1] % groups:
        raise InvalidArgument(
            f"outputs of a kernel must be a multiple of its groups; got "
            f"{kernel.shape[-1]} for {groups}"
        )
    rows = kernel.reshape(-1, groups, kernel.shape[-1] // groups)
    return np.ascontiguousarray(rows.transpose(1, 0, 2))


def ungrouped(kernel: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The inverse of `grouped`."""
    return kernel.transpose(1, 0, 2).reshape(shape)


def round_second_order(
    model: keras.Model,
    images: np.ndarray,
    seed: int = 0,
    progress: Callable[..., object] | None = None,
    skipped: Sequence[str] = (),
    coarser: dict[str, Rounded] | None = None,
) -> None:
    """Sets every kernel of `model` to rounded numbers, and the biases that go with them.

    Layer by layer from the image on, each on what the rounded network in front of it
    gives, so that it makes up for that too. See `second_order.solve`.

    Args:
        model: from `rewrite`, with the ranges of its activations set.
        images: float32 array (count, height, width, channels), preprocessed.
        seed: of the windows that are looked at where there are more than enough.
        progress: called with the number of images done, as if each layer took the same.
        skipped: names of layers to leave as they are.
        coarser: gets, by name of a layer, what 4 bits would be for it alone, in the
            network that is set; nothing is done with it.

    Raises:
        InvalidArgument: images that give NaN or infinity at a layer.
    """
    streams = Streams(model, images)
    stops, solver = (
        streams.stops(),
        Solver(streams, len(images), seed, skipped, coarser),
    )
    for number, step in enumerate(stops):
        solver.solve(step)
        if progress:
            progress(len(images) * (number + 1) // len(stops))
    if solver.change:
        solver.change()
    solver.warn()


@dataclasses.dataclass(frozen=True, eq=False)
class Solved:
    """A layer that has integers now, and what it was in float.

    Attributes:
        layer: from `rewrite`.
        kernel: float32, before it was rounded.
        mean: float64 mean of its outputs in float, by channel.
        deviation: their standard deviation, about, by channel.
    """

    layer: typing.Any
    kernel: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class Solver:
    """Second-order rounding of one layer after the other.

    Args:
        streams: in front of the first layer.
        images: how many there are.
        seed: see `round_second_order`.
        skipped: names of layers to leave as they are.
        coarser: see there.

    Attributes:
        change: sets what was found for the layer that was solved last, once its float
            outputs are not needed any more; None where there is nothing to set.
    """

    def __init__(
        self,
        streams: Streams,
        images: int,
        seed: int,
        skipped: Sequence[str],
        coarser: dict[str, Rounded] | None = None,
    ) -> None:
        self.change: Callable[[], object] | None = None
        self._streams, self._images, self._seed = streams, images, seed
        self._done, self._count = set(skipped), 0
        self._few: list[str] = []
        self._coarser = coarser

    def solve(self, step: Step) -> "Solved | None":
        """Goes on to a layer and finds its integers; None where it has them already."""
        self._streams.advance(step, self.change)
        self.change = None
        layer, number = step.layer, self._count
        self._count += 1
        is_new = layer.name not in self._done and layer.trainable
        self._done.add(layer.name)
        if not is_new:
            return None
        rng = np.random.default_rng((self._seed, number))
        kernel = keras.ops.convert_to_numpy(layer.folded_kernel())
        moments = _moments(self._streams, step, kernel, self._images, rng)
        if moments.count < moments.gram.shape[1]:
            self._few.append(layer.name)
        solution = _solved(layer, kernel, moments, layer.weight_bits)
        self.change = functools.partial(solution.set, layer)
        if self._coarser is not None:
            self._coarser[layer.name] = _solved(layer, kernel, moments, 4)
        bias = keras.ops.convert_to_numpy(layer.bias)
        mean, deviation = moments.told(kernel)
        return Solved(layer, kernel, mean + bias, deviation)

    def warn(self) -> None:
        """Says which layers have more inputs than there are windows."""
        if self._few:
            warnings.warn(
                f"{len(self._few)} of {self._count} kernels, the first of them "
                f"{self._few[0]}, have more inputs than {self._images} calibration "
                "images have windows for: their matrices are damped; more images round "
                "better",
                FewWindows,
                stacklevel=3,
            )


def _moments(
    streams: Streams,
    step: Step,
    kernel: np.ndarray,
    images: int,
    rng: np.random.Generator,
) -> Moments:
    windows = Windows.of(step.layer)
    parts = grouped(kernel, windows.groups)
    moments, inputs = Moments.of(parts), parts.shape[1]
    most = np.clip(_WORK / (windows.groups * inputs**2), _FEWEST * inputs, _MOST)
    at_once = max(1, _ALIVE // (2 * inputs * windows.groups))
    for rounded, in_float in streams.parts(step):
        there = windows.count(rounded.shape)
        count = min(there, math.ceil(most * len(rounded) / images))
        chosen = np.sort(rng.permutation(there)[:count])
        for start in range(0, count, at_once):
            some = chosen[start : start + at_once]
            rows = windows.rows(rounded, some), windows.rows(in_float, some)
            moments.add(*rows, parts)
    if not all(np.isfinite(x).all() for x in (moments.gram, moments.missing, parts)):
        raise InvalidArgument(
            f"the calibration images give NaN or infinity at {step.layer.name}"
        )
    return moments


def _solved(
    layer: keras.layers.Layer, kernel: np.ndarray, moments: Moments, bits: int
) -> Rounded:
    """What is found for a layer with so many bits a weight."""
    _, largest = fake_quant.levels(bits, narrow=True)
    groups = moments.gram.shape[0]
    parts = grouped(kernel.astype("float64"), groups)
    shape = (groups, parts.shape[2])
    least = np.broadcast_to(least_amax(layer, bits), kernel.shape[-1:]).reshape(shape)
    problem = moments.problem(
        parts,
        bits=bits,
        per_channel=layer.per_channel,
        least=least / largest,
    )
    solution = second_order.solve(problem)
    shift = moments.shift(parts, solution.weights).ravel()
    bias = keras.ops.convert_to_numpy(layer.bias) + shift
    steps = solution.steps.ravel()
    return Rounded(
        ungrouped(solution.weights, kernel.shape),
        steps if layer.per_channel else steps[0],
        bias.astype("float32"),
        bits,
    )
