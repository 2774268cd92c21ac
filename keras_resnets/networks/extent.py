"""Estimates the size of a network from its axes, before anything is built.

A name (`wrn_40_100000`), an option or the metadata of a file of 1 kB can ask for a
network that exceeds any machine's memory; it is refused here, in a millisecond.
"""

import dataclasses
import typing
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import shown
from keras_resnets.networks.architecture import Architecture
from keras_resnets.networks.blueprint import Conv
from keras_resnets.networks.blueprint import Unit
from keras_resnets.networks.blueprint import walk

# ResNet-1202, the deepest published network, has 600 units.
MOST_UNITS = 1000
# 8.6 GB in float32: the largest published network of the family, BiT-M R152x4, has
# 0.94e9, and single HDF5, TFLite and ONNX files hold no more than 2 GB.
MOST_PARAMETERS = 2**31
# Per batch: 0.8 GB of RGB in float32, and 4.3 GB after a stem that outputs 64 channels
# at half the height and width.
MOST_PIXELS = 2**26


@dataclasses.dataclass(frozen=True)
class Extent:
    """The size of a network.

    Attributes:
        units: residual units, or the plain units in their place.
        parameters: values of kernels, BN (four per channel) and classifier, to 2 %.
    """

    units: int
    parameters: int


def extent(
    architecture: Architecture, channels: int = 3, classes: int | None = None
) -> Extent:
    """Returns the `Extent` of an `Architecture`, in time independent of its depth.

    Args:
        architecture: the network.
        channels: channels of its input.
        classes: classes of its classifier; None for the architecture's default, 0 for
            no top.

    Returns:
        An `Extent`; its figures are exact in units, estimated in parameters.

    Raises:
        InvalidArgument: axes that contradict each other.

    Example:
        >>> from keras_resnets import get_architecture
        >>> extent(get_architecture("resnet50")).units
        16
    """
    classes = architecture.classes if classes is None else classes
    width = architecture.stem_filters
    _check_stem(architecture)
    total = 49 * channels * width + 9 * width * width
    last = width
    # The third unit of a stage equals the fifth, the fourth the sixth.
    short = tuple(min(depth, 4 - depth % 2) for depth in architecture.depths)
    stages = walk(dataclasses.replace(architecture, depths=short))
    for depth, stage in zip(architecture.depths, stages, strict=True):
        if isinstance(stage.transition, Conv):
            _check_conv(stage.transition, stage.name)
            total += _values(stage.transition, last)
        counts = [_unit(unit) for unit in stage.units]
        total += sum(counts)
        if depth > len(counts):
            total += (depth - len(counts)) // 2 * (counts[-1] + counts[-2])
        last = stage.units[-1].out_filters
    return Extent(sum(architecture.depths), total + last * classes)


def check_extent(
    architecture: Architecture, channels: int = 3, classes: int | None = None
) -> Extent:
    """Raises `InvalidArgument` for a network that is too large to be built.

    The arguments are those of `extent`. It is called first for names, options and axes
    from files, and by the builder.

    Returns:
        The `Extent`, so that a file can be compared with its description.
    """
    units = sum(architecture.depths)
    if units > MOST_UNITS:
        raise InvalidArgument(
            f"depths must be at most {MOST_UNITS:,} units in all (ResNet-1202 has 600); "
            f"got {units:,}"
        )
    size = extent(architecture, channels, classes)
    if size.parameters > MOST_PARAMETERS:
        raise InvalidArgument(
            f"a network must have at most {MOST_PARAMETERS:,} parameters (8.6 GB as "
            f"float32); got about {size.parameters:,.3g}: {_largest(architecture)}"
            + (f", classes={classes:,}" if classes else "")
        )
    return size


def check_sides(
    architecture: Architecture, sides: Sequence[int | None], batch: int = 1
) -> None:
    """Raises `InvalidArgument` for a height or width that is too small or too large.

    Args:
        architecture: the network.
        sides: (height, width) in pixels; None if it is open.
        batch: images per batch.
    """
    smallest = architecture.minimum_size
    for side in sides:
        if side is not None:
            check_positive_int("input height and width", side)
    if any(side is not None and side < smallest for side in sides):
        near = " x ".join(str(max(side or smallest, smallest)) for side in sides)
        raise InvalidArgument(
            f"input height and width must be at least {smallest} for this network (its "
            f"output stride); got {' x '.join(map(str, sides))}: the nearest valid size "
            f"is {near}"
        )
    check_pixels(sides, batch)


def check_size(argument: str, size: typing.Any, of: str = "") -> tuple[int, int]:
    """Returns a size of images in pixels as a tuple.

    Args:
        argument: its name, for the message.
        size: (height, width), a list or tuple.
        of: what has this size, for the message: ` of the photos`.

    Raises:
        InvalidArgument: something else, or more pixels than a machine can hold.
    """
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        is_side = isinstance(size, int) and size > 0
        hint = f": write ({size}, {size})" if is_side else ""
        raise InvalidArgument(
            f"{argument} must be the (height, width){of}; got {shown(size)}{hint}"
        )
    height, width = (check_positive_int(argument, side) for side in size)
    check_pixels((height, width), argument=argument)
    return height, width


def check_pixels(
    size: Sequence[int | None], batch: int = 1, argument: str = "input height and width"
) -> None:
    """Raises `InvalidArgument` for more pixels per batch than a machine can hold.

    Args:
        size: (height, width) in pixels; None if unknown.
        batch: images per batch.
        argument: the argument's name, for the message.
    """
    height, width = (side or 1 for side in size)
    if height * width * batch <= MOST_PIXELS:
        return
    of = (
        f"{batch:,} images of {height:,} x {width:,}"
        if batch > 1
        else (f"{height:,} x {width:,}")
    )
    raise InvalidArgument(
        f"{argument} must give at most {MOST_PIXELS:,} pixels a batch (8,192 x 8,192, or "
        f"1,337 images of 224 x 224); got {of}"
    )


def _largest(architecture: Architecture) -> str:
    usual = {"widen_factor": 1, "cardinality": 1, "base_width": 64, "filters": None}
    values = {name: getattr(architecture, name) for name in usual}
    return ", ".join(
        f"{name}={shown(value)}"
        for name, value in values.items()
        if value != usual[name]
    )


def _check_stem(architecture: Architecture) -> None:
    """Raises `InvalidArgument` if a stem of three convolutions is too narrow."""
    least = {"deep": 2, "deep_tiered": 8}.get(architecture.stem_type, 1)
    if architecture.stem_filters < least:
        raise InvalidArgument(
            f"stem_filters must be at least {least} with "
            f"stem_type={architecture.stem_type!r}; got {architecture.stem_filters}"
        )


def _check_conv(conv: Conv, name: str) -> None:
    """Raises `InvalidArgument` for a convolution that no backend computes."""
    if conv.stride > 1 and conv.dilation > 1:
        raise InvalidArgument(
            "a convolution can have a stride or a dilation, not both: "
            f"{name} has stride {conv.stride} and dilation {conv.dilation}; set strides "
            "to 1 there, or first_dilations"
        )


def _unit(unit: Unit) -> int:
    total, channels = 0, unit.in_filters
    for number, conv in enumerate(unit.convs, 1):
        _check_conv(conv, f"{unit.name}_conv{number}")
        total += _values(conv, channels)
        channels = conv.filters
    if unit.shortcut.kind == "identity_pad" and unit.out_filters < unit.in_filters:
        raise InvalidArgument(
            "shortcut_type 'identity_pad' pads channels, so that no stage may be "
            f"narrower than the one before: {unit.name} has {unit.out_filters} after "
            f"{unit.in_filters}"
        )
    if unit.shortcut.projects:
        total += _values(Conv(unit.shortcut.filters, 1), unit.in_filters)
    return total


def _values(conv: Conv, channels: int) -> int:
    kernel = conv.kernel**2 * channels // conv.groups * conv.filters
    return kernel + 4 * conv.filters
