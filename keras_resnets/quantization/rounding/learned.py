"""Learned rounding: kernels are rounded to minimize the error of each residual block.

Each weight is rounded down or up, as a variable decides through a stretched and clipped
sigmoid (Nagel et al. 2020, AdaRound, arXiv:2004.10568). The variables of a block are
trained together to reproduce its float outputs (Li et al. 2021, BRECQ,
arXiv:2102.05426), with a regularizer that drives each sigmoid to 0 or 1. A block starts
from second-order rounding, given the rounded blocks before it, and keeps that if the
error does not fall.
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
    """Rounds every kernel of `model` by learned rounding and corrects its biases.

    Residual blocks, and the layers outside of them, are rounded in order (see
    `units.split`). One image in five is held out: on these the error of a block is at
    most that of second-order rounding.

    Args:
        model: a model of `rewrite` whose activation ranges are set.
        images: float32 array (count, height, width, channels), preprocessed.
        seed: seed of the windows of second-order rounding and of the batches.
        progress: called with the number of images done; all blocks count the same.
        skipped: names of layers to leave unchanged.
        steps: gradient steps per block.

    Raises:
        InvalidArgument: a layer gets NaN or infinity from the images.
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
    """Learns the rounding of a unit and keeps it if the held-out error is smaller.

    Args:
        streams: the `Streams`, after the unit.
        unit: a `Unit` whose layers have been rounded by second-order rounding.
        choices: the `Choice` of each of its layers.
        held: the rounded activations before the unit, see `Streams.held`.
        steps: gradient steps.
        rng: random generator of the batches.
        tell: called with the share that is done.
    """
    first = streams.errors(unit.outputs)
    if not first.sum() > 0:
        # The unit is dead, or its rounding has no error.
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
        # False for NaN.
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
    """Corrects the biases of a unit's layers in order, to the means in float."""
    for choice in choices:
        place = next(n for n, x in enumerate(unit.steps) if x.layer is choice.layer)
        streams.again(held, unit.start, unit.start + place + 1)
        missing = choice.mean - streams.mean(unit.steps[place].output)
        integers, bias = choice.values()
        choice.set(integers, bias + missing)
