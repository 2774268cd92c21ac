"""Names for layers that a Keras file numbers by their class: `conv2d_3`.

Keras 3.0 to 3.7 stored no names beside the numbers. The numbers follow the order of
`model.layers`, which is known for networks of `keras.applications` and KerasHub: the
projection precedes a unit's last part.
"""

import dataclasses
import typing

from keras_resnets.weights import layouts

if typing.TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class _Network:
    """Units a stage, convolutions of the stem, and of a unit (2 or 3)."""

    depths: tuple[int, ...]
    stem: int = 1
    unit: int = 3

    @property
    def projections(self) -> typing.Any:
        """Stages whose first unit projects: stage 1 of 18 and 34 layers does not."""
        return range(len(self.depths))[self.unit == 2 and self.stem == 1 :]


# Convolutions with a bias, as `keras.applications` alone has them.
_APPLICATIONS = {
    53: _Network((3, 4, 6, 3)),
    104: _Network((3, 4, 23, 3)),
    155: _Network((3, 8, 36, 3)),
}
# KerasHub's: the same without a bias, those of basic units, and vd.
_KERAS_HUB = {
    **_APPLICATIONS,
    20: _Network((2, 2, 2, 2), unit=2),
    36: _Network((3, 4, 6, 3), unit=2),
    23: _Network((2, 2, 2, 2), stem=3, unit=2),
    39: _Network((3, 4, 6, 3), stem=3, unit=2),
    55: _Network((3, 4, 6, 3), stem=3),
    106: _Network((3, 4, 23, 3), stem=3),
    157: _Network((3, 8, 36, 3), stem=3),
    205: _Network((3, 12, 48, 3), stem=3),
}


def named(tensors: typing.Any) -> tuple[typing.Any, typing.Any]:
    """Renames the tensors of a known network from Keras' numbers to layer names.

    Args:
        tensors: dict by (module, field), of the layout `layouts.NUMBERED`.

    Returns:
        (tensors, layout): the tensors under their layers' names, and the layout of the
        names; the input and `layouts.NUMBERED` for other networks.
    """
    modules = {module for module, _ in tensors}
    convs = sum(module.startswith("conv2d") for module in modules)
    norms = sum(module.startswith("batch_normalization") for module in modules)
    biased = ("conv2d", "bias") in tensors
    network = (_APPLICATIONS if biased else _KERAS_HUB).get(convs)
    if network is None:
        return tensors, layouts.NUMBERED
    second = norms != convs
    if biased:
        layout = layouts.KERAS_V2 if second else layouts.KERAS
    else:
        layout = layouts.KERAS_HUB_V2 if second else layouts.KERAS_HUB
    names = {
        f"{kind}_{number}" if number else kind: layout.module(ours)
        for kind, ordered in _ordered(network, second).items()
        for number, ours in enumerate(ordered)
    }
    renamed = {(names.get(m, m), field): array for (m, field), array in tensors.items()}
    return renamed, layout


def _ordered(network: "keras.Model", second: typing.Any) -> typing.Any:
    """This package's names of a network's layers by class, in the order of the layers.

    Args:
        network: a `_Network`.
        second: whether BN comes before the convolutions (V2).
    """
    stem = [str(number) if network.stem > 1 else "" for number in range(1, 4)]
    stem = stem[: network.stem]
    convs = [f"stem_conv{number}" for number in stem]
    norms = [] if second else [f"stem_bn{number}" for number in stem]
    last = str(network.unit)
    for stage, depth in enumerate(network.depths):
        for block in range(depth):
            unit = f"stage{stage + 1}_block{block + 1}"
            parts = [str(number) for number in range(1, network.unit)]
            projects = not block and stage in network.projections
            order = [*parts, *["shortcut"] * projects, last]
            convs += [_part(unit, part, "conv") for part in order]
            # The first BN of a V2 unit precedes it, and its shortcut has none.
            own = [*parts, last] if second else order
            norms += [_part(unit, part, "bn") for part in own]
    return {
        "conv2d": convs,
        "batch_normalization": [*norms, *["post_bn"] * second],
    }


def _part(unit: typing.Any, part: str, kind: typing.Any) -> str:
    return f"{unit}_shortcut_{kind}" if part == "shortcut" else f"{unit}_{kind}{part}"
