"""Stores the 4-bit weights of an int8 TFLite file in 4 bits, two per byte; or in 2.

The built-in kernels of LiteRT (and of LiteRT for microcontrollers) compute the same results
as with int8, to the last bit. XNNPACK has no convolution of int4 weights: the file is half
as large, but several times slower on a CPU that XNNPACK supports. Use the storage of
`fully_connected` there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner

# Versions of the operators that read int4, by TensorFlow's op_version.cc.
_VERSIONS = {"CONV_2D": 7, "FULLY_CONNECTED": 10}
# FULLY_CONNECTED with one scale per channel: older runtimes refuse this version.
PER_CHANNEL = 12
# FULLY_CONNECTED with int2 weights.
TWO_BITS = 14
LARGEST = 7
# Endings of the names of the tensors that a layer with a kernel outputs.
_OF_KERNELS = ("/BiasAdd", "/convolution", "/MatMul")


def store(content: Any) -> tuple[bytes, dict[str, str]]:
    """Stores kernels whose values are from -7 to 7 in half the space.

    Kernels with larger values, and those of int16 activations, stay as they are.

    Args:
        content: bytes of an int8 file.

    Returns:
        (bytes, layer name -> how its weights are stored).
    """
    editor = Int4Editor(content)
    layers = {}
    for op in editor.graph.operators:
        name = editor.code(op)
        if editor.has_4_bits(op):
            layers[editor.layer(op)] = f"{name} int4"
            if editor.is_int8(op.inputs[1]):
                editor.store(op, name)
    return editor.finished(), layers


def nibbles(values: np.ndarray) -> np.ndarray:
    """Packs int8 values from -8 to 7 two per byte, the first in the lower half.

    Example:
        >>> nibbles(np.array([1, -1, 7], "int8")).tolist()
        [241, 7]
    """
    halves = np.append(values, np.zeros(len(values) % 2, "int8")).astype("uint8") & 15
    return halves[0::2] | halves[1::2] << 4


def quarters(values: np.ndarray) -> np.ndarray:
    """Packs int8 values from -2 to 1 four per byte, the first in the lowest bits.

    Args:
        values: as many as fill whole bytes.

    Example:
        >>> quarters(np.array([1, -1, 0, 1], "int8")).tolist()
        [77]
    """
    parts = values.astype("uint8").reshape(-1, 4) & 3
    return np.bitwise_or.reduce(parts << np.array([0, 2, 4, 6], "uint8"), axis=1)


class Int4Editor(file_editor.Editor):
    """A file whose 4-bit kernels are stored in 4 bits."""

    def has_4_bits(self, op: Any) -> bool:
        """Whether an operator of int8 activations has a kernel of 4 bits."""
        if self.code(op) not in _VERSIONS or not self.is_int8(op.inputs[0]):
            return False
        # An engine may have written it in 4 bits.
        if self.graph.tensors[op.inputs[1]].type == self.schema.TensorType.INT4:
            return True
        data = self.data(op.inputs[1]) if self.is_int8(op.inputs[1]) else None
        return data is not None and bool(np.abs(data.view("int8")).max() <= LARGEST)

    def has_2_bits(self, op: Any) -> bool:
        """Whether a kernel of int8 is from -1 to 1, and fills whole bytes a row."""
        if not self.is_int8(op.inputs[1]):
            return False
        values = self.data(op.inputs[1]).view("int8")
        # XNNPACK needs whole bytes in a row.
        row = len(values) // int(self.graph.tensors[op.inputs[1]].shape[0])
        return row % 4 == 0 and bool(np.abs(values).max() <= 1)

    def layer(self, op: Any) -> str:
        """The name of the layer that an operator came from."""
        name = self.graph.tensors[op.outputs[0]].name.decode()
        parts = [part for part in name.split(";") if part.endswith(_OF_KERNELS)]
        layer = tflite_runner.layer_name(parts[0] if parts else name)
        return name if layer == tflite_runner.OUTPUT else layer

    def store(self, op: Any, name: str, bits: int = 4) -> None:
        """Stores the int8 kernel of an operator in half the space, or a quarter."""
        tensor = self.store_kernel(op, bits=bits)
        version = _VERSIONS[name]
        if name == "FULLY_CONNECTED" and len(tensor.quantization.scale) > 1:
            version = PER_CHANNEL
        self.become(op, name, version if bits == 4 else TWO_BITS)

    def store_kernel(
        self, op: Any, shape: Sequence[int] | None = None, bits: int = 4
    ) -> Any:
        """Stores an int8 kernel in 4 bits, or 2; returns its `TensorT`."""
        pack, name = {4: (nibbles, "INT4"), 2: (quarters, "INT2")}[bits]
        values = pack(self.data(op.inputs[1]).view("int8"))
        tensor = self.replace_constant(op, 1, values, shape)
        tensor.type = getattr(self.schema.TensorType, name)
        return tensor
