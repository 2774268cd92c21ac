"""Rearranges int8 convolutions of few channels, so that they fill a CPU's registers.

XNNPACK's int8 kernels, which LiteRT runs on phones, Raspberry Pis and PCs, work on 8
input and up to 16 output channels at a time. A convolution with 4 channels per group, or
with the 3 of an image, leaves most of that idle. These rewrites compute the same, to the
last bit:

* several narrow groups become one group, with zeros between them;
* in front of a stem of stride 2, two neighbouring pixels become one of twice the
  channels: the same bytes in the same order, so that a RESHAPE suffices.

With them ResNeXt's convolutions of 4 channels per group take 0.4 of the time, those of 8
take 0.8 (`benchmarks/packing.py` on an AMD EPYC with AVX-512 VNNI). On kernels that
compute every multiplication, such as a microcontroller's, these layers take longer.
"""

from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor

# What the kernels of XNNPACK for int8 take at a time (AVX-512, NEON with i8mm).
OUTPUTS = 16
INPUTS = 8

_Pads = tuple[int, int]


def pack(content: Any) -> Any:
    """Rearranges the narrow int8 convolutions of a file.

    Args:
        content: bytes of a TFLite file.

    Returns:
        Bytes of a file that computes the same, bit for bit; `content` itself if there
        is nothing to rearrange.
    """
    return _Packer.rewritten(content)


class _Packer(file_editor.Editor):
    def apply(self) -> bool:
        """Makes the changes; returns whether there were any."""
        operators, changed = list(self.graph.operators), False
        for op in operators:
            if self._is_int8_convolution(op):
                changed |= self._merge_groups(op) or self._pair_columns(op)
        return changed

    def _is_int8_convolution(self, op: Any) -> bool:
        is_int8 = self.code(op) == "CONV_2D" and all(map(self.is_int8, op.inputs[:2]))
        return is_int8 and self.data(op.inputs[1]) is not None

    def _merge_groups(self, op: Any) -> bool:
        channels = self.graph.tensors[op.inputs[0]].shape[3]
        outputs, _, _, depth = self.graph.tensors[op.inputs[1]].shape
        groups = channels // depth
        count = merged_groups(groups, max(depth, outputs // groups))
        if count == 1:
            return False
        kernel = block_diagonal(self._kernel(op), groups, count)
        self.replace_constant(op, 1, kernel, list(kernel.shape))
        return True

    def _pair_columns(self, op: Any) -> bool:
        """Twice the channels in half the columns, for a stem of stride 2."""
        pad = self._padding(op)
        first = op if pad is None else pad
        source = self.graph.tensors[first.inputs[0]].shape
        paired = self._paired(op, pad, *source[2:])
        if paired is None:
            return False
        kernel, pads = paired
        self.replace_constant(op, 1, kernel, list(kernel.shape))
        op.builtinOptions.strideW = 1
        sides = (source[1], source[2] // 2, 2 * source[3])
        first.inputs[0] = self._reshape(first, sides)
        if pad is not None:
            self._repad(pad, pads)
        return True

    def _paired(
        self, op: Any, pad: Any, width: int, channels: int
    ) -> tuple[np.ndarray, _Pads] | None:
        """(kernel, pads) for pairs of columns; None if the columns do not pair up."""
        kernel, options = self._kernel(op), op.builtinOptions
        is_same = options.padding == self.schema.Padding.SAME
        fits = (
            options.strideW == 2
            and options.dilationWFactor == 1
            and width % 2 == 0
            and kernel.shape[3] == channels <= INPUTS // 2
            and not (is_same and pad is not None)
        )
        if not fits:
            return None
        if pad is not None:
            paired = paired_columns(kernel, width, self._pads(pad)[2])
            return paired if paired[1][1] >= 0 else None
        # Then the convolution's own padding must fit the pairs as well.
        before = same_pads(width, kernel.shape[2]) if is_same else (0, 0)
        pair_kernel, pads = paired_columns(kernel, width, before)
        total = pair_kernel.shape[2] - 1 if is_same else 0
        fits = pads == (total // 2, total - total // 2)
        return (pair_kernel, pads) if fits else None

    def _padding(self, op: Any) -> Any:
        """The PAD whose output only this operator reads, or None."""
        padded = op.inputs[0]
        readers = [other for other in self.graph.operators if padded in other.inputs]
        makers = [other for other in self.graph.operators if padded in other.outputs]
        is_only_reader = len(readers) == 1 and padded not in self.graph.outputs
        is_pad = bool(makers) and self.code(makers[0]) == "PAD"
        return makers[0] if is_pad and is_only_reader else None

    def _pads(self, pad: Any) -> Any:
        """[(before, after) of each axis] of a PAD."""
        tensor = self.graph.tensors[pad.inputs[1]]
        kind = "int64" if tensor.type == self.schema.TensorType.INT64 else "int32"
        return self.data(pad.inputs[1]).view(kind).reshape(-1, 2).tolist()

    def _repad(self, pad: Any, columns: _Pads) -> None:
        """Changes how many columns a PAD behind a RESHAPE adds."""
        pads = self._pads(pad)
        pads[2] = list(columns)
        tensor = self.replace_constant(pad, 1, np.asarray(pads, "int32"))
        tensor.type = self.schema.TensorType.INT32
        _, _, width, channels = self.graph.tensors[pad.inputs[0]].shape
        padded = self.graph.tensors[pad.outputs[0]]
        # It no longer has the values that tensors of this name have in other files.
        padded.name = b"packed/padded_pairs/Pad"
        padded.shape = [*padded.shape[:2], sum(columns) + width, channels]
        if padded.shapeSignature is not None:
            padded.shapeSignature = [padded.shapeSignature[0], *padded.shape[1:]]

    def _reshape(self, op: Any, sides: tuple[int, ...]) -> int:
        """Inserts a RESHAPE in front of an operator; returns its output."""
        source = self.graph.tensors[op.inputs[0]]
        tensor = self.resized(source, sides, b"packed/pairs/Reshape")
        shape = self.open_shape(tensor)
        target = self.add_constant("packed/pairs/shape", np.asarray(shape, "int32"))
        reshaped = self.add_tensor(tensor)
        options = self.options("Reshape", newShape=shape)
        inputs = [op.inputs[0], target]
        self.insert_before(op, self.operator("RESHAPE", 1, inputs, [reshaped], options))
        return reshaped

    def _kernel(self, op: Any) -> Any:
        shape = self.graph.tensors[op.inputs[1]].shape
        return self.data(op.inputs[1]).view("int8").reshape(shape)


def merged_groups(groups: int, channels: int) -> int:
    """Returns how many of `groups`, with this number of channels each, become one.

    Example:
        >>> merged_groups(32, 4), merged_groups(32, 16), merged_groups(6, 4)
        (4, 1, 2)
    """
    count = 1
    while groups % (2 * count) == 0 and 2 * count * channels <= OUTPUTS:
        count *= 2
    return count


def block_diagonal(kernel: np.ndarray, groups: int, count: int) -> np.ndarray:
    """A kernel (outputs, height, width, depth) with `count` times fewer groups."""
    outputs, height, width, depth = kernel.shape
    by_group = kernel.reshape(groups, outputs // groups, height, width, depth)
    shape = (groups, outputs // groups, height, width, count, depth)
    merged = np.zeros(shape, kernel.dtype)
    for place in range(count):
        merged[place::count, :, :, :, place] = by_group[place::count]
    return merged.reshape(outputs, height, width, count * depth)


def same_pads(width: int, kernel: int) -> _Pads:
    """(before, after): what "same" padding adds to a row, at stride 2.

    Example:
        >>> same_pads(224, 7), same_pads(224, 3)
        ((2, 3), (0, 1))
    """
    outputs = (width + 1) // 2
    total = max(2 * (outputs - 1) + kernel - width, 0)
    return total // 2, total - total // 2


def paired_columns(
    kernel: np.ndarray, width: int, pads: _Pads
) -> tuple[np.ndarray, _Pads]:
    """Turns a convolution of stride 2 into one of pairs of columns and stride 1.

    Args:
        kernel: int8 (outputs, height, width, depth).
        width: of the image, even.
        pads: (before, after), columns of zeros.

    Returns:
        (kernel for pairs, pairs of zeros (before, after)); `after` is negative if the
        convolution leaves columns out.

    Example:
        >>> kernel, pads = paired_columns(np.ones((64, 7, 7, 3), "int8"), 224, (3, 3))
        >>> kernel.shape, pads
        ((64, 7, 4, 6), (2, 1))
    """
    filters, height, columns, depth = kernel.shape
    before, after = pads
    outputs = (before + width + after - columns) // 2 + 1
    # Pairs begin at an even column: zeros in front of the kernel make up for it.
    shift = before % 2
    zeros = (shift, (columns + shift) % 2)
    even = np.pad(kernel, ((0, 0), (0, 0), zeros, (0, 0)))
    paired = even.reshape(filters, height, -1, 2 * depth)
    left = (before + shift) // 2
    return paired, (left, outputs - 1 + paired.shape[2] - left - width // 2)
