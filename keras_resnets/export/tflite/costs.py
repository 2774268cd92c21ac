"""Latency of convolutions in XNNPACK, as int8 and as FULLY_CONNECTED of 4-bit weights.

`costs.csv` contains the measurements of `benchmarks/four_bits.py --table`, in
microseconds with one and with two threads; its first line names the CPU. A shape that is
not in the table is estimated from the nearest one. Other CPUs have other latencies but
similar ratios, which depend on the amounts of data that are copied and multiplied.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Protocol
from typing import TypeVar

from keras_resnets.io import package_tables


@dataclasses.dataclass(frozen=True)
class Shape:
    """A convolution or a dense layer.

    Attributes:
        kind: `"conv"` or `"dense"`.
        taps: weights of one output channel: kernel height * width * channels of a group.
        stride: of a convolution, 1 of a dense layer.
        pixels: of its output, height * width.
        inputs, outputs: channels.
    """

    kind: str
    taps: int
    stride: int
    pixels: int
    inputs: int
    outputs: int

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations."""
        return self.taps * self.pixels * self.outputs

    @property
    def window(self) -> float:
        """Pixels under the kernel."""
        return self.taps / self.inputs


@dataclasses.dataclass(frozen=True)
class Row:
    """A measured shape: microseconds by threads (1 and 2)."""

    shape: Shape
    int8: tuple[float, ...]
    int4: tuple[float, ...]


class Stored(Protocol):
    """A layer that can be stored in 4 bits: its `Shape`, and the bytes that this saves."""

    @property
    def shape(self) -> Shape: ...

    @property
    def saved(self) -> int: ...


Candidate = TypeVar("Candidate", bound=Stored)


@functools.cache
def table() -> tuple[Row, ...]:
    """The measured shapes."""
    return tuple(
        map(_row, package_tables.rows_of("keras_resnets.export.tflite", "costs.csv"))
    )


def _row(row: dict[str, str]) -> Row:
    sides = ("taps", "stride", "pixels", "inputs", "outputs")
    shape = Shape(row["kind"], *(int(row[side]) for side in sides))
    int8 = float(row["int8_1"]), float(row["int8_2"])
    return Row(shape, int8, (float(row["int4_1"]), float(row["int4_2"])))


def microseconds(shape: Shape) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(as int8, as FULLY_CONNECTED of 4 bits), each by threads (1 and 2)."""
    row = min(table(), key=lambda row: _distance(row.shape, shape))
    scale = shape.macs / row.shape.macs
    return tuple(scale * x for x in row.int8), tuple(scale * x for x in row.int4)


def _distance(first: Shape, second: Shape) -> float:
    """Returns a distance between two shapes, mainly by window and stride."""
    distance = 20.0 * (first.kind != second.kind)
    for weight, a, b in (
        (5.0, first.window, second.window),
        (5.0, first.stride, second.stride),
        (1.0, first.pixels, second.pixels),
        (1.0, first.inputs, second.inputs),
        (1.0, first.outputs, second.outputs),
    ):
        distance += weight * abs(math.log2(a / b))
    return distance


def affordable(
    candidates: Sequence[Candidate], shapes: Sequence[Shape], allowed: float
) -> list[Candidate]:
    """Chooses what to store in 4 bits, so that the file is small and not much slower.

    Layers that get no slower come first, then those that save most bytes for their time.

    Args:
        candidates: what can be stored in 4 bits.
        shapes: shapes of all convolutions and dense layers of the network.
        allowed: how much longer than in int8 they may take, such as 0.05.

    Returns:
        Some of `candidates`.
    """
    int8 = zip(*(microseconds(shape)[0] for shape in shapes), strict=True)
    budget = [allowed * sum(times) for times in int8]
    chosen = []
    for candidate, growth in sorted(
        ((x, _growth(x.shape)) for x in candidates), key=lambda pair: _price(*pair)
    ):
        if all(m <= max(rest, 0) for m, rest in zip(growth, budget, strict=True)):
            chosen.append(candidate)
            budget = [rest - m for m, rest in zip(growth, budget, strict=True)]
    return chosen


def _growth(shape: Shape) -> tuple[float, ...]:
    int8, int4 = microseconds(shape)
    return tuple(after - before for before, after in zip(int8, int4, strict=True))


def _price(candidate: Stored, growth: Sequence[float]) -> float:
    return max(growth) / candidate.saved
