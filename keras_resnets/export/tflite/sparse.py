"""Kernels with many zeros written without them, by the sparsity encoding of TFLite.

A pruned kernel stands in the file as its values that are not zero and where they belong;
a DENSIFY unpacks it once, when the file is loaded. The operators, their numbers and their
latency are those of the dense file. LiteRT knows it; runtimes for microcontrollers and
most accelerators do not.

A block of four along the inputs takes one index, so that 75 % of such blocks zero leave
about a third of the bytes. Of single values each takes one: float32 kernels of the
pattern 2:4 become 0.63 of theirs, int8 ones none the smaller and stay dense.
"""

import copy
import dataclasses
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import number_formats
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner

_BLOCKS = (4, 1)
# Bytes of what a sparse tensor and its DENSIFY take besides, roughly.
_OVERHEAD = 600
_KERNELS = ("CONV_2D", "FULLY_CONNECTED")
# Files whose kernels an operator reads as they are stored.
_FILES = ("float32", "int8")


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """A kernel (outputs, ..., inputs) without its zeros.

    Attributes:
        block: values along the inputs that share an index.
        by_outputs: whether a row is of all outputs at one place of the window and one
            block of inputs; else of all blocks of inputs at one place for one output.
        values: those of blocks that are not all zeros, in order.
        segments: where the blocks of each row begin.
        indices: of each block in its row.
    """

    block: int
    by_outputs: bool
    values: np.ndarray
    segments: np.ndarray
    indices: np.ndarray

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.values.nbytes + self.segments.nbytes + self.indices.nbytes)


def check(sparse: bool, numbers: number_formats.NumberFormat) -> None:
    """Raises `InvalidArgument` where kernels of a format have no sparse encoding."""
    if sparse and numbers.title not in _FILES:
        raise InvalidArgument(
            f"sparse is of {' and '.join(_FILES)} files; got {numbers.title}"
        )


def encode(kernel: np.ndarray, block: int, by_outputs: bool = False) -> Encoded:
    """A kernel with so many values for an index; its inputs are a multiple of them.

    Example:
        >>> kernel = np.array([[0, 0, 0, 0, 1, 2, 0, 0]], "int8")
        >>> encode(kernel, 4).indices.tolist(), encode(kernel, 4).values.tolist()
        ([1], [1, 2, 0, 0])
    """
    shape = (kernel.shape[0], -1, kernel.shape[-1] // block, block)
    blocks = kernel.reshape(shape)
    if by_outputs:
        blocks = blocks.transpose(1, 2, 0, 3)
    blocks = blocks.reshape(-1, blocks.shape[2], block)
    is_kept = (blocks != 0).any(axis=-1)
    ends = np.cumsum(is_kept.sum(axis=-1))
    return Encoded(
        block,
        by_outputs,
        blocks[is_kept].reshape(-1),
        _narrow(np.append(0, ends), "uint16"),
        _narrow(np.nonzero(is_kept)[1], "uint8"),
    )


def _narrow(values: np.ndarray, least: str) -> np.ndarray:
    """Whole numbers in the narrowest type, from `least` on, that the format has."""
    largest = int(values.max(initial=0))
    kinds = ("uint8", "uint16", "int32")
    for kind in kinds[kinds.index(least) :]:
        if largest <= np.iinfo(kind).max:
            break
    return values.astype(kind)


def store(content: Any) -> Any:
    """A TFLite file whose kernels are written without zeros where that is smaller.

    Args:
        content: bytes of the file.

    Returns:
        Bytes of a file that computes the same; `content` where nothing is smaller.
    """
    editor = _Sparse(content)
    return editor.finished() if editor.run() else content


class _Sparse(file_editor.Editor):
    def run(self) -> bool:
        """Makes the changes; whether there was one."""
        types = self.schema.TensorType
        self._types = {types.INT8: "int8", types.FLOAT32: "float32"}
        dense: dict[int, int] = {}
        unpacking: list[Any] = []
        for op in self.graph.operators:
            index = int(op.inputs[1]) if len(op.inputs) > 1 else -1
            if index not in dense and self.code(op) in _KERNELS:
                encoded = self._encoded(index)
                if encoded is not None:
                    dense[index] = self._unpacked(index, encoded, unpacking)
            op.inputs = [dense.get(int(i), int(i)) for i in op.inputs]
        self.graph.operators = [*unpacking, *self.graph.operators]
        return bool(unpacking)

    def _encoded(self, index: int) -> Encoded | None:
        """The smallest encoding of a constant; None where it is no smaller."""
        data, tensor = self.data(index), self.graph.tensors[index]
        if data is None or tensor.type not in self._types or tensor.sparsity:
            return None
        kernel = data.view(self._types[tensor.type]).reshape(tensor.shape)
        blocks = [block for block in _BLOCKS if kernel.shape[-1] % block == 0]
        ways = [(block, by) for block in blocks for by in (False, True)]
        found = min((encode(kernel, *way) for way in ways), key=lambda x: x.size)
        return found if found.size + _OVERHEAD < kernel.nbytes else None

    def _unpacked(self, index: int, encoded: Encoded, unpacking: list[Any]) -> int:
        """The tensor that a new DENSIFY makes."""
        sparse = copy.copy(self.graph.tensors[index])
        made = copy.copy(sparse)
        # The kernel's own name is that of its layer, as is what the layer makes.
        layer = tflite_runner.layer_name(bytes(sparse.name).decode())
        made.name, made.buffer = f"{layer}.{index}/".encode(), 0
        # Scales stand with the kernel that is computed with.
        sparse.quantization = None
        sparse.buffer = self.add_buffer(encoded.values)
        sparse.sparsity = self._sparsity(list(map(int, sparse.shape)), encoded)
        op = self.schema.OperatorT()
        op.opcodeIndex = self.operator_code("DENSIFY", 1)
        op.inputs, op.outputs = [self.add_tensor(sparse)], [self.add_tensor(made)]
        op.builtinOptionsType = self.schema.BuiltinOptions.DensifyOptions
        op.builtinOptions = self.schema.DensifyOptionsT()
        unpacking.append(op)
        return int(op.outputs[0])

    def _sparsity(self, shape: list[int], encoded: Encoded) -> Any:
        """The format's description of an encoding."""
        schema = self.schema
        made, order = schema.SparsityParametersT(), list(range(len(shape)))
        if encoded.by_outputs:
            order = [*order[1:], 0]
        sizes = [*shape[:-1], shape[-1] // encoded.block]
        row = schema.DimensionMetadataT()
        row.format = schema.DimensionType.SPARSE_CSR
        row.arraySegmentsType, row.arraySegments = self._vector(encoded.segments)
        row.arrayIndicesType, row.arrayIndices = self._vector(encoded.indices)
        made.dimMetadata = [*(self._dense(sizes[axis]) for axis in order[:-1]), row]
        made.traversalOrder = order
        if encoded.block > 1:
            made.traversalOrder = [*order, len(shape)]
            made.dimMetadata.append(self._dense(encoded.block))
            made.blockMap = [len(shape) - 1]
        return made

    def _dense(self, size: int) -> Any:
        axis = self.schema.DimensionMetadataT()
        axis.format, axis.denseSize = self.schema.DimensionType.DENSE, size
        return axis

    def _vector(self, values: np.ndarray) -> tuple[int, Any]:
        """(its type, itself) of a vector of indices."""
        name = {
            "uint8": "Uint8Vector",
            "uint16": "Uint16Vector",
            "int32": "Int32Vector",
        }
        kind = name[values.dtype.name]
        made = getattr(self.schema, f"{kind}T")()
        made.values = values
        return getattr(self.schema.SparseIndexVector, kind), made
