"""Convolutions with weights of 4 bits stored as such, two a byte, in an int8 TFLite file.

LiteRT (and its version for microcontrollers) computes with them as it does with int8, to
the last bit in its built-in kernels; XNNPACK has no convolution of them. Hence half the
file, and several times the latency on a processor that XNNPACK knows: there the storage
in `fully_connected` is the better one.
"""

import copy
from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner

# Versions of the operators that read int4, by TensorFlow's op_version.cc.
_VERSIONS = {"CONV_2D": 7, "FULLY_CONNECTED": 10}
# Of several scales; runtimes that know no such version refuse it, as they should.
PER_CHANNEL = 12
LARGEST = 7
# What names of tensors end in that a layer with a kernel makes.
_OF_KERNELS = ("/BiasAdd", "/convolution", "/MatMul")


def store(content: Any) -> tuple[bytes, dict[str, str]]:
    """An int8 file with kernels from -7 to 7 stored in half the space.

    Kernels with larger values, and those of int16 activations, stay as they are.

    Args:
        content: bytes of the file.

    Returns:
        (bytes, what the layers became by their name).
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
    """int8 values from -8 to 7 as bytes of two, the first in the lower half.

    Example:
        >>> nibbles(np.array([1, -1, 7], "int8")).tolist()
        [241, 7]
    """
    halves = np.append(values, np.zeros(len(values) % 2, "int8")).astype("uint8") & 15
    return halves[0::2] | halves[1::2] << 4


class Int4Editor(file_editor.Editor):
    """A file whose kernels of 4 bits are found and stored."""

    def is_int8(self, index: int) -> bool:
        """Whether a tensor is int8."""
        return bool(self.graph.tensors[index].type == self.schema.TensorType.INT8)

    def has_4_bits(self, op: Any) -> bool:
        """Whether an operator of int8 activations has a kernel from -7 to 7."""
        if self.code(op) not in _VERSIONS or not self.is_int8(op.inputs[0]):
            return False
        # An engine may have stored it so already.
        if self.graph.tensors[op.inputs[1]].type == self.schema.TensorType.INT4:
            return True
        data = self.data(op.inputs[1]) if self.is_int8(op.inputs[1]) else None
        return data is not None and bool(np.abs(data.view("int8")).max() <= LARGEST)

    def layer(self, op: Any) -> str:
        """The name of the layer that a convolution or dense layer is."""
        name = self.graph.tensors[op.outputs[0]].name.decode()
        parts = [part for part in name.split(";") if part.endswith(_OF_KERNELS)]
        found = tflite_runner.layer_name(parts[0] if parts else name)
        return name if found == tflite_runner.OUTPUT else found

    def store(self, op: Any, name: str) -> None:
        """Gives an operator its int8 kernel in half the space."""
        tensor = copy.copy(self.graph.tensors[op.inputs[1]])
        values = self.data(op.inputs[1]).view("int8")
        tensor.type = self.schema.TensorType.INT4
        tensor.buffer = self.add_buffer(nibbles(values))
        op.inputs[1] = self.add_tensor(tensor)
        version = _VERSIONS[name]
        if name == "FULLY_CONNECTED" and len(tensor.quantization.scale) > 1:
            version = PER_CHANNEL
        op.opcodeIndex = self.operator_code(name, version)
