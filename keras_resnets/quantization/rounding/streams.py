"""Runs images through a network in two streams at once: rounded, and in float.

Every layer with a kernel is a stop. The activations that are needed after a stop are kept
for all images in half precision, so that each stream computes every layer once.
"""

import dataclasses
import math
import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.graph import nodes
from keras_resnets.graph.nodes import Step
from keras_resnets.graph.nodes import read_steps
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import QUANTIZED
from keras_resnets.quantization.rounding import units

# Largest number of 4-byte values in the activations of one batch.
_ALIVE = 20_000_000
# Largest batch size.
_MOST = 100
# One image in this many is held out, to measure whether learning helped.
_ASIDE = 5


@dataclasses.dataclass(frozen=True)
class Kept:
    """A tensor in half precision, divided by its amax so that it cannot overflow."""

    values: np.ndarray
    scale: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Kept":
        """Stores float32 values, which may contain NaN."""
        largest = float(np.abs(values).max(initial=0.0))
        scale = largest if math.isfinite(largest) and largest > 0 else 1.0
        return cls((values / np.float32(scale)).astype("float16"), scale)

    def read(self, image: int | slice | np.ndarray = slice(None)) -> np.ndarray:
        """Returns the float32 values of all images, of some, or of one."""
        return self.values[image].astype("float32") * np.float32(self.scale)


# Tensors of a batch by their keys.
Held = dict[typing.Any, Kept]


class Streams:
    """The rounded and the float activations of images in a model of `rewrite`.

    Args:
        model: a model of `rewrite` whose ranges are set.
        images: float32 array (count, height, width, channels).

    Attributes:
        units: the units that are rounded together, see `units.split`.
        at_once: batch size.
        learned: indices of the images to learn from, by batch.
        aside: indices of the held-out images, by batch; the same if there are too few.
    """

    def __init__(self, model: keras.Model, images: np.ndarray) -> None:
        self._steps, outputs = read_steps(model)
        self._last = units.last_reads(self._steps, outputs)
        self.units = units.split(self._steps, outputs)
        self.at_once = _images_together(model, images.shape[1:])
        parts = [
            images[n : n + self.at_once] for n in range(0, len(images), self.at_once)
        ]
        key = id(model.inputs[0])
        # By stream (float: True), batch and key of a tensor.
        self._kept: dict[bool, list[Held]] = {
            in_float: [{key: Kept.of(part)} for part in parts]
            for in_float in (False, True)
        }
        self._at = 0
        numbers = np.arange(len(images))
        is_aside = numbers % _ASIDE == _ASIDE - 1
        self.learned = self._in_parts(~is_aside)
        self.aside = self._in_parts(is_aside if is_aside.any() else ~is_aside)

    def _in_parts(self, chosen: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(chosen), self.at_once)
        return [np.flatnonzero(chosen[n : n + self.at_once]) for n in starts]

    def stops(self) -> list[Step]:
        """The steps whose layer has a kernel, in order."""
        return [step for step in self._steps if isinstance(step.layer, KERNELS)]

    def parts(self, step: Step) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (rounded, float) inputs of a stop, batch by batch."""
        pairs = zip(self._kept[False], self._kept[True], strict=True)
        for rounded, in_float in pairs:
            yield rounded[step.inputs[0]].read(), in_float[step.inputs[0]].read()

    def advance(self, step: Step, change: Callable[[], object] | None = None) -> None:
        """Advances both streams to a stop.

        Args:
            step: a stop after the current one.
            change: called between the float and the rounded stream; it sets the
                rounded kernel of the previous stop.
        """
        self.advance_to(self._steps.index(step), change)

    def advance_to(self, end: int, change: Callable[[], object] | None = None) -> None:
        """Advances to the step with an index, without computing it; see `advance`."""
        self._run(end, in_float=True)
        if change:
            change()
        self._run(end, in_float=False)
        self._at = end

    def held(self, in_float: bool = False) -> list[Held]:
        """Returns the current activations of one stream, by batch."""
        return [dict(kept) for kept in self._kept[in_float]]

    def again(self, held: list[Held], start: int, end: int) -> None:
        """Computes a part of the rounded stream again.

        Args:
            held: the result of `held` before that part.
            start: index of its first step.
            end: index after its last step.
        """
        self._at = start
        self._kept[False] = [dict(kept) for kept in held]
        self._run(end, in_float=False)
        self._at = end

    def mean(self, key: typing.Any) -> np.ndarray:
        """Returns the mean of a kept rounded tensor, float64 (channels,)."""
        total, count = 0.0, 0
        for kept in self._kept[False]:
            rows = kept[key].read()
            rows = rows.reshape(-1, rows.shape[-1])
            total, count = total + rows.sum(axis=0, dtype="float64"), count + len(rows)
        return np.asarray(total / count)

    def errors(self, keys: Sequence[typing.Any]) -> np.ndarray:
        """Returns the mean squared errors of kept tensors on the held-out images.

        The errors are float64, one per key.
        """
        pairs = list(zip(self._kept[False], self._kept[True], self.aside, strict=True))
        errors = []
        for key in keys:
            total, count = 0.0, 0
            for rounded, in_float, aside in pairs:
                off = rounded[key].read(aside) - in_float[key].read(aside)
                total += float(np.square(off, dtype="float64").sum())
                count += off.size
            errors.append(total / count)
        return np.array(errors)

    def _run(self, end: int, in_float: bool) -> None:
        for kept in self._kept[in_float]:
            tensors: dict[typing.Any, typing.Any] = {}
            for step in self._steps[self._at : end]:
                for key in step.inputs:
                    if key not in tensors:
                        tensors[key] = keras.ops.convert_to_tensor(kept[key].read())
                outputs = called(step, [tensors[key] for key in step.inputs], in_float)
                tensors.update(zip(step.outputs, outputs, strict=True))
            for key, tensor in tensors.items():
                if key not in kept and self._last.get(key, -1) >= end:
                    values = keras.ops.convert_to_numpy(
                        keras.ops.cast(tensor, "float32")
                    )
                    kept[key] = Kept.of(values)
            for key in [key for key in kept if self._last.get(key, -1) < end]:
                del kept[key]


def called(
    step: Step, tensors: list[typing.Any], in_float: bool = False
) -> list[typing.Any]:
    """Computes a step in inference mode, `in_float` without its rounding."""
    layer = step.layer
    if not (in_float and isinstance(layer, QUANTIZED)):
        return nodes.called(step, tensors)
    before, layer.enabled = layer.enabled, False
    try:
        return nodes.called(step, tensors)
    finally:
        layer.enabled = before


def _images_together(model: keras.Model, shape: tuple[int, ...]) -> int:
    """Returns the batch size with which the activations of a few layers fit in memory."""
    steps, _ = read_steps(model)
    largest = math.prod(shape)
    for step in steps:
        for tensor in keras.tree.flatten(step.arguments.keras_tensors):
            # Open sizes count as those of the images, which is an upper bound.
            sizes = zip(tensor.shape[1:], shape, strict=False)
            largest = max(largest, math.prod(own or full for own, full in sizes))
    return int(np.clip(_ALIVE // (4 * largest), 1, _MOST))
