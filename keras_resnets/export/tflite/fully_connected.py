"""Rewrites convolutions of 4-bit weights as FULLY_CONNECTED, which XNNPACK computes fast.

XNNPACK, which LiteRT runs on phones, Raspberry Pis and PCs, supports 4-bit weights only in
FULLY_CONNECTED, and computes it as fast as int8. A 1x1 convolution of stride 1 is a
FULLY_CONNECTED over the last axis; any other is one over `patches`, which take time to
gather. Therefore only those convolutions are rewritten whose saved bytes are worth the
time by `costs`; other kernels stay int8. The results are those of the int8 file, bit for
bit in LiteRT's built-in kernels.
"""

import dataclasses
import math
from typing import Any

from keras_resnets.export.tflite import costs
from keras_resnets.export.tflite import int4
from keras_resnets.export.tflite import patches

# XNNPACK concatenates five tensors at most.
_TAPS = 5
# Approximate bytes of an operator that gathers, with its tensors and constants.
_OPERATOR = 250
# How much longer the file may take by the table of costs.
_ALLOWED = 0.05


def store(
    content: Any, prefer: str = "latency", fewest_bits: int = 4
) -> tuple[bytes | Any, dict[str, str]]:
    """Stores 4-bit weights of an int8 file in 4 bits where that is worth it.

    Args:
        content: bytes of the file.
        prefer: `"latency"` (at most 5 % over the int8 file's by `costs`), `"size"`, or
            `"everything"` (all that can be stored, for measurements).
        fewest_bits: 2 to store kernels from -1 to 1 in 2 bits, unless latency is
            preferred: XNNPACK takes twice as long for them as for int8.

    Returns:
        (bytes, layer name -> how its 4-bit weights are stored).
    """
    writer = _Writer(content)
    candidates = writer.candidates(4 if prefer == "latency" else fewest_bits)
    return writer.store_best(candidates, prefer) if candidates else (content, {})


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    """An operator with weights of 4 bits or 2.

    Attributes:
        op: the operator.
        bits: those that its weights are stored in.
        shape: its `costs.Shape`.
        axes: (rows, columns) of a convolution; None for a dense layer.
        saved: bytes that it saves, less those of the operators that gather.
        fits: whether XNNPACK supports it as FULLY_CONNECTED.
    """

    op: Any
    bits: int
    shape: costs.Shape
    axes: tuple[patches.Axis, patches.Axis] | None
    saved: int
    fits: bool


class _Writer(patches.Writer):
    def candidates(self, fewest_bits: int) -> list[_Candidate]:
        """Operators with weights of 4 bits or 2, in the order of the graph."""
        found = [op for op in self.graph.operators if self.has_4_bits(op)]
        return [
            self._candidate(op, 2 if fewest_bits == 2 and self.has_2_bits(op) else 4)
            for op in found
        ]

    def store_best(
        self, candidates: list[_Candidate], prefer: str
    ) -> tuple[bytes, dict[str, str]]:
        """Stores the candidates that are worth it; returns what `store` does."""
        chosen = self._choose(candidates, prefer)
        by_operator = {id(x.op): x for x in candidates}
        layers = {}
        for op in self.graph.operators:
            candidate = by_operator.get(id(op))
            if candidate is not None:
                layers[self.layer(op)] = f"{self.code(op)} int8"
            if candidate in chosen:
                layers[self.layer(op)] = f"FULLY_CONNECTED int{candidate.bits}"
                self._convert(candidate)
            else:
                self.written.append(op)
        self.graph.operators = self.written
        return self.finished(), layers

    def _choose(self, candidates: list[_Candidate], prefer: str) -> set[_Candidate]:
        """The candidates that save most bytes for the time that they take."""
        fitting = [x for x in candidates if x.fits]
        if prefer == "everything":
            return set(fitting)
        stored = [x for x in fitting if x.saved > 0]
        if prefer == "size":
            return set(stored)
        counted = [op for op in self.graph.operators if self._is_counted(op)]
        every = [self._shape_of(op) for op in counted]
        return set(costs.affordable(stored, every, _ALLOWED))

    def _is_counted(self, op: Any) -> bool:
        """Whether an operator is an int8 convolution or dense layer."""
        has_kernel = self.code(op) in ("CONV_2D", "FULLY_CONNECTED")
        return has_kernel and self.is_int8(op.inputs[0])

    def _shape_of(self, op: Any) -> costs.Shape:
        source, output = (self._sides(i) for i in (op.inputs[0], op.outputs[0]))
        if self.code(op) == "FULLY_CONNECTED":
            return costs.Shape("dense", 1, 1, 1, source[-1], output[-1])
        _, height, width, depth = self._sides(op.inputs[1])
        stride = max(op.builtinOptions.strideH, op.builtinOptions.strideW)
        taps = height * width * depth
        pixels = output[1] * output[2]
        return costs.Shape("conv", taps, stride, pixels, source[-1], output[-1])

    def _sides(self, index: int) -> list[int]:
        return list(map(int, self.graph.tensors[index].shape))

    def _candidate(self, op: Any, bits: int) -> _Candidate:
        shape = self._shape_of(op)
        kernel = self._sides(op.inputs[1])
        count = math.prod(kernel)
        # An engine may have written it in 4 bits. XNNPACK needs whole bytes in a row, and
        # that of TensorFlow 2.21 refuses a single output.
        fits = self.is_int8(op.inputs[1]) and (count // kernel[0]) % 2 == 0
        fits &= kernel[0] > 1
        if self.code(op) == "FULLY_CONNECTED":
            return _Candidate(op, bits, shape, None, count - count * bits // 8, fits)
        axes = self._axes(op)
        is_ungrouped = kernel[3] == self._sides(op.inputs[0])[3]
        fits &= is_ungrouped and max(axis.kernel for axis in axes) <= _TAPS
        saved = count - count * bits // 8 - _OPERATOR * _operators(*axes)
        return _Candidate(op, bits, shape, axes, saved, fits)

    def _axes(self, op: Any) -> tuple[patches.Axis, patches.Axis]:
        _, height, width, _ = self._sides(op.inputs[1])
        source, output = (self._sides(i) for i in (op.inputs[0], op.outputs[0]))
        options = op.builtinOptions
        is_same = options.padding == self.schema.Padding.SAME
        rows = (height, options.strideH, options.dilationHFactor, is_same)
        columns = (width, options.strideW, options.dilationWFactor, is_same)
        return (
            patches.Axis.of(source[1], output[1], *rows),
            patches.Axis.of(source[2], output[2], *columns),
        )

    def _convert(self, candidate: _Candidate) -> None:
        op, output = candidate.op, candidate.op.outputs[0]
        if candidate.axes is None:
            self.store(op, "FULLY_CONNECTED", candidate.bits)
            self.written.append(op)
            return
        op.inputs[0] = self.gather(op.inputs[0], *candidate.axes, self.layer(op))
        outputs, *window = self._sides(op.inputs[1])
        kernel = self.store_kernel(op, [outputs, math.prod(window)], candidate.bits)
        kernel.shapeSignature = None
        activation = op.builtinOptions.fusedActivationFunction
        options = self.options(
            "FullyConnected", fusedActivationFunction=activation, keepNumDims=True
        )
        version = int4.PER_CHANNEL if candidate.bits == 4 else int4.TWO_BITS
        self.become(op, "FULLY_CONNECTED", version, options)
        self.written.append(op)
        sides = self._sides(op.inputs[0])
        if len(sides) > 4:
            dense = self.like(output, (*sides[1:-1], self._sides(output)[-1]))
            op.outputs = [dense]
            self.write_reshape(dense, output)


def _operators(rows: patches.Axis, columns: patches.Axis) -> int:
    """Returns the number of operators that gather the patches."""
    if not (rows.is_moved or columns.is_moved):
        return 0
    is_padded = rows.before or rows.after or columns.before or columns.after
    is_strided = max(rows.stride, columns.stride) > 1
    # As many slices as taps, and their concatenation.
    slices = sum(axis.kernel + 1 for axis in (rows, columns) if axis.kernel > 1)
    return max(slices, 1) + bool(is_padded) + 2 * is_strided
