"""What a convolution reads for each pixel, gathered by operators that XNNPACK runs.

A convolution is a FULLY_CONNECTED over such patches. PAD puts zeros around the image,
SLICE takes what a column, then a row of the kernel meets, CONCATENATION sets the slices
beside each other. A stride first makes an axis of its own, by a RESHAPE that moves no
byte, since no runtime's fast kernels slice in steps:
(batch, height, width, channels) -> (batch, height / s, s, width / s, s * channels).
"""

import copy
import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.export.tflite import int4

# (begin, size) of each, without the batch.
_Slices = list[tuple[Sequence[int], Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One side of an image under a convolution.

    Attributes:
        size: pixels that come in.
        outputs: pixels that go out.
        kernel: taps.
        stride, dilation: steps of the kernel and between its taps, in pixels.
        before: zeros in front of the first pixel.

    Example:
        >>> Axis(14, 7, 3, 2, 1, 0).after
        2
    """

    size: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    before: int

    @classmethod
    def of(
        cls,
        size: int,
        outputs: int,
        kernel: int,
        stride: int,
        dilation: int,
        is_same: bool,
    ) -> "Axis":
        """The axis of a convolution with "same" or "valid" padding."""
        reach = (outputs - 1) * stride + (kernel - 1) * dilation + 1
        whole = max(reach - size, 0) if is_same else 0
        return cls(size, outputs, kernel, stride, dilation, whole // 2)

    @property
    def padded(self) -> int:
        """Pixels with the zeros, a multiple of the stride."""
        reach = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        whole = max(reach, self.before + self.size)
        return -(-whole // self.stride) * self.stride

    @property
    def after(self) -> int:
        """Zeros behind the last pixel."""
        return self.padded - self.before - self.size

    @property
    def taps(self) -> list[tuple[int, int]]:
        """(steps, pixels within a step) of each tap of the kernel."""
        return [divmod(tap * self.dilation, self.stride) for tap in range(self.kernel)]

    @property
    def is_moved(self) -> bool:
        """Whether more than the pixels as they are is read."""
        return bool(self.kernel > 1 or self.stride > 1 or self.before or self.after)


class Writer(int4.Int4Editor):
    """A file that gets such operators; `written` are those of the new graph."""

    def __init__(self, content: Any) -> None:
        super().__init__(content)
        self.written: list[Any] = []
        self._constants: dict[bytes, int] = {}
        self._label, self._count = "", 0

    def gather(self, source: int, rows: Axis, columns: Axis, label: str) -> int:
        """Writes what makes patches of an image.

        Args:
            source: tensor (batch, height, width, channels).
            rows: the `Axis` of the height.
            columns: that of the width.
            label: name of the layer, which begins those of the tensors.

        Returns:
            A tensor with kernel height * kernel width * channels last; of five axes
            where there is a stride.
        """
        self._label, self._count = label, 0
        channels = int(self.graph.tensors[source].shape[3])
        if rows.before or rows.after or columns.before or columns.after:
            pads = [[0, 0], [rows.before, rows.after]]
            pads += [[columns.before, columns.after], [0, 0]]
            shape = (rows.padded, columns.padded, channels)
            source = self._write("PAD", source, [self._int32(pads)], shape)
        is_strided = rows.stride > 1 or columns.stride > 1
        if is_strided:
            source = self._split(source, rows, columns, channels)
        source = self._gather_columns(source, rows, columns, channels, is_strided)
        return self._gather_rows(source, rows, columns, channels, is_strided)

    def write_reshape(self, source: int, target: int) -> None:
        """Writes the RESHAPE of one tensor into another that there is."""
        tensor = self.graph.tensors[target]
        op = self._operator("RESHAPE", 1, [source], [target])
        self._set_shape(op, self._signature(tensor))

    def _split(self, source: int, rows: Axis, columns: Axis, channels: int) -> int:
        shape = (
            rows.padded // rows.stride,
            rows.stride,
            columns.padded // columns.stride,
            columns.stride * channels,
        )
        made = self._like(source, shape)
        op = self._operator("RESHAPE", 1, [source], [made])
        self._set_shape(op, self._signature(self.graph.tensors[made]))
        return made

    def _gather_columns(
        self, source: int, rows: Axis, columns: Axis, channels: int, is_strided: bool
    ) -> int:
        if columns.kernel == 1:
            # What rows are sliced by takes the one column of a step as well.
            return source
        slices: _Slices = []
        for steps, first, count in _runs(columns.taps):
            begin, size = (steps, first * channels), (columns.outputs, count * channels)
            if is_strided:
                above = (rows.padded // rows.stride, rows.stride)
                slices.append(((0, 0, *begin), (*above, *size)))
            else:
                slices += [((0, steps, 0), (rows.padded, columns.outputs, channels))]
        return self._concatenated(source, slices)

    def _gather_rows(
        self, source: int, rows: Axis, columns: Axis, channels: int, is_strided: bool
    ) -> int:
        if rows.kernel == 1 and not is_strided:
            return source
        depth = columns.kernel * channels
        slices: _Slices = []
        for steps, within in rows.taps:
            if is_strided:
                strided = (rows.outputs, 1, columns.outputs, depth)
                slices.append(((steps, within, 0, 0), strided))
            else:
                size = (rows.outputs, columns.outputs, depth)
                slices.append(((steps, 0, 0), size))
        return self._concatenated(source, slices)

    def _concatenated(self, source: int, slices: _Slices) -> int:
        """Slices of a tensor beside each other; (begin, size) without the batch."""
        made = [self._slice(source, begin, size) for begin, size in slices]
        if len(made) == 1:
            return made[0]
        depth = sum(size[-1] for _, size in slices)
        shape = (*slices[0][1][:-1], depth)
        first, *others = made

        def configure(op: Any) -> None:
            op.builtinOptionsType = self.schema.BuiltinOptions.ConcatenationOptions
            op.builtinOptions = self.schema.ConcatenationOptionsT()
            op.builtinOptions.axis = len(shape)

        return self._write("CONCATENATION", first, others, shape, configure)

    def _slice(self, source: int, begin: Sequence[int], size: Sequence[int]) -> int:
        batch = self._signature(self.graph.tensors[source])[0]
        constants = [self._int32([0, *begin]), self._int32([batch, *size])]
        return self._write("SLICE", source, constants, size)

    def _write(
        self,
        name: str,
        source: int,
        others: Sequence[int],
        shape: Sequence[int],
        configure: Callable[[Any], None] | None = None,
    ) -> int:
        """Writes an operator; returns its tensor, of the source's batch and scale."""
        made = self._like(source, shape)
        # Version 5 of SLICE is that of five axes.
        version = 5 if name == "SLICE" and len(shape) == 4 else 2
        op = self._operator(name, version, [source, *others], [made])
        if configure is not None:
            configure(op)
        return made

    def _operator(
        self, name: str, version: int, inputs: list[int], outputs: list[int]
    ) -> Any:
        op = self.schema.OperatorT()
        op.opcodeIndex = self.operator_code(name, version)
        op.inputs, op.outputs = inputs, outputs
        self.written.append(op)
        return op

    def _set_shape(self, op: Any, shape: list[int]) -> None:
        op.inputs = [op.inputs[0], self._int32(shape)]
        op.builtinOptionsType = self.schema.BuiltinOptions.ReshapeOptions
        op.builtinOptions = self.schema.ReshapeOptionsT()
        op.builtinOptions.newShape = shape

    def _like(self, source: int, shape: Sequence[int]) -> int:
        """A computed tensor of other sides, see `like`."""
        return self.add_tensor(self.like(self.graph.tensors[source], shape))

    def like(self, tensor: Any, shape: Sequence[int]) -> Any:
        """A copy of a `TensorT` with other sides behind the batch, and its own name."""
        made = copy.copy(tensor)
        made.shape, made.buffer = [int(tensor.shape[0]), *map(int, shape)], 0
        # Files that gather alike have the same names, which `verify` compares by.
        made.name, self._count = (
            f"{self._label}.{self._count}/".encode(),
            self._count + 1,
        )
        batch = self._signature(tensor)[0]
        made.shapeSignature = [batch, *made.shape[1:]] if batch < 0 else None
        return made

    def _signature(self, tensor: Any) -> list[int]:
        """The shape, with -1 for an open batch."""
        shape = list(map(int, tensor.shape))
        signature = tensor.shapeSignature
        if signature is not None and len(signature) and signature[0] < 0:
            shape[0] = -1
        return shape

    def _int32(self, values: Any) -> int:
        """A constant tensor; equal ones are one."""
        array = np.asarray(values, "int32")
        key = bytes(array.shape) + array.tobytes()
        if key not in self._constants:
            tensor = self.schema.TensorT()
            tensor.name = b"%d" % len(self.graph.tensors)
            tensor.shape = list(array.shape)
            tensor.type = self.schema.TensorType.INT32
            tensor.buffer = self.add_buffer(array)
            self._constants[key] = self.add_tensor(tensor)
        return self._constants[key]


def _runs(taps: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(steps, first pixel, count) of taps that lie beside each other within a step.

    Example:
        >>> _runs([(0, 0), (0, 1), (1, 0)])
        [(0, 0, 2), (1, 0, 1)]
    """
    runs: list[tuple[int, int, int]] = []
    for steps, within in taps:
        if runs and runs[-1][0] == steps and sum(runs[-1][1:]) == within:
            runs[-1] = (steps, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((steps, within, 1))
    return runs
