"""Rewrites strided 1x1 convolutions of int8 weights for LiteRT's GPU accelerator.

LiteRT's GPU accelerator (2.3) computes a 1x1 convolution of int8 weights and stride 2 as
if its stride were 1: it uses the first rows and columns of each feature map, its outputs
are wrong, and it reports the file as fully accelerated. This happens in int8 and
dynamic-range files, not in float ones. A 1x1 max pool of the same stride in front of a
convolution of stride 1 picks the same pixels: the results are the same to the last bit,
and the accelerator computes both correctly. On a CPU this takes 1 to 2 % longer in
networks for 32 x 32 images and nothing measurable at 224 x 224
(`benchmarks/strided_convolutions.py`).
"""

from typing import Any

from keras_resnets.export.tflite import file_editor


def rewrite(content: Any) -> Any:
    """Replaces strided 1x1 convolutions of int8 weights by a max pool and stride 1.

    Args:
        content: bytes of a TFLite file.

    Returns:
        Bytes of a file that computes the same, bit for bit. With float activations
        (a dynamic-range file) the range is that of the pixels that are used.
        `content` itself if there is no such convolution.
    """
    return _Strides.rewritten(content)


class _Strides(file_editor.Editor):
    def apply(self) -> bool:
        """Makes the changes; returns whether there were any."""
        # Two convolutions of one map (a shortcut and a block's first) share the pool.
        pooled: dict[tuple[int, int, int], int] = {}
        strided = [op for op in self.graph.operators if self._strides(op)]
        for op in strided:
            options = op.builtinOptions
            place = (op.inputs[0], options.strideH, options.strideW)
            if place not in pooled:
                pooled[place] = self._pool(op)
            op.inputs[0] = pooled[place]
            options.strideH = options.strideW = 1
        return bool(strided)

    def _strides(self, op: Any) -> bool:
        """Whether an operator is a 1x1 convolution of int8 weights and stride > 1."""
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
        """Inserts a MAX_POOL_2D in front of an operator; returns its output."""
        source, output = (self.graph.tensors[i] for i in (op.inputs[0], op.outputs[0]))
        sides = (*output.shape[1:3], source.shape[3])
        name = bytes(source.name) + b"/strided"
        pooled = self.add_tensor(self.resized(source, sides, name))
        options = self.options(
            "Pool2D",
            padding=self.schema.Padding.VALID,
            filterHeight=1,
            filterWidth=1,
            strideH=op.builtinOptions.strideH,
            strideW=op.builtinOptions.strideW,
        )
        version = 2 if self.is_int8(op.inputs[0]) else 1
        pool = self.operator("MAX_POOL_2D", version, [op.inputs[0]], [pooled], options)
        self.insert_before(op, pool)
        return pooled
