"""Kernels rounded by gradient: so that what a residual block puts out errs least.

Each weight goes to the integer below it or to the one above; to which, a variable says
through a sigmoid that is stretched and cut off at 0 and 1 (Nagel 2020, AdaRound,
arXiv:2004.10568). The variables of a block are learned together, on its outputs beside
those of the float network (Li 2021, BRECQ, arXiv:2102.05426), while a second term, ever
sharper, drives each of them to 0 or 1. A block starts from second-order rounding, on
what the rounded blocks before it give, and keeps that where nothing better is found.
"""

from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.export.recipes import ROUNDING_STEPS
from keras_resnets.quantization.rounding.kernels import Solver
from keras_resnets.quantization.rounding.reconstruction import Choice
from keras_resnets.quantization.rounding.reconstruction import learn
from keras_resnets.quantization.rounding.streams import Held
from keras_resnets.quantization.rounding.streams import Streams
from keras_resnets.quantization.rounding.units import Unit


def round_learned(
    model: keras.Model,
    images: np.ndarray,
    seed: int = 0,
    progress: Callable[..., object] | None = None,
    skipped: Sequence[str] = (),
    steps: int = ROUNDING_STEPS,
) -> None:
    """Sets every kernel of `model` to rounded numbers, and the biases that go with them.

    Residual block by residual block from the image on, by layer outside of them (see
    `units.split`). One image in five is not learned from: on these a block's error is at
    most that of second-order rounding.

    Args:
        model: from `rewrite`, with the ranges of its activations set.
        images: float32 array (count, height, width, channels), preprocessed.
        seed: of the windows of second-order rounding and of the images of each step.
        progress: called with the number of images done, as if each block took the same.
        skipped: names of layers to leave as they are.
        steps: of gradient, for each block.

    Raises:
        InvalidArgument: images that give NaN or infinity at a layer.
    """
    streams = Streams(model, images)
    solver = Solver(streams, len(images), seed, skipped)
    for number, unit in enumerate(streams.units):

        def tell(share: float, number: int = number) -> None:
            if progress:
                progress(int(len(images) * (number + share) / len(streams.units)))

        inputs = streams.held()
        solved = [x for x in map(solver.solve, unit.stops) if x is not None]
        streams.advance_to(unit.end, solver.change)
        solver.change = None
        if solved:
            choices = [Choice.of(x) for x in solved]
            rng = np.random.default_rng((seed, number))
            _improve(streams, unit, choices, inputs, steps, rng, tell)
        tell(1.0)
    solver.warn()


def _improve(
    streams: Streams,
    unit: Unit,
    choices: Sequence[Choice],
    held: list[Held],
    steps: int,
    rng: np.random.Generator,
    tell: Callable[[float], object],
) -> None:
    """Learns the roundings of a unit; leaves the least of its errors.

    Args:
        streams: behind the unit.
        unit: whose layers are rounded by the second order.
        choices: of its layers.
        held: what the rounded way held in front of it.
        steps: of gradient.
        rng: draws the images of each step.
        tell: called with the share that is done.
    """
    first = streams.errors(unit.outputs)
    if not first.sum() > 0:
        # Dead, or nothing is lost.
        return
    start = streams.held()
    scale = np.maximum(first, 1e-6 * first.max())

    def error() -> float:
        streams.again(held, unit.start, unit.end)
        return float((streams.errors(unit.outputs) / scale).sum())

    learned = learn(streams, unit, choices, held, scale, steps, rng, tell)
    best, least = None, float((first / scale).sum())
    for choice, values in zip(choices, learned, strict=True):
        choice.set(*values)
    for correct in (False, True):
        if correct:
            _correct_biases(streams, unit, choices, held)
        here = error()
        # Not where it is NaN.
        if here < least:
            best, least = [choice.values() for choice in choices], here
    if best is None:
        for choice in choices:
            choice.reset()
        streams.again(start, unit.end, unit.end)
        return
    for choice, values in zip(choices, best, strict=True):
        choice.set(*values)
    streams.again(held, unit.start, unit.end)


def _correct_biases(
    streams: Streams, unit: Unit, choices: Sequence[Choice], held: list[Held]
) -> None:
    """Gives the layers of a unit, one after the other, the means that they had in float."""
    for choice in choices:
        place = next(n for n, x in enumerate(unit.steps) if x.layer is choice.layer)
        streams.again(held, unit.start, unit.start + place + 1)
        missing = choice.mean - streams.mean(unit.steps[place].output)
        integers, bias = choice.values()
        choice.set(integers, bias + missing)
