"""The number formats of exported files: the values of `quantize`."""

import dataclasses
from collections.abc import Sequence

from keras_resnets.errors import check_choice


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The allowed differences of a file; None: not judged.

    `probability` is the largest absolute difference of outputs in [0, 1],
    `relative` that of logits or features over their largest value, `cosine` and
    `sqnr` (dB) the minimum for logits or features.
    """

    probability: float | None = None
    relative: float | None = None
    cosine: float | None = None
    sqnr: float | None = None


@dataclasses.dataclass(frozen=True)
class NumberFormat:
    """The number format in which a file computes.

    Attributes:
        name: the value of `quantize`, in passports, reports and on the command line.
        title: its name in messages.
        tolerance: the allowed differences of such a file from its model.
        calibrated: whether its activation ranges come from images.
        integer: whether it computes only in integers.
    """

    name: str
    title: str
    tolerance: Tolerance
    calibrated: bool = False
    integer: bool = False


# Integer formats are judged by noise, not by the largest error: one value in a
# thousand may be at the edge of its range. The bounds hold for the deepest untrained
# networks too (ResNet-200-V2: 17 dB, cosine 0.968); a wrong graph gives about 0 dB.
_ALL = (
    NumberFormat("none", "float32", Tolerance(probability=1e-5, relative=1e-4)),
    NumberFormat("float16", "float16", Tolerance(relative=1e-2)),
    NumberFormat("dynamic", "dynamic", Tolerance(cosine=0.99, sqnr=15.0)),
    NumberFormat("int8", "int8", Tolerance(cosine=0.95, sqnr=10.0), True, True),
    NumberFormat("int16x8", "int16x8", Tolerance(cosine=0.99, sqnr=15.0), True, True),
)
# The types of inputs and outputs of an int8 file.
IO_DTYPES = ("int8", "uint8", "float32")
NUMBER_FORMATS = {number_format.name: number_format for number_format in _ALL}


def find(quantize: str, allowed: Sequence[str] = tuple(NUMBER_FORMATS)) -> NumberFormat:
    """Returns the `NumberFormat` of a value of `quantize`.

    Args:
        quantize: the value.
        allowed: the allowed values; by default all.

    Raises:
        InvalidArgument: another value.

    Example:
        >>> find("none").title, find("int8").calibrated
        ('float32', True)
    """
    check_choice("quantize", quantize, allowed)
    return NUMBER_FORMATS[quantize]
