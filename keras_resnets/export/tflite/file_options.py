"""The options of a TFLite file, checked; commands import this module before TensorFlow."""

import dataclasses
import typing

from keras_resnets.errors import check_choice
from keras_resnets.export import number_formats
from keras_resnets.export.tflite import storage
from keras_resnets.export.tflite.storage import Storage


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """How a TFLite file is written, whatever makes its content.

    Attributes:
        io_dtype: type of the input and output of an int8 file: `"int8"`, `"uint8"` or
            `"float32"`.
        packed: whether int8 convolutions are rearranged by `packing`.
        storage: how 4-bit and 2-bit weights are stored.
        pooled_strides: whether strided 1x1 convolutions of int8 weights are written as a
            max pool and a convolution of stride 1.
        sparse: whether kernels with many zeros are stored without them.

    Raises:
        InvalidArgument: the type does not exist.
    """

    io_dtype: str = "int8"
    packed: bool = True
    storage: Storage = storage.DEFAULT
    pooled_strides: bool = False
    sparse: bool = False

    def __post_init__(self) -> None:
        check_choice("io_dtype", self.io_dtype, number_formats.IO_DTYPES)

    def record(self, numbers: number_formats.NumberFormat) -> dict[str, typing.Any]:
        """Returns the options that apply to a number format, for the passport."""
        facts: dict[str, typing.Any] = {}
        if self.pooled_strides:
            facts["pooled_strides"] = True
        if self.sparse:
            facts["sparse"] = True
        if numbers.name == "int8":
            facts |= {"io_dtype": self.io_dtype, "packed": self.packed}
        return facts
