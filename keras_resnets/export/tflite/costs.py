"""How long convolutions take in XNNPACK, int8 and as FULLY_CONNECTED of 4-bit weights.

`costs.csv` has what `benchmarks/four_bits.py --table` measured, in microseconds with one
and with two threads, and in its first line on which processor. A shape that it lacks is
taken for the nearest that it has. On other processors the times are others, the ratios
much alike: they come from what is copied and what is multiplied.
"""

import csv
import dataclasses
import functools
import importlib.resources
import math
from collections.abc import Sequence
from typing import Protocol
from typing import TypeVar


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
        """Multiplications."""
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
    """What could be stored in 4 bits: its `Shape`, and the bytes that this saves."""

    @property
    def shape(self) -> Shape: ...

    @property
    def saved(self) -> int: ...


Candidate = TypeVar("Candidate", bound=Stored)


@functools.cache
def table() -> tuple[Row, ...]:
    """The measured shapes."""
    place = importlib.resources.files("keras_resnets.export.tflite")
    lines = place.joinpath("costs.csv").read_text("utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return tuple(_row(row) for row in rows)


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


def _distance(one: Shape, other: Shape) -> float:
    """How unlike two shapes are; a window or stride of its own counts most."""
    unlike = 20.0 * (one.kind != other.kind)
    for weight, a, b in (
        (5.0, one.window, other.window),
        (5.0, one.stride, other.stride),
        (1.0, one.pixels, other.pixels),
        (1.0, one.inputs, other.inputs),
        (1.0, one.outputs, other.outputs),
    ):
        unlike += weight * abs(math.log2(a / b))
    return unlike


def affordable(
    stored: Sequence[Candidate], every: Sequence[Shape], allowed: float
) -> list[Candidate]:
    """Which to store in 4 bits, so that the file is small and not much slower.

    Those that take no longer come first, then those with most bytes for their time.

    Args:
        stored: what could be.
        every: shapes of all convolutions and dense layers of the network.
        allowed: by how much their time in int8 may grow, such as 0.05.

    Returns:
        Some of `stored`.
    """
    whole = [
        sum(times) for times in zip(*(microseconds(x)[0] for x in every), strict=True)
    ]
    left = [allowed * time for time in whole]
    chosen = []
    for candidate, more in sorted(
        ((x, _growth(x.shape)) for x in stored), key=lambda pair: _price(*pair)
    ):
        if all(m <= max(rest, 0) for m, rest in zip(more, left, strict=True)):
            chosen.append(candidate)
            left = [rest - m for m, rest in zip(more, left, strict=True)]
    return chosen


def _growth(shape: Shape) -> tuple[float, ...]:
    int8, int4 = microseconds(shape)
    return tuple(after - before for before, after in zip(int8, int4, strict=True))


def _price(candidate: Stored, more: Sequence[float]) -> float:
    return max(more) / candidate.saved
