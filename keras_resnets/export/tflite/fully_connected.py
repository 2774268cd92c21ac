"""Convolutions of 4-bit weights as FULLY_CONNECTED, which XNNPACK computes as fast as int8.

XNNPACK, which LiteRT runs on phones, Raspberry Pis and PCs, takes weights of 4 bits in
FULLY_CONNECTED alone. A convolution of 1x1 and stride 1 is one over the last axis; any
other is one over `patches`, which take time to gather. So the file has those whose bytes
are worth it, by the times in `costs`; the other kernels stay int8. The numbers are those
of the int8 file, bit for bit in LiteRT's built-in kernels.
"""

import copy
import dataclasses
from typing import Any

import numpy as np

from keras_resnets.export.tflite import costs
from keras_resnets.export.tflite import int4
from keras_resnets.export.tflite import patches

# XNNPACK joins five tensors at most.
_TAPS = 5
# Bytes of an operator that gathers, with its tensors and constants, roughly.
_OPERATOR = 250
# What the latency that the table foretells may grow by.
_ALLOWED = 0.05


def store(content: Any, prefer: str = "latency") -> tuple[bytes | Any, dict[str, str]]:
    """An int8 file whose weights of 4 bits are stored so where that is worth it.

    Args:
        content: bytes of the file.
        prefer: `"latency"`, at most 5 % over that of the int8 file as `costs` has it;
            `"size"`; or `"everything"` that can be, for measurements.

    Returns:
        (bytes, what layers with weights of 4 bits became by their name).
    """
    writer = _Writer(content)
    found = writer.candidates()
    if not found:
        return content, {}
    return writer.run(found, prefer)


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    """An operator with weights of 4 bits.

    Attributes:
        op: the operator.
        shape: the `costs.Shape` of it.
        axes: (rows, columns) of a convolution; None of a dense layer.
        saved: bytes that storing it saves, the operators that gather deducted.
        fits: whether the runtime takes it so.
    """

    op: Any
    shape: costs.Shape
    axes: tuple[patches.Axis, patches.Axis] | None
    saved: int
    fits: bool


class _Writer(patches.Writer):
    def candidates(self) -> list[_Candidate]:
        """Operators with weights of 4 bits, in order."""
        return [
            self._candidate(op) for op in self.graph.operators if self.has_4_bits(op)
        ]

    def run(self, found: list[_Candidate], prefer: str) -> tuple[bytes, dict[str, str]]:
        """Stores those that are worth it; returns what `store` does."""
        chosen = self._choose(found, prefer)
        by_operator = {id(x.op): x for x in found}
        layers = {}
        for op in self.graph.operators:
            candidate = by_operator.get(id(op))
            if candidate is not None:
                layers[self.layer(op)] = f"{self.code(op)} int8"
            if candidate in chosen:
                layers[self.layer(op)] = "FULLY_CONNECTED int4"
                self._convert(candidate)
            else:
                self.written.append(op)
        self.graph.operators = self.written
        return self.finished(), layers

    def _choose(self, found: list[_Candidate], prefer: str) -> set[_Candidate]:
        """Those that save most bytes for the time that they take."""
        fitting = [x for x in found if x.fits]
        if prefer == "everything":
            return set(fitting)
        stored = [x for x in fitting if x.saved > 0]
        if prefer == "size":
            return set(stored)
        counted = [op for op in self.graph.operators if self._is_counted(op)]
        every = [self._shape_of(op) for op in counted]
        return set(costs.affordable(stored, every, _ALLOWED))

    def _is_counted(self, op: Any) -> bool:
        """Whether an operator is a convolution or dense layer of int8."""
        of_kernels = self.code(op) in ("CONV_2D", "FULLY_CONNECTED")
        return of_kernels and self.is_int8(op.inputs[0])

    def _shape_of(self, op: Any) -> costs.Shape:
        given, made = (self._sides(index) for index in (op.inputs[0], op.outputs[0]))
        if self.code(op) == "FULLY_CONNECTED":
            return costs.Shape("dense", 1, 1, 1, given[-1], made[-1])
        _, height, width, depth = self._sides(op.inputs[1])
        stride = max(op.builtinOptions.strideH, op.builtinOptions.strideW)
        taps = height * width * depth
        return costs.Shape("conv", taps, stride, made[1] * made[2], given[-1], made[-1])

    def _sides(self, index: int) -> list[int]:
        return list(map(int, self.graph.tensors[index].shape))

    def _candidate(self, op: Any) -> _Candidate:
        shape = self._shape_of(op)
        kernel = self._sides(op.inputs[1])
        count = int(np.prod(kernel))
        # An engine may have stored it so already. XNNPACK wants whole bytes in a row.
        fits = self.is_int8(op.inputs[1]) and (count // kernel[0]) % 2 == 0
        if self.code(op) == "FULLY_CONNECTED":
            return _Candidate(op, shape, None, count // 2, fits)
        axes = self._axes(op)
        is_whole = kernel[3] == self._sides(op.inputs[0])[3]
        fits &= is_whole and max(axis.kernel for axis in axes) <= _TAPS
        saved = count // 2 - _OPERATOR * _operators(*axes)
        return _Candidate(op, shape, axes, saved, fits)

    def _axes(self, op: Any) -> tuple[patches.Axis, patches.Axis]:
        _, height, width, _ = self._sides(op.inputs[1])
        given, made = (self._sides(index) for index in (op.inputs[0], op.outputs[0]))
        how = op.builtinOptions
        is_same = how.padding == self.schema.Padding.SAME
        return (
            patches.Axis.of(
                given[1], made[1], height, how.strideH, how.dilationHFactor, is_same
            ),
            patches.Axis.of(
                given[2], made[2], width, how.strideW, how.dilationWFactor, is_same
            ),
        )

    def _convert(self, candidate: _Candidate) -> None:
        op, made = candidate.op, candidate.op.outputs[0]
        if candidate.axes is None:
            self.store(op, "FULLY_CONNECTED")
            self.written.append(op)
            return
        how = op.builtinOptions
        source = self.gather(op.inputs[0], *candidate.axes, self.layer(op))
        op.inputs = [source, self._dense_kernel(op.inputs[1]), *op.inputs[2:]]
        op.opcodeIndex = self.operator_code("FULLY_CONNECTED", int4.PER_CHANNEL)
        op.builtinOptionsType = self.schema.BuiltinOptions.FullyConnectedOptions
        op.builtinOptions = self.schema.FullyConnectedOptionsT()
        op.builtinOptions.fusedActivationFunction = how.fusedActivationFunction
        op.builtinOptions.keepNumDims = True
        self.written.append(op)
        sides = self._sides(source)
        if len(sides) > 4:
            shape = (*sides[1:-1], self._sides(made)[-1])
            tensor = self.like(self.graph.tensors[made], shape)
            op.outputs = [self.add_tensor(tensor)]
            self.write_reshape(op.outputs[0], made)

    def _dense_kernel(self, index: int) -> int:
        """The kernel of a convolution as (outputs, taps * channels), of 4 bits."""
        tensor = copy.copy(self.graph.tensors[index])
        values = self.data(index).view("int8")
        tensor.shape = [int(tensor.shape[0]), len(values) // int(tensor.shape[0])]
        tensor.shapeSignature = None
        tensor.type = self.schema.TensorType.INT4
        tensor.buffer = self.add_buffer(int4.nibbles(values))
        return self.add_tensor(tensor)


def _operators(rows: patches.Axis, columns: patches.Axis) -> int:
    """How many operators gather the patches."""
    if not (rows.is_moved or columns.is_moved):
        return 0
    is_padded = rows.before or rows.after or columns.before or columns.after
    is_strided = max(rows.stride, columns.stride) > 1
    # As many slices as taps, and what joins them.
    slices = sum(axis.kernel + 1 for axis in (rows, columns) if axis.kernel > 1)
    return max(slices, 1) + bool(is_padded) + 2 * is_strided
