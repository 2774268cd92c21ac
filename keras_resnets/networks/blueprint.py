"""The blueprint: an `Architecture` expanded unit by unit, convolution by convolution.

Only this module decides widths, strides, dilations and shortcuts. The builder makes
layers of it; the mapping of weights follows the same blueprint.
"""

import dataclasses
import math
import typing

from keras_resnets.networks.architecture import Architecture


@dataclasses.dataclass(frozen=True)
class Conv:
    """One convolution: square kernel, `filters` out, and its geometry."""

    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """The shortcut around the branch of a unit.

    `kind` is `"none"`, `"identity"`, `"subsample"`, `"identity_pad"`,
    `"projection"` or `"dead_projection"` (computed, then discarded);
    `pool` puts 2x2 average pooling with the stride before the projection.
    """

    kind: str
    filters: int
    stride: int = 1
    pool: bool = False

    @property
    def projects(self) -> bool:
        return self.kind in ("projection", "dead_projection")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A residual unit, or a plain one if the shortcut is `"none"`.

    `preact` is the first step of a pre-activation unit: `"branch"` (activate only the
    branch), `"shared"` (activate branch and shortcut) or `"none"` (the stem has already
    activated).
    """

    name: str
    convs: tuple[Conv, ...]
    shortcut: Shortcut
    in_filters: int
    out_filters: int
    preact: str
    drop_path_rate: float


@dataclasses.dataclass(frozen=True)
class Pool:
    """2x2 maximum pooling."""

    stride: int


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage: the subsampling before its first unit (or None), and its units."""

    name: str
    transition: Conv | Pool | None
    units: tuple[Unit, ...]


def walk(architecture: Architecture) -> tuple[Stage, ...]:
    """Returns the stages of `architecture`, in order.

    Example:
        >>> from keras_resnets.models.registry import get_architecture
        >>> stage = walk(get_architecture("resnet50"))[1]
        >>> [conv.stride for conv in stage.units[0].convs]
        [1, 2, 1]
    """
    walker = _Walker(architecture)
    return tuple(walker.stage(index) for index in range(len(architecture.depths)))


def expansion(block: str) -> int:
    """Returns the ratio of a unit's output channels to its `filters`."""
    return 4 if block == "bottleneck" else 1


class _Walker:
    """Carries the state from one stage to the next: channels, stride, dilation."""

    def __init__(self, architecture: Architecture) -> None:
        # Every value of a stage is a tuple once an `Architecture` is made.
        self.architecture: typing.Any = architecture
        self.channels = architecture.stem_filters
        self.stride = architecture.stem_stride
        self.dilation = 1
        self.units_done = 0

    def stage(self, index: int) -> Stage:
        arch = self.architecture
        stride = arch.strides[index]
        before = self.dilation
        limit = arch.output_stride or math.inf
        if self.stride * stride > limit:
            self.dilation *= stride
            stride = 1
        self.stride *= stride
        if arch.dilation_policy == "uniform":
            before = self.dilation
        lost_stride = arch.strides[index] // stride > 1
        geometry = _Geometry(arch, index, stride, before, self.dilation, lost_stride)
        transition = None
        if arch.transition and arch.strides[index] > 1:
            transition = self._transition(index, geometry)
            geometry = dataclasses.replace(
                geometry, stride=1, before=self.dilation, lost_stride=False
            )
        name = f"stage{index + 1}"
        units = tuple(
            self._unit(f"{name}_block{position + 1}", index, position, geometry)
            for position in range(arch.depths[index])
        )
        return Stage(name, transition, units)

    def _transition(self, index: int, geometry: "_Geometry") -> Conv | Pool:
        if self.architecture.transition == "max":
            return Pool(geometry.stride)
        filters = self.architecture.filters[index] * self.architecture.widen_factor
        self.channels = filters
        return Conv(filters, 3, geometry.stride, geometry.before)

    def _unit(
        self, name: str, index: int, position: int, geometry: "_Geometry"
    ) -> Unit:
        arch = self.architecture
        block = arch.block[index]
        width = arch.filters[index] * arch.widen_factor
        out = width * expansion(block)
        carries = position == geometry.strided_position
        stride = geometry.stride if carries else 1
        convs = _CONVS[block](arch, width, position, geometry)
        if block == "alternating":
            out = convs[-1].filters
        shortcut = self._shortcut(index, position, stride, out, geometry)
        unit = Unit(
            name=name,
            convs=convs,
            shortcut=shortcut,
            in_filters=self.channels,
            out_filters=out,
            preact=self._preact(shortcut, position),
            drop_path_rate=self._drop_path_rate(),
        )
        self.channels = out
        self.units_done += 1
        return unit

    def _shortcut(
        self, index: int, position: int, stride: int, out: int, geometry: "_Geometry"
    ) -> Shortcut:
        arch = self.architecture
        changes = out != self.channels or stride > 1
        single = arch.block[index] in ("conv", "alternating")
        if not arch.residual[index] or single:
            dead = arch.dead_projection and changes and not single
            return Shortcut("dead_projection" if dead else "none", out, stride)
        if arch.downsample_in == "last_block":
            # A projection in the first unit, plain subsampling in the last.
            if position == 0:
                return Shortcut("projection", out, stride)
            return Shortcut("subsample" if stride > 1 else "identity", out, stride)
        if arch.shortcut_type == "projection_all":
            return Shortcut("projection", out, stride)
        if not changes and not (arch.first_projection and position == 0):
            return Shortcut("identity", out)
        if arch.shortcut_type == "identity_pad":
            return Shortcut("identity_pad", out, stride)
        # A stride that became a dilation leaves the 2x2 average at stride 1.
        strided = stride > 1 or (position == 0 and geometry.lost_stride)
        pool = arch.shortcut_type == "avg_projection" and strided
        return Shortcut("projection", out, stride, pool)

    def _preact(self, shortcut: Shortcut, position: int) -> str:
        arch = self.architecture
        if not arch.preact:
            return "none"
        if self.units_done == 0 and arch.stem_bn:
            return "none"
        first = position == 0 and arch.share_preact == "first"
        return "shared" if first or shortcut.projects else "branch"

    def _drop_path_rate(self) -> float:
        last = sum(self.architecture.depths) - 1
        return self.architecture.drop_path_rate * self.units_done / max(last, 1)


@dataclasses.dataclass(frozen=True)
class _Geometry:
    """The position of stride and dilation in the units of a stage.

    `before` is the rate of convolutions up to the one that carries the stage's
    stride (or would, had it not become a dilation), `after` that of later ones.
    """

    arch: typing.Any
    index: int
    stride: int
    before: int
    after: int
    lost_stride: bool

    @property
    def strided_position(self) -> int:
        last = self.arch.depths[self.index] - 1
        return last if self.arch.downsample_in == "last_block" else 0

    def own(self, position: int) -> int:
        """The stage's dilation, without that of `output_stride`."""
        own = self.arch.first_dilations if position == 0 else self.arch.dilations
        return own[self.index]

    def at(self, position: int, carrier: int) -> tuple[int, int]:
        """(stride, dilation) of a convolution by its position relative to the strided one.

        `carrier` is -1, 0 or 1: before, at or after the strided one in its unit.
        """
        if position < self.strided_position:
            return 1, self.before * self.own(position)
        if position > self.strided_position or carrier > 0:
            return 1, self.after * self.own(position)
        stride = self.stride if carrier == 0 else 1
        return stride, self.before * self.own(position)


def _basic(
    arch: Architecture, width: int, position: int, geometry: "_Geometry"
) -> tuple[Conv, ...]:
    stride, dilation = geometry.at(position, 0)
    _, behind = geometry.at(position, 1)
    return Conv(width, 3, stride, dilation), Conv(width, 3, 1, behind)


def _bottleneck(
    arch: Architecture, width: int, position: int, geometry: _Geometry
) -> tuple[Conv, ...]:
    inner = math.floor(width * arch.base_width / 64) * arch.cardinality
    in_first = arch.downsample_in == "1x1"
    first_stride = geometry.at(position, 0)[0] if in_first else 1
    stride, dilation = geometry.at(position, 1 if in_first else 0)
    return (
        Conv(inner, 1, first_stride),
        Conv(inner, 3, stride, dilation, arch.cardinality),
        Conv(width * expansion("bottleneck"), 1),
    )


def _darknet(
    arch: Architecture, width: int, position: int, geometry: _Geometry
) -> tuple[Conv, ...]:
    stride, dilation = geometry.at(position, 0)
    return Conv(max(width // 2, 1), 1), Conv(width, 3, stride, dilation)


def _conv(
    arch: Architecture, width: int, position: int, geometry: _Geometry
) -> tuple[Conv, ...]:
    stride, dilation = geometry.at(position, 0)
    return (Conv(width, 3, stride, dilation),)


def _alternating(
    arch: Architecture, width: int, position: int, geometry: _Geometry
) -> tuple[Conv, ...]:
    if position % 2:
        return (Conv(max(width // 2, 1), 1),)
    return _conv(arch, width, position, geometry)


_CONVS = {
    "basic": _basic,
    "bottleneck": _bottleneck,
    "darknet": _darknet,
    "conv": _conv,
    "alternating": _alternating,
}
