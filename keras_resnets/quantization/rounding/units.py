"""Splits a network into the units whose kernels are rounded together."""

import dataclasses
import itertools
import typing
from collections.abc import Sequence

from keras_resnets.graph.nodes import Step
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import FakeQuantize

# Largest number of kernels in a unit. A bottleneck with a projection has four. A network
# with a skip connection from first to last layer would be one unit: it is split by layer.
_MOST = 8


@dataclasses.dataclass(frozen=True)
class Unit:
    """Consecutive steps of a network.

    Attributes:
        steps: the steps, in order.
        start: index of the first step in the network.
        inputs: keys of the tensors from earlier steps that they read.
        outputs: keys of their tensors that later steps read.
    """

    steps: tuple[Step, ...]
    start: int
    inputs: tuple[typing.Any, ...]
    outputs: tuple[typing.Any, ...]

    @property
    def end(self) -> int:
        """Index after the last step."""
        return self.start + len(self.steps)

    @property
    def stops(self) -> list[Step]:
        """The applications of layers with a kernel, in order."""
        return [step for step in self.steps if isinstance(step.layer, KERNELS)]


def split(steps: Sequence[Step], outputs: Sequence[typing.Any]) -> list[Unit]:
    """Splits a network into residual blocks, and single layers outside of them.

    A unit ends at a rounded tensor that is the only one later steps read: inside a
    residual block both branches are read. A unit with more kernels than a block has is
    split after every kernel.

    Args:
        steps: steps of a model of `rewrite`, in order.
        outputs: keys of the network's outputs.

    Returns:
        Consecutive units with at least one kernel each. Steps after the rounding of the
        last kernel belong to none.
    """
    last = last_reads(steps, outputs)
    units: list[Unit] = []
    start = 0
    for end in _cuts(steps, last) or [len(steps)]:
        stops = [n for n in range(start, end) if isinstance(steps[n].layer, KERNELS)]
        if not stops:
            continue
        borders = [start, end]
        if len(stops) > _MOST:
            borders = [start, *stops[1:], end]
        for first, behind in zip(borders, borders[1:], strict=False):
            units.append(_unit(steps, last, first, behind))
        start = end
    return units


def last_reads(
    steps: Sequence[Step], outputs: Sequence[typing.Any]
) -> dict[typing.Any, int]:
    """Returns the index of the last reader of each tensor, by key; outputs come last."""
    last = {key: n for n, step in enumerate(steps) for key in step.inputs}
    return {**last, **dict.fromkeys(outputs, len(steps))}


def _cuts(steps: Sequence[Step], last: dict[typing.Any, int]) -> list[int]:
    """Returns the indices of steps before which a single rounded tensor is alive."""
    born: dict[typing.Any, int] = {}
    for n, step in enumerate(steps):
        born.update(dict.fromkeys((k for k in step.inputs if k not in born), 0))
        born.update(dict.fromkeys(step.outputs, n + 1))
    alive = [0] * (len(steps) + 2)
    for key, first in born.items():
        if key in last:
            alive[first] += 1
            alive[last[key] + 1] -= 1
    counts = list(itertools.accumulate(alive))
    return [
        n + 1
        for n, step in enumerate(steps)
        if isinstance(step.layer, FakeQuantize) and counts[n + 1] == 1
    ]


def _unit(
    steps: Sequence[Step], last: dict[typing.Any, int], start: int, end: int
) -> Unit:
    inside = steps[start:end]
    written = dict.fromkeys(key for step in inside for key in step.outputs)
    read = dict.fromkeys(key for step in inside for key in step.inputs)
    return Unit(
        steps=tuple(inside),
        start=start,
        inputs=tuple(key for key in read if key not in written),
        outputs=tuple(key for key in written if last.get(key, -1) >= end),
    )
