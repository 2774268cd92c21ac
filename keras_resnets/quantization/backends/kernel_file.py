"""Replaces the integers, scales and biases of kernels in an int8 TFLite file.

The candidates of a search differ in the kernels of a few layers. Its files are edits of
one converted file, as those of `mixed_file` are.
"""

import copy
import typing
from collections.abc import Mapping

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.quantization import operators
from keras_resnets.quantization.backends import mixed_file
from keras_resnets.quantization.rounding.kernels import Rounded


def with_kernels(
    content: bytes, graph: operators.Graph, kernels: Mapping[str, Rounded]
) -> bytes:
    """Replaces the kernels of some operators; returns the bytes of the file.

    Args:
        content: bytes of the int8 file of a frozen model.
        graph: the `operators.Graph` of that model.
        kernels: the rounded kernel of a layer, by name of its operator.

    Raises:
        ExportError: the file does not have the expected operators.
    """
    return _Kernels(content, graph).run(kernels) if kernels else content


def editable(content: bytes, graph: operators.Graph) -> dict[str, str]:
    """Returns a dict from layer to operator, by name, of the replaceable kernels."""
    editor = _Kernels(content, graph)
    return {
        x.weights.name: x.name
        for x in graph.operators
        if x.name in editor.found and editor.is_kernel(editor.found[x.name])
    }


class _Kernels(mixed_file.Named):
    def is_kernel(self, op: typing.Any) -> bool:
        """Returns whether an operator has a constant kernel and a constant bias."""
        if self.code(op) not in mixed_file.TURNS or len(op.inputs) < 3:
            return False
        return all(self.data(index) is not None for index in op.inputs[1:3])

    def run(self, kernels: Mapping[str, Rounded]) -> bytes:
        """Applies the changes; returns the bytes of the file."""
        for name, rounded in kernels.items():
            if name not in self.found or not self.is_kernel(self.found[name]):
                raise ExportError(f"the file has no kernel of {name}")
            self._give(self.found[name], rounded)
        return self.finished()

    def _give(self, op: typing.Any, rounded: Rounded) -> None:
        integers = np.rint(rounded.kernel / rounded.steps).astype("int8")
        integers = integers.transpose(mixed_file.TURNS[self.code(op)])
        if list(integers.shape) != list(self.graph.tensors[op.inputs[1]].shape):
            raise ExportError("a kernel of the file has another shape than its layer")
        steps = np.atleast_1d(rounded.steps).astype("float32")
        source = self.graph.tensors[op.inputs[0]].quantization.scale[0]
        products = steps * np.float32(source)
        bias = np.rint(rounded.bias.astype("float64") / products).astype("int32")
        for place, values, scale in ((1, integers, steps), (2, bias, products)):
            tensor = self.replace_constant(op, place, values)
            tensor.quantization = copy.copy(tensor.quantization)
            tensor.quantization.scale = scale
            tensor.quantization.zeroPoint = np.zeros(len(scale), "int64")
