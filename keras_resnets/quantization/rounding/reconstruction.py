"""Learns the rounding of one unit of a network, as a Keras model that is fitted."""

import contextlib
import dataclasses
import math
import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_resnets.quantization.qat import fake_quant
from keras_resnets.quantization.qat.freeze import amax_of
from keras_resnets.quantization.rounding.kernels import Solved
from keras_resnets.quantization.rounding.streams import Held
from keras_resnets.quantization.rounding.streams import Streams
from keras_resnets.quantization.rounding.streams import called
from keras_resnets.quantization.rounding.units import Unit
from keras_resnets.training import devices

# The batch size of the papers, if memory allows.
_BATCH = 32
# The interval to which the sigmoid is stretched before clipping (both papers).
_LOW, _HIGH = -0.1, 1.1
# Learning rate of Adam: twenty times BRECQ's, whose 20,000 steps are some hundred here.
_RATE = 0.02
# Share of the steps without the regularizer (both papers), and its first and last
# exponent: 1 - |2 h - 1| ** exponent.
_FREE = 0.2
_SHARPNESS = (20.0, 2.0)
# Learning rate of a bias relative to a rounding, in deviations of the outputs.
_SHIFT = 0.1
# Weight of the regularizer, a mean over all weights; the error starts at 1.
_WEIGHT = 100.0
# Largest initial distance of a weight from its integer of second-order rounding; at 0.5
# that integer would be lost.
_FARTHEST = 0.4
_NEAREST = 0.02


@dataclasses.dataclass(eq=False)
class Choice:
    """The two integers between which each weight of a layer is rounded.

    Attributes:
        layer: a layer of a model of `rewrite`, after second-order rounding.
        step: float32 scale, per output channel or a single one.
        lower: float32, the lower integer of each weight.
        start: float32 in (0, 1), the initial position of each weight above `lower`.
        kernel, bias: float32, the results of second-order rounding.
        kept: float32, 0 for weights that are zero in float, 1 for others.
        mean: float64 (channels,), mean of the layer's float outputs.
        deviation: float32, their standard deviation over all channels.
    """

    layer: typing.Any
    step: np.ndarray
    lower: np.ndarray
    start: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    kept: np.ndarray
    mean: np.ndarray
    deviation: float

    @classmethod
    def of(cls, solved: Solved) -> "Choice":
        """Returns the choice of a rounded layer.

        One of the two integers is the current one; the other is on the side of the
        float weight.
        """
        layer = solved.layer
        _, largest = fake_quant.levels(layer.weight_bits, narrow=True)
        step = (amax_of(layer) / largest).astype("float32")
        integers = _integers(layer, step)
        place = solved.kernel / step
        lower = np.clip(integers - (place < integers), -largest, largest - 1)
        off = np.clip(np.abs(place - integers), _NEAREST, _FARTHEST)
        start = np.where(lower == integers, off, 1 - off)
        return cls(
            layer,
            step,
            lower.astype("float32"),
            start.astype("float32"),
            ops.convert_to_numpy(layer.folded_kernel()),
            ops.convert_to_numpy(layer.bias),
            (solved.kernel != 0).astype("float32"),
            solved.mean,
            float(np.sqrt(np.mean(np.square(solved.deviation)))),
        )

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the current (integers, bias) of the layer."""
        return _integers(self.layer, self.step), ops.convert_to_numpy(self.layer.bias)

    def reset(self) -> None:
        """Restores the results of second-order rounding."""
        factor = ops.convert_to_numpy(self.layer.kernel_factor)
        self.layer.set_kernel(self.kernel, factor)
        self.layer.bias.assign(self.bias)

    def set(self, integers: np.ndarray, bias: np.ndarray) -> None:
        """Sets the integers and the bias of the layer."""
        factor = ops.convert_to_numpy(self.layer.kernel_factor)
        rounded = self.layer.movable(integers * self.step, self.kept, self.step)
        self.layer.set_kernel(rounded, factor)
        self.layer.bias.assign(bias.astype("float32"))


def _integers(layer: typing.Any, step: np.ndarray) -> np.ndarray:
    return np.rint(ops.convert_to_numpy(layer.folded_kernel()) / step)


class Reconstruction(keras.Model):
    """A unit whose weights are interpolated between two integers each.

    It maps the tensors of `unit.inputs` to those of `unit.outputs`.

    Args:
        unit: a `Unit` of a model of `rewrite`.
        choices: the `Choice` of each of its layers.
        scale: squared error by which the loss of each output is divided.
    """

    def __init__(
        self, unit: Unit, choices: Sequence[Choice], scale: np.ndarray
    ) -> None:
        super().__init__(dtype="float32")
        # Wrapped in a function, so that Keras does not track their layers.
        self._parts = lambda: (unit, choices)
        self._scale = scale.astype("float32").tolist()
        self.roundings = []
        # All names differ, since Keras resets PyTorch's gradients by name.
        for number, choice in enumerate(choices):
            variable = self.add_weight(
                shape=choice.start.shape, initializer="zeros", name=f"rounding_{number}"
            )
            inside = (choice.start - _LOW) / (_HIGH - _LOW)
            variable.assign(np.log(inside / (1 - inside)))
            self.roundings.append(variable)
        self.shifts = [
            self.add_weight(
                shape=x.bias.shape, initializer="zeros", name=f"shift_{number}"
            )
            for number, x in enumerate(choices)
        ]
        self.built = True

    def shares(self) -> list[typing.Any]:
        """Returns the position of each weight above `lower`, in [0, 1], by layer."""
        return [
            ops.clip(ops.sigmoid(x) * (_HIGH - _LOW) + _LOW, 0.0, 1.0)
            for x in map(ops.convert_to_tensor, self.roundings)
        ]

    def moves(self) -> list[typing.Any]:
        """Returns the changes of the biases, by layer."""
        unit, choices = self._parts()
        return [
            ops.convert_to_tensor(x) * (_SHIFT * choice.deviation)
            for x, choice in zip(self.shifts, choices, strict=True)
        ]

    def call(self, inputs: typing.Any, training: bool | None = None) -> typing.Any:
        unit, choices = self._parts()
        tensors = dict(zip(unit.inputs, inputs, strict=True))
        with contextlib.ExitStack() as stack:
            for choice, share in zip(choices, self.shares(), strict=True):
                # As tensors: PyTorch's with a gradient cannot be added to arrays.
                constants = (choice.lower, choice.step, choice.kept)
                lower, step, kept = map(ops.convert_to_tensor, constants)
                kernel = (share + lower) * step * kept
                stack.enter_context(choice.layer.computing_with(kernel))
            moves = {
                id(choice.layer): move
                for choice, move in zip(choices, self.moves(), strict=True)
            }
            for applied in unit.steps:
                outputs = called(applied, [tensors[key] for key in applied.inputs])
                if id(applied.layer) in moves:
                    outputs = [outputs[0] + moves[id(applied.layer)]]
                tensors.update(zip(applied.outputs, outputs, strict=True))
        return tuple(tensors[key] for key in unit.outputs)

    def compute_loss(
        self,
        x: typing.Any = None,
        y: typing.Any = None,
        y_pred: typing.Any = None,
        sample_weight: typing.Any = None,
        training: bool = True,
    ) -> typing.Any:
        """Returns the squared error plus the regularizer.

        Args:
            x: not used.
            y: (float outputs, (exponent, weight) of the regularizer).
            y_pred: the outputs.
            sample_weight: not used.
            training: not used.
        """
        *targets, pressure = y
        loss = 0.0
        for target, prediction, scale in zip(targets, y_pred, self._scale, strict=True):
            off = ops.cast(prediction, "float32") - target
            loss = loss + ops.mean(ops.square(off)) / scale
        sharpness, weight = ops.mean(pressure[:, 0]), ops.mean(pressure[:, 1])
        count = sum(math.prod(x.shape) for x in self.roundings)
        for share in self.shares():
            # Avoids the gradient of a power at 0, which is NaN.
            decided = ops.power(ops.abs(2 * share - 1) + 1e-6, sharpness)
            loss = loss + weight * ops.sum(1 - decided) / count
        return loss


def learn(
    streams: Streams,
    unit: Unit,
    choices: Sequence[Choice],
    held: list[Held],
    scale: np.ndarray,
    steps: int,
    rng: np.random.Generator,
    tell: Callable[[float], object],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Trains the rounding of a unit and returns (integers, bias) of its layers.

    Args:
        streams: the `Streams`, after the unit.
        unit: see `Reconstruction`.
        choices: see `Reconstruction`.
        held: the rounded activations before the unit, see `Streams.held`.
        scale: see `Reconstruction`.
        steps: gradient steps.
        rng: random generator of the batches.
        tell: called with the share of the steps that is done.
    """
    reconstruction = Reconstruction(unit, choices, scale)
    optimizer = keras.optimizers.Adam(_RATE)
    reconstruction.compile(optimizer, jit_compile=devices.jit_compile())
    bar = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: tell((step + 1) / steps)
    )
    size = min(_BATCH, streams.at_once)
    places = [(part, n) for part, rows in enumerate(streams.learned) for n in rows]
    batches = _batches(unit, held, streams.held(True), places, size, steps, rng)
    reconstruction.fit(
        batches, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[bar]
    )
    learned = zip(choices, reconstruction.shares(), reconstruction.moves(), strict=True)
    return [
        (
            (choice.lower + (ops.convert_to_numpy(share) >= 0.5)) * choice.kept,
            choice.bias + ops.convert_to_numpy(move),
        )
        for choice, share, move in learned
    ]


def _batches(
    unit: Unit,
    held: list[Held],
    in_float: list[Held],
    places: Sequence[tuple[int, int]],
    size: int,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[typing.Any]:
    """Yields (inputs, (float outputs, (exponent, weight) per image)) of each step."""

    def rows(parts: list[Held], key: typing.Any, chosen: np.ndarray) -> np.ndarray:
        return np.stack(
            [parts[p][key].read(n) for p, n in map(places.__getitem__, chosen)]
        )

    first, last = _SHARPNESS
    for step in range(steps + 1):
        chosen = rng.integers(0, len(places), size)
        past = (step / steps - _FREE) / (1 - _FREE)
        pressure = (first + (last - first) * max(past, 0.0), _WEIGHT * float(past >= 0))
        inputs = tuple(rows(held, key, chosen) for key in unit.inputs)
        targets = tuple(rows(in_float, key, chosen) for key in unit.outputs)
        yield inputs, (*targets, np.tile(np.array(pressure, "float32"), (size, 1)))
