"""The number formats of exported files, and the old names of recipes."""

import dataclasses
import warnings
from collections.abc import Sequence

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The allowed differences of a file; None: not judged.

    `probability` is the largest absolute difference of outputs in [0, 1]; it is
    `per_logit` times the largest logit where that is more. `relative` is the largest
    difference of logits or features over their largest value, `cosine` and `sqnr` (dB)
    the minimum for logits or features.
    """

    probability: float | None = None
    per_logit: float = 0.0
    relative: float | None = None
    cosine: float | None = None
    sqnr: float | None = None


@dataclasses.dataclass(frozen=True)
class NumberFormat:
    """The number format in which a file computes.

    Attributes:
        name: in passports and reports.
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
# thousand may be at the edge of its range. The bounds hold for the deepest untrained
# networks too (ResNet-200-V2: 17 dB, cosine 0.968); a wrong graph gives about 0 dB.
#
# float32 rounds in proportion to a value, and a probability changes by at most half of the
# largest change of a logit: 1e-6 allows for 2e-6 of the largest logit. Logits of two
# runtimes differ by 0.5e-6 (ResNet-8) to 2.6e-6 (ResNet-110-V2) of it.
_FLOAT32 = Tolerance(probability=1e-5, per_logit=1e-6, relative=1e-4)
_ALL = (
    NumberFormat("none", "float32", _FLOAT32),
    NumberFormat("float16", "float16", Tolerance(relative=1e-2)),
    NumberFormat("dynamic", "dynamic", Tolerance(cosine=0.99, sqnr=15.0)),
    NumberFormat("int8", "int8", Tolerance(cosine=0.95, sqnr=10.0), True, True),
    NumberFormat("int16x8", "int16x8", Tolerance(cosine=0.99, sqnr=15.0), True, True),
)
# The types of inputs and outputs of an int8 file.
IO_DTYPES = ("int8", "uint8", "float32")
NUMBER_FORMATS = {number_format.name: number_format for number_format in _ALL}


# What every command and function calls a file that is not quantized; the other words are
# the names of `recipes.RECIPES`.
FLOAT32 = "float32"
# What exporters called a recipe by, when they had words of their own.
OLD_WORDS = {
    "none": FLOAT32,
    "dynamic": "dynamic_wi8",
    "int8": "static_wi8_ai8",
    "int16x8": "static_wi8_ai16",
}


def check_recipe(recipe: object, allowed: Sequence[str]) -> None:
    """Raises `InvalidArgument` unless `recipe` is allowed; names the new name of an old.

    Args:
        recipe: name of a recipe.
        allowed: names of the recipes that are allowed.
    """
    new = OLD_WORDS.get(recipe) if isinstance(recipe, str) else None
    if new in allowed and recipe not in allowed:
        raise InvalidArgument(f"recipe {recipe!r} is {new!r} now")
    check_choice("recipe", recipe, tuple(allowed))


def current_recipe(
    recipe: object,
    allowed: Sequence[str],
    per_tensor: bool = False,
    stacklevel: int = 3,
) -> str:
    """Returns the recipe of a name; an old name gives a warning, in this version only.

    Args:
        recipe: name of a recipe, or an old name.
        allowed: names of the recipes that are allowed.
        per_tensor: the old way to ask for a recipe that ends in `_per_tensor`.
        stacklevel: see `warnings.warn`.

    Raises:
        InvalidArgument: it is not the name of an allowed recipe.
    """
    new = OLD_WORDS.get(recipe) if isinstance(recipe, str) else None
    if new not in allowed:
        check_recipe(recipe, allowed)
        new = str(recipe)
    if per_tensor and f"{new}_per_tensor" in allowed:
        new = f"{new}_per_tensor"
    if new != recipe:
        old_name = f"recipe {recipe!r}{' with per_tensor=True' if per_tensor else ''}"
        warnings.warn(f"{old_name} is {new!r} now", DeprecationWarning, stacklevel)
    return str(new)


def find(quantize: str, allowed: Sequence[str] = tuple(NUMBER_FORMATS)) -> NumberFormat:
    """The `NumberFormat` of a name.

    Args:
        quantize: its name.
        allowed: the names that may be given; by default all.

    Raises:
        InvalidArgument: another value.

    Example:
        >>> find("none").title, find("int8").calibrated
        ('float32', True)
    """
    check_choice("quantize", quantize, allowed)
    return NUMBER_FORMATS[quantize]
