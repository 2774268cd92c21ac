"""Weights of 4 bits stored as such, two a byte, in an int8 TFLite file.

LiteRT (and its version for microcontrollers) computes with them as it does with int8, to
the last bit in its built-in kernels; XNNPACK has no convolution of them. Hence half the
file, and several times the latency on a processor that XNNPACK knows.
"""

import copy

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export.tflite import file_editor

# Versions of the operators that read int4, by TensorFlow's op_version.cc.
_VERSIONS = {"CONV_2D": 7, "FULLY_CONNECTED": 10}
_LARGEST = 7


def store(content):
    """The bytes of an int8 file with kernels from -7 to 7 stored in half the space.

    Kernels with larger values, and those of int16 activations, stay as they are.

    Raises:
        ExportError: no kernel that fits.
    """
    return _Editor(content).run()


def nibbles(values):
    """int8 values from -8 to 7 as bytes of two, the first in the lower half.

    Example:
        >>> nibbles(np.array([1, -1, 7], "int8")).tolist()
        [241, 7]
    """
    halves = np.append(values, np.zeros(len(values) % 2, "int8")).astype("uint8") & 15
    return halves[0::2] | halves[1::2] << 4


class _Editor(file_editor.Editor):
    def run(self):
        stored = 0
        for op in self.graph.operators:
            name = self.code(op)
            # An engine may have stored them so already.
            if name in _VERSIONS and all(map(self._is_int8, op.inputs[:2])):
                stored += self._store(op, name)
        if not stored and not self._has_int4():
            raise ExportError(
                "no kernel of the file has weights of 4 bits: int4 stores those of a "
                "4-bit recipe; nothing was written"
            )
        return self.finished()

    def _is_int8(self, index):
        return self.graph.tensors[index].type == self.schema.TensorType.INT8

    def _has_int4(self):
        int4 = self.schema.TensorType.INT4
        return any(tensor.type == int4 for tensor in self.graph.tensors)

    def _store(self, op, name):
        """Whether the kernel of an operator fits, and is stored."""
        index = op.inputs[1]
        tensor = copy.copy(self.graph.tensors[index])
        values = self.data(index).view("int8")
        if np.abs(values).max() > _LARGEST:
            return False
        tensor.type = self.schema.TensorType.INT4
        tensor.buffer = self.add_buffer(nibbles(values))
        op.inputs[1] = self.add_tensor(tensor)
        op.opcodeIndex = self.operator_code(name, _VERSIONS[name])
        return True
