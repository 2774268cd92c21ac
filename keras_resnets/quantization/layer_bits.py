"""What one layer of a precision plan is: its bits, and how much of it is zero."""

import dataclasses
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_choice
from keras_resnets.errors import check_range
from keras_resnets.errors import shown

# The precision of an operator by the bits of weights and activations.
_PRECISIONS = {
    (8, 8): "int8",
    (4, 8): "int8",
    (2, 8): "int8",
    (8, 16): "int16",
    (4, 16): "int16",
    (None, None): "float",
}


@dataclasses.dataclass(frozen=True)
class LayerBits:
    """The bits of one layer.

    Attributes:
        weight_bits: 8, 4, 2, or None for float32; 8 or None, like its activations, for a
            layer without weights.
        activation_bits: 8, 16, or None for float32.
        sparsity: share of the kernel that is zero, above 0 and below 1, in blocks of four
            weights along the inputs, which the file does not store; 0 for none. Of a
            kernel with weights and activations of 8 bits alone.

    Raises:
        InvalidArgument: TFLite has no operators with these bits, or the sparsity is not
            allowed.

    Example:
        >>> LayerBits(8, 16).precision
        'int16'
    """

    weight_bits: int | None = 8
    activation_bits: int | None = 8
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        pair = (self.weight_bits, self.activation_bits)
        # True and 8.0 are equal to whole numbers but are not allowed.
        plain = all(bits is None or type(bits) is int for bits in pair)
        if not plain or pair not in _PRECISIONS:
            allowed = ", ".join(f"{w}/{a}" for w, a in _PRECISIONS)
            quoted = any(isinstance(bits, str) for bits in pair)
            raise InvalidArgument(
                "weight_bits/activation_bits of a layer must be one of "
                f"{allowed}; got {shown(pair[0])}/{shown(pair[1])}"
                f"{'; bits are numbers without quotes' if quoted else ''}"
            )
        check_range("sparsity of a layer", self.sparsity, 0, 1, inclusive=False)
        if self.sparsity and pair != (8, 8):
            raise InvalidArgument(
                "a layer with a sparsity must have weights and activations of 8 bits; "
                f"got {pair[0]}/{pair[1]}"
            )

    @property
    def precision(self) -> str:
        """The precision of its operator: `"int8"`, `"int16"` or `"float"`."""
        return _PRECISIONS[self.weight_bits, self.activation_bits]

    def to_dict(self) -> dict[str, typing.Any]:
        """The fields as a plan's JSON has them: without a sparsity of 0."""
        fields = dataclasses.asdict(self)
        if not self.sparsity:
            del fields["sparsity"]
        return fields

    @classmethod
    def of(cls, precision: str) -> "LayerBits":
        """Returns the bits of a precision, with 8-bit weights if they are integers."""
        check_choice("precision", precision, tuple(_PRECISIONS.values()))
        return next(cls(*pair) for pair, x in _PRECISIONS.items() if x == precision)
