"""1x1 convolutions of int8 weights that stride, written so that every runtime strides.

LiteRT's GPU accelerator (2.3) computes a 1x1 convolution of int8 weights and stride 2 as
if its stride were 1: of each map it takes the first rows and columns, the answers are
wrong, and it reports the file as fully accelerated. That is so in int8 and dynamic-range
files; float ones it computes right. A 1x1 max pool of the same stride in front of a
convolution of stride 1 picks the same pixels: the same numbers to the last bit, and the
accelerator has both right. On a processor that takes 1 to 2 % longer in networks for
32 x 32 and nothing measurable at 224 x 224 (`benchmarks/strided_convolutions.py`).
"""

import copy
from typing import Any

from keras_resnets.export.tflite import file_editor


def rewrite(content: Any) -> Any:
    """The bytes of a file whose 1x1 convolutions of int8 weights do not stride.

    Args:
        content: bytes of a TFLite file.

    Returns:
        Bytes of a file that computes the same, bit for bit; where activations are
        floats, their range is taken of the pixels that are used alone. `content`
        itself if there is no such convolution.
    """
    editor = _Strides(content)
    return editor.finished() if editor.run() else content


class _Strides(file_editor.Editor):
    def run(self) -> bool:
        """Makes the changes; whether there was one."""
        # Two convolutions of one map (a shortcut and a block's first) share the pool.
        pooled: dict[tuple[int, int, int], int] = {}
        found = [op for op in self.graph.operators if self._strides(op)]
        for op in found:
            options = op.builtinOptions
            place = (op.inputs[0], options.strideH, options.strideW)
            if place not in pooled:
                pooled[place] = self._pool(op)
            op.inputs[0] = pooled[place]
            options.strideH = options.strideW = 1
        return bool(found)

    def _strides(self, op: Any) -> bool:
        """Whether it is a 1x1 convolution of int8 weights and a stride above 1."""
        if self.code(op) != "CONV_2D":
            return False
        image, kernel = (self.graph.tensors[index] for index in op.inputs[:2])
        options, types = op.builtinOptions, self.schema.TensorType
        return (
            kernel.type == types.INT8
            and image.type in (types.INT8, types.FLOAT32)
            and list(kernel.shape[1:3]) == [1, 1]
            and max(options.strideH, options.strideW) > 1
        )

    def _pool(self, op: Any) -> int:
        """Puts a MAX_POOL_2D in front of an operator; the index of what it makes."""
        options, source = op.builtinOptions, self.graph.tensors[op.inputs[0]]
        made = self.graph.tensors[op.outputs[0]]
        tensor, pool = copy.copy(source), self.schema.OperatorT()
        tensor.name, tensor.buffer = bytes(source.name) + b"/strided", 0
        tensor.shape = [source.shape[0], *made.shape[1:3], source.shape[3]]
        if source.shapeSignature is not None:
            tensor.shapeSignature = [source.shapeSignature[0], *tensor.shape[1:]]
        version = 2 if source.type == self.schema.TensorType.INT8 else 1
        pool.opcodeIndex = self.operator_code("MAX_POOL_2D", version)
        pool.inputs, pool.outputs = [op.inputs[0]], [self.add_tensor(tensor)]
        pool.builtinOptionsType = self.schema.BuiltinOptions.Pool2DOptions
        pool.builtinOptions = self.schema.Pool2DOptionsT()
        pool.builtinOptions.padding = self.schema.Padding.VALID
        pool.builtinOptions.filterHeight = pool.builtinOptions.filterWidth = 1
        pool.builtinOptions.strideH = options.strideH
        pool.builtinOptions.strideW = options.strideW
        self.graph.operators.insert(self.graph.operators.index(op), pool)
        return pool.outputs[0]
