"""The recipes of quantization: THE TABLE, a row each."""

import dataclasses
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import shown
from keras_resnets.export import number_formats

# How quantization-aware training updates activation ranges.
ACTIVATION_RANGES = ("moving_average", "learned")
# How it determines weight ranges.
WEIGHT_RANGES = ("max", "learned")
# How kernels are rounded after training; see quantization/rounding.
ROUNDINGS = ("nearest", "second-order", "learned")
# Gradient steps per residual block.
ROUNDING_STEPS = 1000
# Allowed bits of (weights, activations) by number format.
_BITS = {
    "int8": ((8, 4, 2), 8),
    "int16x8": ((8,), 16),
    "dynamic": ((8,), None),
    "float16": ((None,), None),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A quantization recipe: the precision of weights and activations.

    In the names of recipes, `static` and `dynamic` are the kinds of activation ranges,
    `wi8` means 8-bit integer weights, `ai16` 16-bit integer activations.

    Attributes:
        name: key in `RECIPES`, or a name of your own.
        quantize: name of the number format of its files, see `NUMBER_FORMATS`.
        weight_bits: 8, 4, 2, or None for float16.
        end_bits: 8 if the first kernel and the classifier have more bits than
            `weight_bits`; None if they have the same.
        activation_bits: 8, 16, or None for float.
        per_channel: whether each output channel of a kernel has its own scale. The
            classifier always has a single one, since TensorFlow's converter supports
            nothing else for a fully connected layer.
        activation_ranges: in training, `"moving_average"` of the minima and maxima of
            batches, or `"learned"` by gradient.
        weight_ranges: in training, `"max"`, the largest absolute value, or `"learned"`.
        trainable: whether `quantize_aware` takes it.
        rounding: how the engine `ranges` rounds kernels: to `"nearest"`;
            `"second-order"`, to minimize the error of each layer's outputs on the
            calibration images; or `"learned"`, to minimize that of each residual block,
            by gradient. Training starts from this rounding if weight ranges are
            learned, otherwise from nearest.
        rounding_steps: gradient steps per block of `"learned"`; None for 1,000.

    Raises:
        InvalidArgument: a value that is not allowed.

    Example:
        >>> find("static_wi8_ai8").per_channel
        True
    """

    name: str
    quantize: str = "int8"
    weight_bits: int | None = 8
    end_bits: int | None = None
    activation_bits: int | None = 8
    per_channel: bool = True
    activation_ranges: str = "moving_average"
    weight_ranges: str = "max"
    trainable: bool = True
    rounding: str = "nearest"
    rounding_steps: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isprintable():
            raise InvalidArgument(
                f"the name of a recipe must be printable text; got {shown(self.name)}"
            )
        check_choice("quantize", self.quantize, tuple(_BITS))
        weights, activations = _BITS[self.quantize]
        under = f"under quantize={self.quantize!r}"
        check_choice(f"weight_bits {under}", self.weight_bits, weights)
        check_choice("end_bits", self.end_bits, (None, 8))
        check_choice(f"activation_bits {under}", self.activation_bits, (activations,))
        check_choice("per_channel", self.per_channel, (True, False))
        check_choice("activation_ranges", self.activation_ranges, ACTIVATION_RANGES)
        check_choice("weight_ranges", self.weight_ranges, WEIGHT_RANGES)
        check_choice("trainable", self.trainable, (True, False))
        check_choice("rounding", self.rounding, ROUNDINGS)
        self._check_steps()
        if self.rounding != "nearest" and self.quantize != "int8":
            raise InvalidArgument(
                f"rounding={self.rounding!r} requires an int8 recipe; {self.name} is "
                f"{self.quantize}"
            )
        if self.trainable and self.activation_bits != 8:
            raise InvalidArgument(
                "quantization-aware training requires activation_bits=8; got "
                f"{self.activation_bits}: trainable must be False"
            )

    def _check_steps(self) -> None:
        if self.rounding_steps is None:
            return
        check_positive_int("rounding_steps", self.rounding_steps)
        if self.rounding != "learned":
            raise InvalidArgument(
                f"rounding_steps requires rounding='learned'; got {self.rounding!r}"
            )

    def with_rounding(self, rounding: str | None, steps: int | None = None) -> "Recipe":
        """Returns the recipe with another rounding; None keeps its own.

        Args:
            rounding: one of `ROUNDINGS`.
            steps: the `rounding_steps`; None keeps them if the rounding is the same.
        """
        if steps is None and rounding in (None, self.rounding):
            return self
        return self.replace(rounding=rounding or self.rounding, rounding_steps=steps)

    def replace(self, **changes: typing.Any) -> "Recipe":
        """Returns a copy of the recipe with `changes`."""
        return dataclasses.replace(self, **changes)


_ALL = (
    Recipe(
        name="float16",
        quantize="float16",
        weight_bits=None,
        activation_bits=None,
        trainable=False,
    ),
    Recipe(
        name="dynamic_wi8", quantize="dynamic", activation_bits=None, trainable=False
    ),
    Recipe(name="static_wi8_ai8"),
    # One scale is coarse for most channels: there it helps at 8 bits too.
    Recipe(
        name="static_wi8_ai8_per_tensor", per_channel=False, rounding="second-order"
    ),
    Recipe(
        name="static_wi8_ai16", quantize="int16x8", activation_bits=16, trainable=False
    ),
    Recipe(
        name="static_wi8_ai16_per_tensor",
        quantize="int16x8",
        activation_bits=16,
        per_channel=False,
        trainable=False,
    ),
    # With 15 values per weight, the largest one must not decide where the others lie.
    Recipe(
        name="static_wi4_ai8",
        weight_bits=4,
        activation_ranges="learned",
        weight_ranges="learned",
        rounding="second-order",
    ),
    # The classifier has one scale for all outputs; in most files the first kernel is
    # stored as int8 anyway.
    Recipe(
        name="static_wi4_ai8_ends_wi8",
        weight_bits=4,
        end_bits=8,
        activation_ranges="learned",
        weight_ranges="learned",
        rounding="second-order",
    ),
    # With 3 values per weight, the first kernel and the classifier lose most.
    Recipe(
        name="static_wi2_ai8",
        weight_bits=2,
        end_bits=8,
        activation_ranges="learned",
        weight_ranges="learned",
        trainable=False,
        rounding="second-order",
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}


def find(recipe: str | Recipe) -> Recipe:
    """Returns the `Recipe` with a name; a `Recipe` is returned itself.

    Raises:
        InvalidArgument: there is no recipe with this name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    number_formats.check_recipe(recipe, tuple(RECIPES))
    return RECIPES[recipe]


def format_of(recipe: str) -> number_formats.NumberFormat:
    """Returns the `NumberFormat` of the files of a recipe, by its name.

    Example:
        >>> format_of("static_wi8_ai8").name, format_of("float32").title
        ('int8', 'float32')
    """
    if recipe == number_formats.FLOAT32:
        return number_formats.NUMBER_FORMATS["none"]
    return number_formats.NUMBER_FORMATS[RECIPES[recipe].quantize]
