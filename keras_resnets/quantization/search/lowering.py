"""Lowers layers of an accepted mix to a coarser precision again."""

import typing
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

# Passes over the layers for each coarser precision.
_ROUNDS = 2


def lower(
    precisions: dict[str, str],
    trial: typing.Any,
    costs: Mapping[str, float],
    macs: Mapping[str, float],
    allowed: Sequence[str],
    attempt: Callable[[dict[str, str]], typing.Any],
) -> tuple[dict[str, str], typing.Any]:
    """Lowers the layers of a mix that need no finer precision.

    Layers that save the most multiply-adds for their error come first: squared errors
    add up.

    Args:
        precisions: of the mix, by name of an operator.
        trial: the trial of the mix.
        costs: the squared error of an operator in int8, by its name.
        macs: its multiply-adds, by its name, in the order of the operators.
        allowed: precisions, the coarsest first.
        attempt: function of precisions that returns their trial; None where they are
            not accepted.

    Returns:
        (precisions of the operators that are not int8, the trial of that mix).
    """
    light = tuple(name for name in precisions if not macs[name])
    # In the order of the operators where they are equal, so that runs are alike.
    heavy = [name for name in macs if name in precisions and macs[name]]
    heavy.sort(key=lambda name: costs[name] / macs[name])
    groups = [*((name,) for name in heavy), *([light] if light else [])]
    for coarser in allowed[:-1]:
        precisions, trial = _coarsen(
            groups, coarser, precisions, trial, allowed.index, attempt
        )
    return {n: p for n, p in precisions.items() if p != "int8"}, trial


def _coarsen(
    groups: Sequence[tuple[str, ...]],
    coarser: str,
    precisions: dict[str, str],
    trial: typing.Any,
    level: Callable[[str], int],
    attempt: Callable[[dict[str, str]], typing.Any],
) -> tuple[dict[str, str], typing.Any]:
    """(precisions, trial) with some groups in `coarser`.

    As many from the first on as are accepted; then behind the one that was refused.
    """

    def lowered(groups: Sequence[tuple[str, ...]]) -> dict[str, str]:
        names = [name for group in groups for name in group]
        finer = [n for n in names if level(precisions[n]) > level(coarser)]
        return {**precisions, **dict.fromkeys(finer, coarser)}

    remaining = [group for group in groups if lowered([group]) != precisions]
    for _ in range(_ROUNDS):
        # Nothing but int8 was the beginning.
        is_int8 = set(lowered(remaining).values()) <= {"int8"}
        accepted, refused = 0, len(remaining) if is_int8 else len(remaining) + 1
        while refused - accepted > 1:
            # All of them first.
            middle = (
                (accepted + refused) // 2
                if refused <= len(remaining)
                else len(remaining)
            )
            lower_trial = attempt(lowered(remaining[:middle]))
            if lower_trial is not None:
                accepted, trial = middle, lower_trial
            else:
                refused = middle
        precisions = lowered(remaining[:accepted])
        remaining = remaining[accepted + 1 :]
    return precisions, trial
