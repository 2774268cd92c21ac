"""Images on their way through a network twice at once: rounded, and in float.

Every layer with a kernel is a stop. What is needed behind a stop is kept for all images,
in half precision, so that no layer is computed more than once in each of the two.
"""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.graph.nodes import Step
from keras_resnets.graph.nodes import read_steps
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import QUANTIZED
from keras_resnets.quantization.rounding import units

# Numbers that the activations of a part of the images may have: 4 bytes each.
_ALIVE = 20_000_000
# Images that are computed together at most.
_MOST = 100
# One image in so many is not learned from: it tells whether learning helped.
_ASIDE = 5


@dataclasses.dataclass(frozen=True)
class Kept:
    """A tensor in half precision, over its largest value so that none is too large."""

    values: np.ndarray
    scale: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Kept":
        """Of float32 values, which may hold NaN."""
        largest = float(np.abs(values).max(initial=0.0))
        scale = largest if math.isfinite(largest) and largest > 0 else 1.0
        return cls((values / np.float32(scale)).astype("float16"), scale)

    def read(self, image: int | slice | np.ndarray = slice(None)) -> np.ndarray:
        """float32, of all images, of some or of one."""
        return self.values[image].astype("float32") * np.float32(self.scale)


# Tensors of a part of the images by their keys.
Held = dict[typing.Any, Kept]


class Streams:
    """Both ways of images through a network of `rewrite`, one stop after the other.

    Args:
        model: with its ranges set.
        images: float32 array (count, height, width, channels).

    Attributes:
        units: what is rounded together, see `units.split`.
        at_once: images that are computed together.
        learned: indices of the images that may be learned from, in each part.
        aside: of those that tell what learning was worth: others, where there are any.
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
        # By stream (in float: True), part of the images and key of a tensor.
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
        """The applications of layers with a kernel, in order."""
        return [step for step in self._steps if isinstance(step.layer, KERNELS)]

    def parts(self, step: Step) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rounded, in float): what a stop reads, for one part of the images at a time."""
        pairs = zip(self._kept[False], self._kept[True], strict=True)
        for rounded, in_float in pairs:
            yield rounded[step.inputs[0]].read(), in_float[step.inputs[0]].read()

    def advance(self, step: Step, change: Callable[[], object] | None = None) -> None:
        """Goes on to a stop.

        Args:
            step: where to; a stop behind all that were advanced to.
            change: called after the way in float and before the rounded one: it sets
                the rounded kernel of the stop before.
        """
        self.advance_to(self._steps.index(step), change)

    def advance_to(self, end: int, change: Callable[[], object] | None = None) -> None:
        """Goes on to the step of an index, which is not done; see `advance`."""
        self._run(end, in_float=True)
        if change:
            change()
        self._run(end, in_float=False)
        self._at = end

    def held(self, in_float: bool = False) -> list[Held]:
        """What is kept of one way where it stands, for each part of the images."""
        return [dict(kept) for kept in self._kept[in_float]]

    def again(self, held: list[Held], start: int, end: int) -> None:
        """Goes a part of the rounded way once more.

        Args:
            held: what `held` returned in front of it.
            start: index of its first step.
            end: of the first step behind it.
        """
        self._at = start
        self._kept[False] = [dict(kept) for kept in held]
        self._run(end, in_float=False)
        self._at = end

    def mean(self, key: typing.Any) -> np.ndarray:
        """float64 mean of a kept tensor of the rounded way, by channel."""
        total, count = 0.0, 0
        for kept in self._kept[False]:
            rows = kept[key].read()
            rows = rows.reshape(-1, rows.shape[-1])
            total, count = total + rows.sum(axis=0, dtype="float64"), count + len(rows)
        return np.asarray(total / count)

    def errors(self, keys: Sequence[typing.Any]) -> np.ndarray:
        """float64 mean squared differences of both ways, for each of some tensors.

        Of the images that are not learned from.
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
    """What a step makes of `tensors`, at inference."""
    arguments, options = step.called_with(tensors)
    layer = step.layer
    is_layer = isinstance(layer, keras.layers.Layer)
    if is_layer and "training" in inspect.signature(layer.call).parameters:
        options = {**options, "training": False}
    if not (in_float and isinstance(layer, QUANTIZED)):
        return keras.tree.flatten(layer(*arguments, **options))
    before, layer.enabled = layer.enabled, False
    try:
        return keras.tree.flatten(layer(*arguments, **options))
    finally:
        layer.enabled = before


def _images_together(model: keras.Model, shape: tuple[int, ...]) -> int:
    """How many images' activations, a few layers of them, fit into memory."""
    steps, _ = read_steps(model)
    largest = math.prod(shape)
    for step in steps:
        for tensor in keras.tree.flatten(step.arguments.keras_tensors):
            # Open sizes count as those of the images: too much rather than too little.
            sizes = zip(tensor.shape[1:], shape, strict=False)
            largest = max(largest, math.prod(own or full for own, full in sizes))
    return int(np.clip(_ALIVE // (4 * largest), 1, _MOST))
