"""The number formats of exported files: the words of `quantize`, and what each means."""

import dataclasses
from collections.abc import Sequence

from keras_resnets.errors import check_choice


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What a file is allowed; None: not judged.

    `probability` is the largest absolute difference of outputs in [0, 1],
    `relative` that of logits or features over their largest value, `cosine` and
    `sqnr` (dB) the least for logits or features.
    """

    probability: float | None = None
    relative: float | None = None
    cosine: float | None = None
    sqnr: float | None = None


@dataclasses.dataclass(frozen=True)
class NumberFormat:
    """What a file computes in.

    Attributes:
        name: the word of `quantize`, in passports, reports and on the command line.
        title: what messages call it.
        tolerance: how far such a file may be from its model.
        calibrated: whether the ranges of its activations come from images.
        integer: whether nothing in it computes in floating point.
    """

    name: str
    title: str
    tolerance: Tolerance
    calibrated: bool = False
    integer: bool = False


# Integer formats are judged by noise, not by the largest error: one value in a
# thousand may lie at the edge of its range. The bounds hold for the deepest untrained
# networks too (ResNet-200-V2: 17 dB, cosine 0.968); a wrong graph gives about 0 dB.
_ALL = (
    NumberFormat("none", "float32", Tolerance(probability=1e-5, relative=1e-4)),
    NumberFormat("float16", "float16", Tolerance(relative=1e-2)),
    NumberFormat("dynamic", "dynamic", Tolerance(cosine=0.99, sqnr=15.0)),
    NumberFormat("int8", "int8", Tolerance(cosine=0.95, sqnr=10.0), True, True),
    NumberFormat("int16x8", "int16x8", Tolerance(cosine=0.99, sqnr=15.0), True, True),
)
# What may go into an int8 file and come out.
IO_DTYPES = ("int8", "uint8", "float32")
NUMBER_FORMATS = {number_format.name: number_format for number_format in _ALL}


def find(quantize: str, allowed: Sequence[str] = tuple(NUMBER_FORMATS)) -> NumberFormat:
    """The `NumberFormat` that a word of `quantize` names.

    Args:
        quantize: the word.
        allowed: the words that may be given; by default all.

    Raises:
        InvalidArgument: another word.

    Example:
        >>> find("none").title, find("int8").calibrated
        ('float32', True)
    """
    check_choice("quantize", quantize, allowed)
    return NUMBER_FORMATS[quantize]
