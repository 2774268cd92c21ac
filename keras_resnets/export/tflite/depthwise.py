"""A batch normalization that stands alone as a depthwise 1x1 convolution.

In front of a convolution's activation (He et al. 2016, arXiv:1603.05027) BN cannot be
folded; the converter writes it as MUL and ADD of int8 constants. As one DEPTHWISE_CONV_2D
what is between the two is no longer rounded to 8 bits, and the map is read and written
once: fewer cycles on an NPU, less time in XNNPACK (`benchmarks/depthwise_bn.py`).

Networks that know their ranges have that operator of themselves, see
`quantization.qat.layers.QuantizedAffine`; this is for what a converter calibrates.
"""

from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor

# Of a bias: room to 2^31 for the products that are added to it.
_LARGEST = 1 << 30


def rewrite(content: Any) -> bytes | None:
    """An int8 file whose MUL and ADD of constants a channel are one convolution.

    Args:
        content: bytes of a TFLite file.

    Returns:
        The bytes of the changed file; None where there is nothing to change.
    """
    editor = _Editor(content)
    return editor.finished() if editor.run() else None


def folded(
    factor: np.ndarray, offset: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(int8 kernel, int32 bias, scales of the kernel) of `factor * x + offset`.

    Args:
        factor: of each channel.
        offset: of each channel.
        scale: of x.

    Example:
        >>> kernel, _, scales = folded(np.array([2.0, -1.0]), np.array([1.0, 0.5]), 0.1)
        >>> kernel.tolist(), (kernel * scales).tolist()
        ([127, -127], [2.0, -1.0])
    """
    least = np.abs(offset) / (scale * _LARGEST)
    scales = np.maximum(np.maximum(np.abs(factor) / 127, least), 1e-12)
    kernel = np.rint(factor / scales).astype("int8")
    bias = np.rint(offset / (scale * scales)).astype("int32")
    return kernel, bias, scales


class _Editor(file_editor.Editor):
    def run(self) -> bool:
        """Makes the changes; whether there was one."""
        before = len(self.graph.operators)
        for add in list(self.graph.operators):
            mul = self._factor_of(add)
            if mul is not None:
                self._join(mul, add)
                self.graph.operators.remove(mul)
        return len(self.graph.operators) < before

    def _factor_of(self, add: Any) -> Any:
        """The MUL that an ADD of a constant stands behind; None for another operator."""
        if self.code(add) != "ADD" or not self._is_by_channel(add):
            return None
        made = self._split(add)[0]
        readers = [op for op in self.graph.operators if made in op.inputs]
        makers = [op for op in self.graph.operators if made in op.outputs]
        if len(readers) != 1 or not makers or made in self.graph.outputs:
            return None
        (mul,) = makers
        is_plain = self.code(mul) == "MUL" and self._is_by_channel(mul)
        none = self.schema.ActivationFunctionType.NONE
        if not is_plain or mul.builtinOptions.fusedActivationFunction != none:
            return None
        return mul

    def _split(self, op: Any) -> tuple[int, int]:
        """(the computed input, the constant one) of an operator of two."""
        computed, constant = op.inputs
        if self.data(constant) is None:
            computed, constant = constant, computed
        return computed, constant

    def _is_by_channel(self, op: Any) -> bool:
        """Whether an operator is of a map in int8 and one constant a channel."""
        computed, constant = self._split(op)
        if self.data(constant) is None or self.data(computed) is not None:
            return False
        image, values = self.graph.tensors[computed], self.graph.tensors[constant]
        int8 = self.schema.TensorType.INT8
        is_map = len(image.shape) == 4 and image.type == values.type == int8
        return is_map and int(np.prod(values.shape)) == image.shape[3]

    def _real(self, index: int) -> np.ndarray:
        """What a constant of one scale stands for."""
        known = self.graph.tensors[index].quantization
        values = self.data(index).view("int8").astype("float64")
        return (values - known.zeroPoint[0]) * known.scale[0]

    def _join(self, mul: Any, add: Any) -> None:
        """Makes the ADD the convolution that both are."""
        image, factor = self._split(mul)
        _, offset = self._split(add)
        scale = float(self.graph.tensors[image].quantization.scale[0])
        kernel, bias, scales = folded(self._real(factor), self._real(offset), scale)
        types = self.schema.TensorType
        add.inputs = [
            image,
            self._constant(factor, kernel[None, None, None], types.INT8, scales, 3),
            self._constant(offset, bias, types.INT32, scale * scales, 0),
        ]
        options = self.schema.DepthwiseConv2DOptionsT()
        options.padding = self.schema.Padding.VALID
        options.strideW = options.strideH = options.depthMultiplier = 1
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = add.builtinOptions.fusedActivationFunction
        add.builtinOptions = options
        add.builtinOptionsType = self.schema.BuiltinOptions.DepthwiseConv2DOptions
        add.opcodeIndex = self.operator_code("DEPTHWISE_CONV_2D", 3)

    def _constant(
        self, like: int, values: np.ndarray, kind: int, scales: np.ndarray, axis: int
    ) -> int:
        """A constant tensor of one scale a channel; its index.

        Args:
            like: index of the one whose name it takes.
            values: of it.
            kind: its `TensorType`.
            scales: of its channels.
            axis: theirs.
        """
        tensor, known = self.schema.TensorT(), self.schema.QuantizationParametersT()
        known.scale = scales.astype("float32")
        known.zeroPoint = np.zeros(len(scales), "int64")
        known.quantizedDimension = axis
        tensor.name = self.graph.tensors[like].name
        tensor.shape, tensor.type = list(values.shape), kind
        tensor.quantization, tensor.buffer = known, self.add_buffer(values)
        return int(self.add_tensor(tensor))
