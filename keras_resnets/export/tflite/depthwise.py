"""Rewrites a BN that no convolution takes up as a depthwise 1x1 convolution.

A BN in front of the activation of a convolution (He et al. 2016, arXiv:1603.05027) cannot
be folded; the converter writes it as MUL and ADD of int8 constants. One DEPTHWISE_CONV_2D
does not round the product to 8 bits, and reads and writes the feature map once: fewer
cycles on an NPU, less time in XNNPACK (`benchmarks/depthwise_bn.py`).

Quantization-aware networks have this operator already, see
`quantization.qat.layers.QuantizedAffine`; this module is for files that the converter
calibrates.
"""

from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor

# The largest bias, which leaves room up to 2^31 for the products added to it.
_LARGEST = 1 << 30


def rewrite(content: Any) -> bytes | None:
    """Joins each MUL and ADD of constants per channel to one depthwise convolution.

    Args:
        content: bytes of an int8 TFLite file.

    Returns:
        The bytes of the changed file; None if there is nothing to change.
    """
    editor = _Editor(content)
    return editor.finished() if editor.apply() else None


def folded(
    factor: np.ndarray, offset: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(int8 kernel, int32 bias, scales of the kernel) of `factor * x + offset`.

    Args:
        factor: one value per channel.
        offset: one value per channel.
        scale: quantization scale of x.

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
    def apply(self) -> bool:
        """Makes the changes; returns whether there were any."""
        before = len(self.graph.operators)
        for add in list(self.graph.operators):
            mul = self._factor_of(add)
            if mul is not None:
                self._join(mul, add)
                self.graph.operators.remove(mul)
        return len(self.graph.operators) < before

    def _factor_of(self, add: Any) -> Any:
        """Returns the MUL that feeds an ADD of a constant, or None."""
        if self.code(add) != "ADD" or not self._is_by_channel(add):
            return None
        product = self._split(add)[0]
        readers = [op for op in self.graph.operators if product in op.inputs]
        producers = [op for op in self.graph.operators if product in op.outputs]
        if len(readers) != 1 or not producers or product in self.graph.outputs:
            return None
        (mul,) = producers
        is_product = self.code(mul) == "MUL" and self._is_by_channel(mul)
        none = self.schema.ActivationFunctionType.NONE
        if not is_product or mul.builtinOptions.fusedActivationFunction != none:
            return None
        return mul

    def _split(self, op: Any) -> tuple[int, int]:
        """(computed input, constant input) of an operator with two inputs."""
        computed, constant = op.inputs
        if self.data(constant) is None:
            computed, constant = constant, computed
        return computed, constant

    def _is_by_channel(self, op: Any) -> bool:
        """Whether an operator takes an int8 feature map and a constant per channel."""
        computed, constant = self._split(op)
        if self.data(constant) is None or self.data(computed) is not None:
            return False
        image, values = self.graph.tensors[computed], self.graph.tensors[constant]
        int8 = self.schema.TensorType.INT8
        is_map = len(image.shape) == 4 and image.type == values.type == int8
        return is_map and int(np.prod(values.shape)) == image.shape[3]

    def _real(self, index: int) -> np.ndarray:
        """The dequantized values of a constant with one scale."""
        quantization = self.graph.tensors[index].quantization
        values = self.data(index).view("int8").astype("float64")
        return (values - quantization.zeroPoint[0]) * quantization.scale[0]

    def _join(self, mul: Any, add: Any) -> None:
        """Turns the ADD into the convolution that computes both."""
        image, factor = self._split(mul)
        _, offset = self._split(add)
        scale = float(self.graph.tensors[image].quantization.scale[0])
        kernel, bias, scales = folded(self._real(factor), self._real(offset), scale)
        add.inputs = [
            image,
            self._constant(factor, kernel[None, None, None], scales, 3),
            self._constant(offset, bias, scale * scales, 0),
        ]
        options = self.options(
            "DepthwiseConv2D",
            padding=self.schema.Padding.VALID,
            strideW=1,
            strideH=1,
            depthMultiplier=1,
            dilationHFactor=1,
            dilationWFactor=1,
            fusedActivationFunction=add.builtinOptions.fusedActivationFunction,
        )
        self.become(add, "DEPTHWISE_CONV_2D", 3, options)

    def _constant(
        self, named: int, values: np.ndarray, scales: np.ndarray, axis: int
    ) -> int:
        """Adds a constant with one scale per channel; it takes a tensor's name."""
        quantization = file_editor.symmetric(self.schema, scales, axis)
        name = self.graph.tensors[named].name.decode()
        return self.add_constant(name, values, quantization)
