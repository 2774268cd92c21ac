"""Activation ranges from images: min/max, percentile, least squared error."""

import contextlib
import math
import typing
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_range
from keras_resnets.errors import check_whole
from keras_resnets.graph.analysis import nodes_in_order
from keras_resnets.quantization.choices import METHODS
from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat.layers import QUANTIZED
from keras_resnets.quantization.qat.layers import FakeQuantize

# Number of values per batch that are added to the sample of a tensor.
_SAMPLE = 40_000
# Largest number of 4-byte values in a batch's activations.
_ALIVE = 40_000_000
# Bins of the histogram of a sample: sixteen per step of 8 bits.
_BINS = 4096
# The fractions of a range that are tried.
_CUTS = np.geomspace(1.0, 0.02, 60)
_FINE = np.linspace(0.95, 1.05, 21)
# The range of a tensor that is always 0, which is exact with any range.
_DEAD = (0.0, 1.0)


class DeadTensors(UserWarning):
    """Tensors of a network are 0 for all calibration images."""


class Observed:
    """Minimum and maximum of one tensor, and a random sample of its values."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.low, self.high = np.inf, -np.inf
        self._samples: list[np.ndarray] = []

    def see(self, values: np.ndarray) -> None:
        """Adds a batch of values."""
        values = np.asarray(values, "float32").ravel()
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        if len(values) > _SAMPLE:
            values = values[self._rng.integers(0, len(values), _SAMPLE)]
        self._samples.append(values)

    @property
    def sample(self) -> np.ndarray:
        """Returns sampled float32 values of the tensor."""
        return np.concatenate(self._samples)


def set_ranges(
    model: keras.Model,
    images: np.ndarray,
    method: str = "mse",
    percentile: float = 99.99,
    seed: int = 0,
    progress: Callable[..., object] | None = None,
) -> dict[str, tuple[float, float]]:
    """Sets the range of every `FakeQuantize` of `model` from images.

    Args:
        model: a model of `rewrite`.
        images: float32 array (count, height, width, channels), preprocessed.
        method: `"mse"` (the range with the smallest squared error on a sample of the
            values), `"minmax"` (all values) or `"percentile"`.
        percentile: percentage in (50, 100] of the positive values, and of the negative
            ones, that `"percentile"` keeps.
        seed: seed of the sample.
        progress: called with the number of images done after every batch.

    Returns:
        (minimum, maximum) of the images, by name of the `FakeQuantize`.

    Raises:
        InvalidArgument: an argument that is not allowed, or a tensor with NaN or
            infinity.

    Warns:
        DeadTensors: tensors that are 0 for every image.
    """
    check_choice("method", method, METHODS)
    check_range("percentile", percentile, 50.000001, 100)
    check_whole("seed", seed)
    targets = [
        layer
        for layer in model.layers
        # A fixed range, such as that of a sigmoid, does not depend on images.
        if isinstance(layer, FakeQuantize) and layer.ranges != "fixed"
    ]
    observed = observe(model, targets, images, seed, progress)
    dead = []
    for layer, observation in zip(targets, observed, strict=True):
        _check(layer, observation)
        if observation.low == observation.high == 0:
            dead.append(layer.name)
            layer.set_range(*_DEAD)
        else:
            layer.set_range(*choose(observation, layer.bits, method, percentile))
    if dead:
        _warn_of_dead(dead, len(targets))
    return {x.name: (s.low, s.high) for x, s in zip(targets, observed, strict=True)}


def observe(
    model: keras.Model,
    targets: list[FakeQuantize],
    images: np.ndarray,
    seed: int = 0,
    progress: Callable[..., object] | None = None,
) -> list[Observed]:
    """Returns an `Observed` of the input of each layer in `targets`."""
    rng = np.random.default_rng(seed)
    tensors = [input_of(layer) for layer in targets]
    probe = keras.Model(model.inputs, tensors)
    observations = [Observed(rng) for _ in targets]
    shape = images.shape[1:]
    batch = images_at_a_time(tensors, shape)
    with float_arithmetic(model):
        for start in range(0, len(images), batch):
            # One batch size, so that only one graph is traced.
            chunk = images[start : start + batch]
            batch_images = np.resize(chunk, (min(batch, len(images)), *shape))
            outputs = keras.tree.flatten(probe.predict_on_batch(batch_images))
            for observation, values in zip(observations, outputs, strict=True):
                observation.see(values[: len(chunk)])
            if progress:
                progress(start + len(chunk))
    return observations


def input_of(layer: keras.layers.Layer) -> typing.Any:
    """Returns the input of the first application of a layer."""
    return layer._inbound_nodes[0].input_tensors[0]


def inputs_of(model: keras.Model) -> dict[int, list[typing.Any]]:
    """Returns the input tensors of each layer of a flat `model`, by the layer's `id`."""
    inputs: dict[int, list[typing.Any]] = {}
    for node in nodes_in_order(model):
        inputs.setdefault(id(node.operation), []).append(node.input_tensors[0])
    return inputs


def images_at_a_time(tensors: Sequence[typing.Any], shape: Sequence[int]) -> int:
    """Returns the batch size with which the activations fit into memory.

    Args:
        tensors: symbolic tensors that are computed.
        shape: (height, width, channels) of an image.
    """
    numbers = 0
    for tensor in tensors:
        # Open sizes count as those of the images, which is an upper bound.
        sizes = zip(tensor.shape[1:], shape, strict=False)
        numbers += math.prod(own or full for own, full in sizes)
    return int(np.clip(_ALIVE // max(numbers, 1), 1, 100))


@contextlib.contextmanager
def float_arithmetic(
    model: keras.Model, but: Sequence[keras.layers.Layer] = ()
) -> Iterator[None]:
    """Disables the rounding of `model` for code that runs or is traced in the context.

    Args:
        model: from `rewrite`.
        but: layers that still round.
    """
    layers = [layer for layer in model.layers if isinstance(layer, QUANTIZED)]
    before = [layer.enabled for layer in layers]
    for layer in layers:
        layer.enabled = layer in but
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled


def _check(layer: keras.layers.Layer, observation: Observed) -> None:
    if not np.isfinite([observation.low, observation.high]).all():
        raise InvalidArgument(
            f"the calibration images give NaN or infinity at {layer.name}"
        )


def _warn_of_dead(names: list[str], total: int) -> None:
    warnings.warn(
        f"{len(names)} of {total} tensors (first: {names[0]}) are 0 for every calibration "
        f"image: their range is set to {_DEAD[0]:g} to {_DEAD[1]:g}",
        DeadTensors,
        stacklevel=3,
    )


def choose(
    seen: Observed, bits: int = 8, method: str = "mse", percentile: float = 99.99
) -> tuple[float, float]:
    """Returns (low, high) for an `Observed`, by one of `METHODS`."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if method == "minmax":
        return low, high
    sample = seen.sample
    if method == "percentile":
        below, above = 100 - percentile, percentile
        cut = np.percentile(sample, [below, above])
        return max(low, min(cut[0], 0.0)), min(high, max(cut[1], 0.0))
    return least_squares(sample, low, high, bits)


def least_squares(
    sample: np.ndarray, low: float, high: float, bits: int = 8
) -> tuple[float, float]:
    """Returns the range in [low, high] with the smallest squared rounding error.

    Both ends are reduced together first, then each by itself, and finally in fine steps.
    """
    counts, edges = np.histogram(sample, _BINS, (low, high))
    values = ((edges[1:] + edges[:-1]) / 2)[counts > 0]
    counts = counts[counts > 0]

    def best(ends: list[tuple[float, float]]) -> tuple[float, float]:
        return min(ends, key=lambda end: _error(values, counts, end[0], end[1], bits))

    ends = (low, high)
    low, high = best([(c * low, c * high) for c in _CUTS])
    for _ in range(3):
        low, high = best([(low, c * ends[1]) for c in _CUTS])
        low, high = best([(c * ends[0], high) for c in _CUTS])
    low, high = best([(low, min(c * high, ends[1])) for c in _FINE])
    low, high = best([(max(c * low, ends[0]), high) for c in _FINE])
    return float(low), float(high)


def _error(
    values: np.ndarray, counts: np.ndarray, low: float, high: float, bits: int
) -> float:
    """Returns the squared rounding error of weighted values with the range [low, high]."""
    least, largest = fake_quant.levels(bits)
    scale = (high - low) / (largest - least)
    if not scale > 0:
        return np.inf
    zero = np.clip(np.rint(least - low / scale), least, largest)
    integers = np.clip(np.rint(values / scale + zero), least, largest)
    return float(np.dot(np.square((integers - zero) * scale - values), counts))


def least_squares_amax(kernel: np.ndarray, bits: int, per_channel: bool) -> np.ndarray:
    """Returns the amax of a kernel, overall or per channel, of least squared error."""
    _, largest = fake_quant.levels(bits, narrow=True)
    rows = kernel.reshape(-1, kernel.shape[-1]).astype("float64")
    if not per_channel:
        rows = rows.reshape(-1, 1)
    full = np.maximum(np.abs(rows).max(axis=0), 1e-8)
    errors = []
    cuts = np.linspace(1.0, 0.3, 36)
    for cut in cuts:
        step = cut * full / largest
        rounded = np.clip(np.rint(rows / step), -largest, largest) * step
        errors.append(np.square(rounded - rows).sum(axis=0))
    radius = full * cuts[np.argmin(errors, axis=0)]
    return (radius if per_channel else radius[0]).astype("float32")
