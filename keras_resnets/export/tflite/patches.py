"""Gathers the patches that a convolution reads, by operators that XNNPACK runs.

A convolution is a FULLY_CONNECTED over such patches. PAD adds zeros around the image,
SLICE takes the pixels under each column, then each row of the kernel, CONCATENATION joins
the slices. A stride first becomes an axis of its own, by a RESHAPE that moves no
byte, since no runtime's fast kernels slice in steps:
(batch, height, width, channels) -> (batch, height / s, s, width / s, s * channels).
"""

import dataclasses
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
        size: pixels of the input.
        outputs: pixels of the output.
        kernel: taps.
        stride, dilation: in pixels.
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
        zeros = max(reach - size, 0) if is_same else 0
        return cls(size, outputs, kernel, stride, dilation, zeros // 2)

    @property
    def padded(self) -> int:
        """Pixels including the zeros, a multiple of the stride."""
        reach = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        pixels = max(reach, self.before + self.size)
        return -(-pixels // self.stride) * self.stride

    @property
    def after(self) -> int:
        """Appends zeros after the last pixel."""
        return self.padded - self.before - self.size

    @property
    def taps(self) -> list[tuple[int, int]]:
        """(steps, pixels within a step) of each tap of the kernel."""
        return [divmod(tap * self.dilation, self.stride) for tap in range(self.kernel)]

    @property
    def is_moved(self) -> bool:
        """Whether patches differ from the pixels themselves."""
        return bool(self.kernel > 1 or self.stride > 1 or self.before or self.after)


class Writer(int4.Int4Editor):
    """Adds such operators to a file; `written` are the operators of the new graph."""

    def __init__(self, content: Any) -> None:
        super().__init__(content)
        self.written: list[Any] = []
        self._constants: dict[bytes, int] = {}
        self._label, self._count = "", 0

    def gather(self, source: int, rows: Axis, columns: Axis, label: str) -> int:
        """Writes the operators that gather the patches of an image.

        Args:
            source: tensor (batch, height, width, channels).
            rows: the `Axis` of the height.
            columns: the `Axis` of the width.
            label: name of the layer, a prefix of the names of the new tensors.

        Returns:
            A tensor whose last axis is kernel height * kernel width * channels; it has
            five axes if there is a stride.
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
        """Writes a RESHAPE of one tensor into another, which exists."""
        shape = self.open_shape(self.graph.tensors[target])
        options = self.options("Reshape", newShape=shape)
        inputs = [source, self._int32(shape)]
        self.written.append(self.operator("RESHAPE", 1, inputs, [target], options))

    def _split(self, source: int, rows: Axis, columns: Axis, channels: int) -> int:
        shape = (
            rows.padded // rows.stride,
            rows.stride,
            columns.padded // columns.stride,
            columns.stride * channels,
        )
        split = self.like(source, shape)
        self.write_reshape(source, split)
        return split

    def _gather_columns(
        self, source: int, rows: Axis, columns: Axis, channels: int, is_strided: bool
    ) -> int:
        if columns.kernel == 1:
            # The slices of the rows take the one column of a step as well.
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
        """Concatenates slices of a tensor; (begin, size) of each, without the batch."""
        first, *others = [self._slice(source, begin, size) for begin, size in slices]
        if not others:
            return first
        depth = sum(size[-1] for _, size in slices)
        shape = (*slices[0][1][:-1], depth)
        options = self.options("Concatenation", axis=len(shape))
        return self._write("CONCATENATION", first, others, shape, options)

    def _slice(self, source: int, begin: Sequence[int], size: Sequence[int]) -> int:
        batch = self.open_shape(self.graph.tensors[source])[0]
        constants = [self._int32([0, *begin]), self._int32([batch, *size])]
        return self._write("SLICE", source, constants, size)

    def _write(
        self,
        name: str,
        source: int,
        others: Sequence[int],
        shape: Sequence[int],
        options: Any = None,
    ) -> int:
        """Writes an operator; returns its output, of the source's batch and scale."""
        output = self.like(source, shape)
        # SLICE of five axes needs version 5.
        version = 5 if name == "SLICE" and len(shape) == 4 else 2
        inputs = [source, *others]
        self.written.append(self.operator(name, version, inputs, [output], options))
        return output

    def like(self, index: int, sides: Sequence[int]) -> int:
        """Adds a copy of a computed tensor with other sides behind the batch."""
        # Files that gather alike have the same names, by which `verify` compares.
        name, self._count = f"{self._label}.{self._count}/".encode(), self._count + 1
        return self.add_tensor(self.resized(self.graph.tensors[index], sides, name))

    def _int32(self, values: Any) -> int:
        """A constant tensor; equal values share one."""
        array = np.asarray(values, "int32")
        key = bytes(array.shape) + array.tobytes()
        if key not in self._constants:
            name = str(len(self.graph.tensors))
            self._constants[key] = self.add_constant(name, array)
        return self._constants[key]


def _runs(taps: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(steps, first pixel, count) of taps that are neighbours within a step.

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
