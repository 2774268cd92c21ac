"""Int8 convolutions of few channels, arranged to fill the registers of a processor.

XNNPACK's int8 kernels, which LiteRT runs on phones, Raspberry Pis and PCs, work on 8
input and up to 16 output channels at a time. A convolution with 4 channels a group, or
one of an image's 3, leaves most of that idle. The same convolution, to the last bit:

* of narrow groups, several make one, with zeros between them;
* in front of a stem of stride 2, two pixels beside each other are one of twice the
  channels: the same bytes in the same order, so that a RESHAPE suffices.

ResNeXt's 4 channels a group take 0.4 of the time so, its 8 take 0.8
(`benchmarks/packing.py` on an AMD EPYC with AVX-512 VNNI). On kernels that count every
multiplication, such as a microcontroller's, these few layers take longer instead.
"""

import copy

import numpy as np

from keras_resnets.export.tflite import file_editor

# What the kernels of XNNPACK for int8 take at a time (AVX-512, NEON with i8mm).
OUTPUTS = 16
INPUTS = 8


def pack(content):
    """The bytes of a file whose narrow int8 convolutions are arranged as above.

    Args:
        content: bytes of a TFLite file.

    Returns:
        Bytes of a file that computes the same, bit for bit; `content` itself if there
        is nothing to arrange.
    """
    packer = _Packer(content)
    return packer.finished() if packer.run() else content


class _Packer(file_editor.Editor):
    def run(self):
        """Makes the changes; whether there was one."""
        operators, changed = list(self.graph.operators), False
        for op in operators:
            if self._is_int8_convolution(op):
                changed |= self._merge_groups(op) or self._pair_columns(op)
        return changed

    def _is_int8_convolution(self, op):
        types = {self.graph.tensors[index].type for index in op.inputs[:2]}
        is_int8 = types == {self.schema.TensorType.INT8}
        if self.code(op) != "CONV_2D" or not is_int8:
            return False
        return self.data(op.inputs[1]) is not None

    def _merge_groups(self, op):
        channels = self.graph.tensors[op.inputs[0]].shape[3]
        outputs, _, _, depth = self.graph.tensors[op.inputs[1]].shape
        groups = channels // depth
        count = merged_groups(groups, max(depth, outputs // groups))
        if count == 1:
            return False
        self._give_kernel(op, block_diagonal(self._kernel(op), groups, count))
        return True

    def _pair_columns(self, op):
        """Twice the channels in half the columns, for a stem of stride 2."""
        pad = self._padding(op)
        first = op if pad is None else pad
        source = self.graph.tensors[first.inputs[0]].shape
        found = self._in_pairs(op, pad, *source[2:])
        if found is None:
            return False
        kernel, pads = found
        self._give_kernel(op, kernel)
        op.builtinOptions.strideW = 1
        shape = (*source[:2], source[2] // 2, 2 * source[3])
        first.inputs[0] = self._reshaped(first, shape)
        if pad is not None:
            self._repad(pad, pads)
        return True

    def _in_pairs(self, op, pad, width, channels):
        """(kernel, pads) for pairs of columns; None where they do not come out even."""
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
            found = paired_columns(kernel, width, self._pads(pad)[2])
            return found if found[1][1] >= 0 else None
        # Then what the convolution itself pads by must be right as well.
        given = same_pads(width, kernel.shape[2]) if is_same else (0, 0)
        made, pads = paired_columns(kernel, width, given)
        whole = made.shape[2] - 1 if is_same else 0
        return (made, pads) if pads == (whole // 2, whole - whole // 2) else None

    def _padding(self, op):
        """The PAD whose output this operator alone reads, or None."""
        made = op.inputs[0]
        readers = [one for one in self.graph.operators if made in one.inputs]
        makers = [one for one in self.graph.operators if made in one.outputs]
        is_alone = len(readers) == 1 and made not in self.graph.outputs
        is_pad = bool(makers) and self.code(makers[0]) == "PAD"
        return makers[0] if is_pad and is_alone else None

    def _pads(self, pad):
        """((before, after) of each axis) of a PAD."""
        tensor = self.graph.tensors[pad.inputs[1]]
        kind = "int64" if tensor.type == self.schema.TensorType.INT64 else "int32"
        return self.data(pad.inputs[1]).view(kind).reshape(-1, 2).tolist()

    def _repad(self, pad, columns):
        """Gives a PAD behind a RESHAPE other columns."""
        pads = self._pads(pad)
        pads[2] = list(columns)
        tensor = copy.copy(self.graph.tensors[pad.inputs[1]])
        tensor.type = self.schema.TensorType.INT32
        tensor.buffer = self.add_buffer(np.asarray(pads, "int32"))
        pad.inputs[1] = self.add_tensor(tensor)
        _, _, width, channels = self.graph.tensors[pad.inputs[0]].shape
        made = self.graph.tensors[pad.outputs[0]]
        # What it holds is not the layer's output any more, as other files have it.
        made.name = b"packed/padded_pairs/Pad"
        made.shape = [*made.shape[:2], sum(columns) + width, channels]
        if made.shapeSignature is not None:
            made.shapeSignature = [made.shapeSignature[0], *made.shape[1:]]

    def _reshaped(self, op, shape):
        """Puts a RESHAPE in front of an operator; returns the tensor that it makes."""
        source = self.graph.tensors[op.inputs[0]]
        tensor, target = copy.copy(source), self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = (
            b"packed/pairs/Reshape",
            list(shape),
            0,
        )
        wanted = list(shape)
        if source.shapeSignature is not None and source.shapeSignature[0] < 0:
            wanted[0] = -1
            tensor.shapeSignature = wanted
        else:
            tensor.shapeSignature = None
        target.name, target.shape = b"packed/pairs/shape", [4]
        target.type = self.schema.TensorType.INT32
        target.buffer = self.add_buffer(np.asarray(wanted, "int32"))
        reshape = self.schema.OperatorT()
        reshape.opcodeIndex = self.operator_code("RESHAPE", 1)
        reshape.inputs = [op.inputs[0], self.add_tensor(target)]
        reshape.outputs = [self.add_tensor(tensor)]
        reshape.builtinOptionsType = self.schema.BuiltinOptions.ReshapeOptions
        reshape.builtinOptions = self.schema.ReshapeOptionsT()
        reshape.builtinOptions.newShape = wanted
        self.graph.operators.insert(self.graph.operators.index(op), reshape)
        return reshape.outputs[0]

    def _kernel(self, op):
        shape = self.graph.tensors[op.inputs[1]].shape
        return self.data(op.inputs[1]).view("int8").reshape(shape)

    def _give_kernel(self, op, kernel):
        tensor = copy.copy(self.graph.tensors[op.inputs[1]])
        tensor.shape, tensor.buffer = list(kernel.shape), self.add_buffer(kernel)
        op.inputs[1] = self.add_tensor(tensor)


def merged_groups(groups, channels):
    """How many of `groups` with so many channels become one.

    Example:
        >>> merged_groups(32, 4), merged_groups(32, 16), merged_groups(6, 4)
        (4, 1, 2)
    """
    count = 1
    while groups % (2 * count) == 0 and 2 * count * channels <= OUTPUTS:
        count *= 2
    return count


def block_diagonal(kernel, groups, count):
    """A kernel (outputs, height, width, depth) with `count` times fewer groups."""
    outputs, height, width, depth = kernel.shape
    shape = (groups, outputs // groups, height, width, count, depth)
    made = np.zeros(shape, kernel.dtype)
    given = kernel.reshape(groups, outputs // groups, height, width, depth)
    for place in range(count):
        made[place::count, :, :, :, place] = given[place::count]
    return made.reshape(outputs, height, width, count * depth)


def same_pads(width, kernel):
    """(before, after): what "same" padding adds to a row, at stride 2.

    Example:
        >>> same_pads(224, 7), same_pads(224, 3)
        ((2, 3), (0, 1))
    """
    outputs = (width + 1) // 2
    whole = max(2 * (outputs - 1) + kernel - width, 0)
    return whole // 2, whole - whole // 2


def paired_columns(kernel, width, pads):
    """What a convolution of stride 2 does with pairs of columns, at stride 1.

    Args:
        kernel: int8 (outputs, height, width, depth).
        width: of the image, even.
        pads: (before, after), columns of zeros.

    Returns:
        (kernel for pairs, pairs of zeros (before, after)); fewer than none after it
        where the convolution leaves columns out.

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
    made = even.reshape(filters, height, -1, 2 * depth)
    left = (before + shift) // 2
    return made, (left, outputs - 1 + made.shape[2] - left - width // 2)
