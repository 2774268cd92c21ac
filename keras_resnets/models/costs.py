"""The cost of networks on a device: measured or estimated.

A script of the repository writes `costs.csv`: int8 files in LiteRT on one thread of an
AMD EPYC with AVX-512 VNNI. Every other device is estimated from its arithmetic alone
(`SPEEDS`): this gives the order of magnitude and the faster of two networks, no more.
"""

import dataclasses
import functools
import statistics
import typing

from keras_resnets.errors import check_choice
from keras_resnets.io import package_tables
from keras_resnets.models import registry
from keras_resnets.networks import extent

# Bytes of int8 files per parameter: with scales, biases, structure. resnet20 has 1.13.
_OVERHEAD = 1.15
# Networks for photos and for thumbnails reach different shares of the same arithmetic.
_PHOTO = 128


@dataclasses.dataclass(frozen=True)
class Speed:
    """The int8 speed of a target.

    Attributes:
        title: the device.
        rate: multiply-adds per second on one thread; None: as measured in `costs.csv`.
        basis: where the rate comes from.
    """

    title: str
    rate: float | None
    basis: str


# Half of the peak rate of the multipliers: kernels reach 0.3 to 0.8 of it.
SPEEDS = {
    "linux-x86": Speed(
        "Linux on x86-64 with AVX-512 VNNI, LiteRT",
        None,
        "measured on an AMD EPYC; of networks that were not, by their multiply-adds",
    ),
    "raspberry-pi": Speed(
        "Raspberry Pi 5 (Cortex-A76, 2.4 GHz), LiteRT",
        2.4e9 * 32 / 2,
        "estimated: half of 32 multiply-adds a cycle (two 128-bit dot products)",
    ),
    "raspberry-pi-4": Speed(
        "Raspberry Pi 4 (Cortex-A72, 1.5 GHz), LiteRT",
        1.5e9 * 8 / 2,
        "estimated: half of 8 multiply-adds a cycle (no dot product)",
    ),
    "microcontroller": Speed(
        "Cortex-M7 at 216 MHz, TensorFlow Lite Micro with CMSIS-NN",
        216e6 * 2 / 2,
        "estimated: half of 2 multiply-adds a cycle",
    ),
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one network on a target, as an int8 file.

    Attributes:
        name: the variant's name.
        top1: published accuracy of its default weights in percent; None if it has none.
        dataset: the weights' dataset. weights: their tag.
        input_size: height and width in pixels.
        mega_macs: millions of multiply-adds for one image.
        size: bytes of the int8 file: measured or, for other networks or numbers of
            classes, estimated from the parameters.
        ms: milliseconds for one image on one thread.
        measured: whether `ms` was measured; else it is estimated.
    """

    name: str
    top1: float | None
    dataset: str | None
    weights: str | None
    input_size: int
    mega_macs: float
    size: int
    ms: float
    measured: bool


def cost(
    name: str, target: str, classes: int | None = None, input_size: int | None = None
) -> Cost:
    """Returns the cost of a variant on a target.

    Args:
        name: see `registry.get_architecture`.
        target: a name of `SPEEDS`.
        classes: number of classes; None for the variant's default.
        input_size: height and width in pixels; None for the variant's default.

    Returns:
        A `Cost`.

    Raises:
        InvalidArgument: an unknown name or target.

    Example:
        >>> cost("resnet20", "raspberry-pi").measured
        False
    """
    check_choice("target", target, tuple(SPEEDS))
    info = registry.model_info(name)
    side = input_size or info.input_size
    macs = (info.mega_macs or 0.0) * 1e6 * (side / info.input_size) ** 2
    # The size of a file does not depend on the image size.
    row = measured_rows().get(info.name) if classes in (None, info.classes) else None
    is_timed = side == info.input_size and SPEEDS[target].rate is None
    measured = row is not None and is_timed
    if row is not None and is_timed:
        ms = float(row["ms"])
    else:
        ms = macs / (SPEEDS[target].rate or _rate(side)) * 1e3
    if row is not None:
        size = int(row["bytes"])
    else:
        count = info.classes if classes is None else classes
        network_extent = extent.check_extent(info.architecture, classes=count)
        size = round(network_extent.parameters * _OVERHEAD)
    return Cost(
        name=info.name,
        top1=info.top1,
        dataset=info.dataset,
        weights=info.weights,
        input_size=side,
        mega_macs=macs / 1e6,
        size=size,
        ms=ms,
        measured=measured,
    )


def _rate(side: int) -> float:
    """Multiply-adds per second of the measured networks for images of about this size."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for name, row in measured_rows().items():
        info = registry.published_info(name)
        rate = (info.mega_macs or 0.0) * 1e6 / (float(row["ms"]) / 1e3)
        rates[info.input_size >= _PHOTO].append(rate)
    return statistics.median(rates[side >= _PHOTO] or rates[side < _PHOTO])


@functools.cache
def measured_rows() -> dict[str, dict[str, typing.Any]]:
    """Returns the int8 rows of `costs.csv`, by variant."""
    rows = package_tables.rows_of("keras_resnets.models", "costs.csv")
    return {row["variant"]: row for row in rows if row["precision"] == "int8"}
