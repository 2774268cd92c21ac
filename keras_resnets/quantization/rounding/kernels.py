"""Second-order rounding of all kernels of a network, layer by layer."""

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
from keras_resnets.quantization.qat import zeros
from keras_resnets.quantization.qat.freeze import least_amax
from keras_resnets.quantization.rounding import second_order
from keras_resnets.quantization.rounding.patches import Windows
from keras_resnets.quantization.rounding.streams import Streams

# Largest number of multiply-adds for a layer's matrix: a few seconds on two cores.
_WORK = 1.5e11
# The most windows of a layer, and the fewest per input, if there are so many.
_MOST = 80_000
_FEWEST = 5
# Largest number of 4-byte values in the windows that are extracted at a time.
_ALIVE = 30_000_000


class FewWindows(UserWarning):
    """There are fewer windows in the calibration images than inputs of a kernel."""


@dataclasses.dataclass
class Moments:
    """Sums over the windows of a layer, from which its rounding problem is built.

    With x the rounded input of a window, W the float kernel and y the float output:

    Attributes:
        gram: float64 (groups, inputs, inputs), the sum of x x'.
        missing: float64 (groups, inputs, outputs), the sum of x (y - W' x)'.
        inputs: float64 (groups, inputs), the sum of x.
        outputs: float64 (groups, outputs), the sum of y - W' x.
        count: number of windows.
    """

    gram: np.ndarray
    missing: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    count: int = 0

    @classmethod
    def of(cls, kernel: np.ndarray) -> "Moments":
        """Returns empty sums for a kernel (groups, inputs, outputs)."""
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
        """Adds float32 windows (groups, count, inputs), rounded and in float."""
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
        """Returns the `Problem` around the means, which the bias corrects."""
        means = self.inputs / self.count
        gram = self.gram / self.count - means[:, :, None] * means[:, None]
        # For a constant input the variance is tiny, and may be negative by rounding.
        inputs = np.arange(gram.shape[1])
        gram[:, inputs, inputs] = np.maximum(gram[:, inputs, inputs], 0.0)
        missing = self.missing / self.count
        missing -= means[:, :, None] * (self.outputs / self.count)[:, None]
        return second_order.Problem(kernel, gram, missing, **options)

    def told(self, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of the outputs of a float kernel.

        Args:
            kernel: kernel of a layer, (..., channels).

        Returns:
            (mean for float inputs, standard deviation for rounded inputs), float64
            (channels,).
        """
        parts = grouped(kernel, len(self.inputs))
        products = np.einsum("gi,gio->go", self.inputs, parts)
        mean = (self.outputs + products) / self.count
        power = np.einsum("gio,gio->go", parts, self.gram @ parts) / self.count
        variance = np.maximum(power - np.square(products / self.count), 0.0)
        return mean.ravel(), np.sqrt(variance).ravel()

    def shift(self, kernel: np.ndarray, rounded: np.ndarray) -> np.ndarray:
        """Returns the mean error of the outputs of a rounded kernel, (groups, outputs)."""
        lost = np.einsum("gi,gio->go", self.inputs, kernel - rounded)
        return (self.outputs + lost) / self.count


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """What a search wants to know beside the rounding: other roundings of single layers.

    Attributes:
        sparsity: share of zeros of the sparse one; 0 for no such.
        found: by name of a layer: `"int4"`, and `"sparse"` where the kernel can be.
    """

    sparsity: float = 0.0
    found: "dict[str, dict[str, Rounded]]" = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Rounded:
    """The rounded kernel of a layer.

    Attributes:
        kernel: float32, of the layer's shape: integers times `steps`.
        steps: float32 scale of each output channel, or a single one.
        bias: float32, corrected for the mean error of the rounding.
        bits: bits per weight.
    """

    kernel: np.ndarray
    steps: np.ndarray
    bias: np.ndarray
    bits: int

    def set(self, layer: keras.layers.Layer) -> None:
        """Sets kernel, range and bias of a layer."""
        if layer.weight_ranges == "max":
            # The largest weight no longer determines the scale.
            layer.weight_ranges = "fixed"
        _, largest = fake_quant.levels(self.bits, narrow=True)
        before, factor = map(
            keras.ops.convert_to_numpy, (layer.folded_kernel(), layer.kernel_factor)
        )
        layer.set_kernel(layer.movable(self.kernel, before, self.steps), factor)
        layer.kernel_radius.assign(self.steps * largest)
        layer.bias.assign(self.bias)


def grouped(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Reshapes a kernel (..., group inputs, outputs) to (groups, inputs, group outputs).

    Raises:
        InvalidArgument: the outputs are not a multiple of `groups`.
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
    alternatives: Alternatives | None = None,
) -> None:
    """Rounds every kernel of `model` by second-order rounding and corrects its biases.

    Layers are rounded in order, each with the inputs that the rounded layers before it
    produce, so that it also compensates their errors. See `second_order.solve`.

    Args:
        model: a model of `rewrite` whose activation ranges are set.
        images: float32 array (count, height, width, channels), preprocessed.
        seed: seed of the sample of windows.
        progress: called with the number of images done; all layers count the same.
        skipped: names of layers to leave unchanged.
        alternatives: filled, by name of a layer, with its 4-bit and its sparse solution,
            given the network as it is; None to skip that.

    Raises:
        InvalidArgument: a layer gets NaN or infinity from the images.
    """
    streams = Streams(model, images)
    stops, solver = (
        streams.stops(),
        Solver(streams, len(images), seed, skipped, alternatives),
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
    """A rounded layer, with its kernel and statistics in float.

    Attributes:
        layer: a layer of a model of `rewrite`.
        kernel: float32 kernel before rounding.
        mean: float64 (channels,), mean of its float outputs.
        deviation: float64 (channels,), approximate standard deviation of its outputs.
    """

    layer: typing.Any
    kernel: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class Solver:
    """Rounds layers one after the other.

    Args:
        streams: the `Streams`, before the first layer.
        images: number of images.
        seed: see `round_second_order`.
        skipped: see `round_second_order`.
        alternatives: see `round_second_order`.

    Attributes:
        change: function that sets the solution of the last layer, called once its float
            outputs are no longer needed; None if there is none.
    """

    def __init__(
        self,
        streams: Streams,
        images: int,
        seed: int,
        skipped: Sequence[str],
        alternatives: Alternatives | None = None,
    ) -> None:
        self.change: Callable[[], object] | None = None
        self._streams, self._images, self._seed = streams, images, seed
        self._done, self._count = set(skipped), 0
        self._few: list[str] = []
        self._alternatives = alternatives

    def solve(self, step: Step) -> "Solved | None":
        """Advances to a layer and rounds it; returns None if it is rounded already."""
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
        solution = _solved(layer, kernel, moments, layer.weight_bits, layer.sparsity)
        self.change = functools.partial(solution.set, layer)
        if self._alternatives is not None:
            found = {"int4": _solved(layer, kernel, moments, 4)}
            share = self._alternatives.sparsity
            if share and zeros.can_be_sparse(layer):
                found["sparse"] = _solved(layer, kernel, moments, 8, share)
            self._alternatives.found[layer.name] = found
        bias = keras.ops.convert_to_numpy(layer.bias)
        mean, deviation = moments.told(kernel)
        return Solved(layer, kernel, mean + bias, deviation)

    def warn(self) -> None:
        """Warns about layers with more inputs than windows."""
        if self._few:
            warnings.warn(
                f"the {self._images} calibration images have fewer windows than inputs for "
                f"{len(self._few)} of {self._count} kernels, such as {self._few[0]}: their "
                "rounding is less accurate; use more images",
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
    layer: keras.layers.Layer,
    kernel: np.ndarray,
    moments: Moments,
    bits: int,
    sparsity: float = 0.0,
) -> Rounded:
    """Returns the solution for a layer with a number of bits."""
    _, largest = fake_quant.levels(bits, narrow=True)
    groups = moments.gram.shape[0]
    parts = grouped(kernel.astype("float64"), groups)
    shape = (groups, parts.shape[2])
    least = np.broadcast_to(least_amax(layer, bits), kernel.shape[-1:]).reshape(shape)
    kept = parts != 0
    problem = moments.problem(
        parts,
        bits=bits,
        per_channel=layer.per_channel,
        least=least / largest,
        sparsity=sparsity,
        kept=None if kept.all() else kept,
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
