"""What quantization means, as data: names that decode into bits and ranges."""

import dataclasses
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_positive_int
from keras_resnets.errors import shown
from keras_resnets.export import number_formats

# How activation ranges move while a quantization-aware model is trained.
ACTIVATION_RANGES = ("moving_average", "learned")
# Where those of the weights come from.
WEIGHT_RANGES = ("max", "learned")
# How a kernel becomes integers after training; see quantization/rounding.
ROUNDINGS = ("nearest", "second-order", "learned")
# Steps of gradient for each residual block.
ROUNDING_STEPS = 1000
# Bits that weights and activations may have, by the word of `quantize`.
_BITS = {
    "int8": ((8, 4), 8),
    "int16x8": ((8,), 16),
    "dynamic": ((8,), None),
    "float16": ((None,), None),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is quantized.

    The name tells: `static` or `dynamic` ranges of the activations, `wi8` weights of 8
    bits, `ai16` activations of 16.

    Attributes:
        name: key in `RECIPES`, or one of your own.
        quantize: the format that `keras_resnets.export.to_tflite` calls it.
        weight_bits: 8, 4, or None for float16.
        activation_bits: 8, 16, or None for float.
        per_channel: one scale an output channel of a kernel, or one a kernel. The
            classifier has one in any case: TensorFlow's converter knows nothing else
            for a fully connected layer.
        activation_ranges: in training, `"moving_average"` of the batches' least and
            largest values, or `"learned"` by gradient.
        weight_ranges: `"max"`, the largest absolute value, or `"learned"`.
        trainable: whether `quantize_aware` takes it.
        rounding: by the engine `ranges`: every weight to the integer `"nearest"` to it,
            or `"second-order"`: so that the layer's outputs err least on the
            calibration images; or `"learned"`: so that those of each residual block do,
            by gradient. Training starts from the recipe's where the range of a kernel is
            learned; where it is that of the largest weight, from nearest.
        rounding_steps: of `"learned"`, for each block; None for 1,000.

    Raises:
        InvalidArgument: a value that is not allowed.

    Example:
        >>> find("static_wi8_ai8").per_channel
        True
    """

    name: str
    quantize: str = "int8"
    weight_bits: int | None = 8
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
        check_choice(f"activation_bits {under}", self.activation_bits, (activations,))
        check_choice("per_channel", self.per_channel, (True, False))
        check_choice("activation_ranges", self.activation_ranges, ACTIVATION_RANGES)
        check_choice("weight_ranges", self.weight_ranges, WEIGHT_RANGES)
        check_choice("trainable", self.trainable, (True, False))
        check_choice("rounding", self.rounding, ROUNDINGS)
        self._check_steps()
        if self.rounding != "nearest" and self.quantize != "int8":
            raise InvalidArgument(
                f"rounding={self.rounding!r} is of int8 recipes; {self.name} is "
                f"{self.quantize}"
            )
        if self.trainable and self.activation_bits != 8:
            raise InvalidArgument(
                "quantization-aware training is of activations with 8 bits; got "
                f"activation_bits={self.activation_bits}: trainable must be False"
            )

    def _check_steps(self) -> None:
        if self.rounding_steps is None:
            return
        check_positive_int("rounding_steps", self.rounding_steps)
        if self.rounding != "learned":
            raise InvalidArgument(
                "rounding_steps is of rounding='learned'; the rounding is "
                f"{self.rounding!r}"
            )

    def with_rounding(self, rounding: str | None, steps: int | None = None) -> "Recipe":
        """The same recipe with another rounding; with its own for None.

        Args:
            rounding: one of `ROUNDINGS`.
            steps: `rounding_steps`; None keeps those of the same rounding.
        """
        if steps is None and rounding in (None, self.rounding):
            return self
        return self.replace(rounding=rounding or self.rounding, rounding_steps=steps)

    def replace(self, **changes: typing.Any) -> "Recipe":
        """The same recipe but for `changes`."""
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
    # With 15 values a weight, the largest one must not decide where the others lie.
    Recipe(
        name="static_wi4_ai8",
        weight_bits=4,
        activation_ranges="learned",
        weight_ranges="learned",
        rounding="second-order",
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}


def find(recipe: str | Recipe) -> Recipe:
    """The `Recipe` of a name, or the one that was given.

    Raises:
        InvalidArgument: a name that is no recipe's.
    """
    if isinstance(recipe, Recipe):
        return recipe
    number_formats.check_recipe(recipe, tuple(RECIPES))
    return RECIPES[recipe]


def format_of(recipe: str) -> number_formats.NumberFormat:
    """The `NumberFormat` of a recipe's file, by the name of the recipe.

    Example:
        >>> format_of("static_wi8_ai8").name, format_of("float32").title
        ('int8', 'float32')
    """
    if recipe == number_formats.FLOAT32:
        return number_formats.NUMBER_FORMATS["none"]
    return number_formats.NUMBER_FORMATS[RECIPES[recipe].quantize]
