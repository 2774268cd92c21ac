"""A network in units: what is rounded together, so that its output errs least."""

import dataclasses
import itertools
import typing
from collections.abc import Sequence

from keras_resnets.graph.nodes import Step
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import FakeQuantize

# Kernels of a unit at most. A bottleneck with a projection has four; a network that
# keeps a tensor from its first layer to its last is one block, and is cut by layer.
_MOST = 8


@dataclasses.dataclass(frozen=True)
class Unit:
    """Steps of a network that follow one another.

    Attributes:
        steps: all of them, in order.
        start: index of the first.
        inputs: keys of the tensors that they read and that others made.
        outputs: keys of the tensors that they make and that others read.
    """

    steps: tuple[Step, ...]
    start: int
    inputs: tuple[typing.Any, ...]
    outputs: tuple[typing.Any, ...]

    @property
    def end(self) -> int:
        """Index of the first step behind it."""
        return self.start + len(self.steps)

    @property
    def stops(self) -> list[Step]:
        """The applications of layers with a kernel, in order."""
        return [step for step in self.steps if isinstance(step.layer, KERNELS)]


def split(steps: Sequence[Step], outputs: Sequence[typing.Any]) -> list[Unit]:
    """A rounded network's units: residual blocks, and single layers outside of them.

    A unit ends where a tensor is rounded and is the only one that anything behind it
    reads. Between two such places both ways of a residual block are under way. What has
    more kernels than a block has is split once more, behind every kernel.

    Args:
        steps: of a network of `rewrite`, in order.
        outputs: keys of the network's outputs.

    Returns:
        Units with a kernel each, one behind the other; what is behind the last kernel's
        rounding is in none.
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
    """The index of the last step that reads a tensor, by its key; outputs: behind all."""
    last = {key: n for n, step in enumerate(steps) for key in step.inputs}
    return {**last, **dict.fromkeys(outputs, len(steps))}


def _cuts(steps: Sequence[Step], last: dict[typing.Any, int]) -> list[int]:
    """Indices of the steps in front of which one rounded tensor alone goes on."""
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
