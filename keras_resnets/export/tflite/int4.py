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

    Raises:
        ExportError: a kernel with larger values.
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
        for op in self.graph.operators:
            name = self.code(op)
            # An engine may have stored them so already.
            if name in _VERSIONS and self._is_int8(op.inputs[1]):
                self._store(op, op.inputs[1])
                op.opcodeIndex = self.operator_code(name, _VERSIONS[name])
        return self.finished()

    def _is_int8(self, index):
        return self.graph.tensors[index].type == self.schema.TensorType.INT8

    def _store(self, op, index):
        tensor = copy.copy(self.graph.tensors[index])
        values = self.data(index).view("int8")
        if np.abs(values).max() > _LARGEST:
            raise ExportError(
                f"{tensor.name.decode()} has weights of more than 4 bits: int4 stores "
                "those of a 4-bit recipe alone; nothing was written"
            )
        tensor.type = self.schema.TensorType.INT4
        tensor.buffer = self.add_buffer(nibbles(values))
        op.inputs[1] = self.add_tensor(tensor)
