"""What a file may cost: bytes, points of top-1, latency."""

import dataclasses
import typing
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import shown
from keras_resnets.quantization.search import accuracy_gate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What a file may cost; None for no limit.

    Attributes:
        max_size: bytes of the file as it is written.
        max_drop: points of top-1 below the float model's on held-out images, one
            standard error of it included.
        max_seconds: median latency of one image on this machine, in LiteRT.
        max_ratio: that latency over the int8 file's, run in turns with it.

    Raises:
        InvalidArgument: a limit that is no positive number, or both of the latency.

    Example:
        >>> Budget(max_size=160_000).smallest
        False
    """

    max_size: int | None = None
    max_drop: float | None = None
    max_seconds: float | None = None
    max_ratio: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name))
        if self.max_drop is not None:
            accuracy_gate.check_drop(self.max_drop)
        if self.max_seconds is not None and self.max_ratio is not None:
            raise InvalidArgument(
                "only one of max_seconds and max_ratio may be set; got "
                f"max_seconds={self.max_seconds} and max_ratio={self.max_ratio}"
            )

    @property
    def smallest(self) -> bool:
        """Whether the smallest file within the limits is wanted, or the most accurate."""
        return self.max_drop is not None

    @property
    def is_timed(self) -> bool:
        """Whether the latency is limited."""
        return self.max_seconds is not None or self.max_ratio is not None


def _check(name: str, value: typing.Any) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise InvalidArgument(f"{name} must be a number above 0; got {shown(value)}")


@dataclasses.dataclass(frozen=True)
class Move:
    """What fewer bytes in one layer are worth.

    Attributes:
        name: of the layer, as the plan has it.
        saved: bytes of the file.
        cost: mean square of what it does to the logits.
        kind: `"int4"`, or `"sparse"` for a kernel of mostly zeros.
    """

    name: str
    saved: int
    cost: float
    kind: str = "int4"


def cheapest(moves: Sequence[Move], needed: int) -> list[Move]:
    """Moves, one a layer at most, that together save so many bytes at little cost.

    Costs add up. The moves of least cost for a byte come first, and where a layer has
    two, the one that saves more takes the place of the other; then those go back, the
    costliest first, without which the others save enough.

    Args:
        moves: what can be done.
        needed: bytes to save.

    Returns:
        The chosen ones, in the order of `moves`; those that save most where that is too
        little.

    Example:
        >>> moves = [Move("a", 10, 1.0), Move("b", 100, 2.0), Move("c", 50, 5.0)]
        >>> [[x.name for x in cheapest(moves, n)] for n in (60, 105)]
        [['b'], ['a', 'b']]
    """
    chosen: dict[str, Move] = {}
    for before, move in _steps(moves):
        if sum(x.saved for x in chosen.values()) >= needed:
            break
        if chosen.get(move.name) is before:
            chosen[move.name] = move
    for move in sorted(chosen.values(), key=lambda move: -move.cost):
        others = sum(x.saved for x in chosen.values()) - move.saved
        smaller = [x for x in moves if x.name == move.name and x.cost < move.cost]
        for other in (None, *sorted(smaller, key=lambda x: x.cost)):
            if others + (other.saved if other else 0) >= needed:
                del chosen[move.name]
                if other:
                    chosen[move.name] = other
                break
    return [move for move in moves if chosen.get(move.name) is move]


def _steps(moves: Sequence[Move]) -> list[tuple[Move | None, Move]]:
    """(what a layer has, what it can have instead), the least cost for a byte first."""
    steps: list[tuple[float, tuple[Move | None, Move]]] = []
    for name in dict.fromkeys(move.name for move in moves):
        left, now = [x for x in moves if x.name == name], None
        while left:
            saved, cost = (now.saved, now.cost) if now else (0, 0.0)
            # Of all that save more, the one that has least cost for a byte more.
            rates = [((x.cost - cost) / (x.saved - saved), x) for x in left]
            rate, move = min(rates, key=lambda pair: (pair[0], -pair[1].saved))
            steps.append((rate, (now, move)))
            left, now = [x for x in left if x.saved > move.saved], move
    return [step for _, step in sorted(steps, key=lambda pair: pair[0])]
