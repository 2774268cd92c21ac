"""Storage of pruned kernels without their zeros, by the sparsity encoding of TFLite.

The file has the nonzero values of a pruned kernel and their indices; a DENSIFY unpacks
the kernel once, when the file is loaded. The other operators, their results and their
latency are those of the dense file. LiteRT supports it; runtimes for microcontrollers and
most accelerators do not.

A block of four values along the inputs takes one index: with 75 % of such blocks zero, a
third of the bytes remains. Single values take an index each: float32 kernels of the
pattern 2:4 shrink to 0.63 of their bytes, int8 ones do not shrink and stay dense.
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
# Approximate bytes of a DENSIFY and of the description of a sparse tensor.
_OVERHEAD = 600
_KERNELS = ("CONV_2D", "FULLY_CONNECTED")
# Formats whose operators compute with kernels of the type that is stored.
_FILES = ("float32", "int8")


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """A kernel (outputs, ..., inputs) without its zeros.

    Attributes:
        block: values along the inputs that share an index.
        by_outputs: what a row is: all outputs of one window position and one block of
            inputs; or, if False, all blocks of inputs of one window position and output.
        values: values of the blocks that are not all zeros, in order.
        segments: number of the first block of each row.
        indices: of each block within its row.
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
    """Raises `InvalidArgument` if a format has no sparse encoding of kernels."""
    if sparse and numbers.title not in _FILES:
        raise InvalidArgument(
            f"sparse needs a {' or '.join(_FILES)} file; got {numbers.title}"
        )


def encode(kernel: np.ndarray, block: int, by_outputs: bool = False) -> Encoded:
    """Encodes a kernel whose inputs are a multiple of `block`.

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
    is_nonzero = (blocks != 0).any(axis=-1)
    ends = np.cumsum(is_nonzero.sum(axis=-1))
    return Encoded(
        block,
        by_outputs,
        blocks[is_nonzero].reshape(-1),
        _narrow(np.append(0, ends), "uint16"),
        _narrow(np.nonzero(is_nonzero)[1], "uint8"),
    )


def _narrow(values: np.ndarray, least: str) -> np.ndarray:
    """Integers in the narrowest type of the format that is not below `least`."""
    largest = int(values.max(initial=0))
    kinds = ("uint8", "uint16", "int32")
    for kind in kinds[kinds.index(least) :]:
        if largest <= np.iinfo(kind).max:
            break
    return values.astype(kind)


def store(content: Any) -> Any:
    """Writes the kernels of a TFLite file without zeros where that is smaller.

    Args:
        content: bytes of the file.

    Returns:
        Bytes of a file that computes the same; `content` itself if no kernel shrinks.
    """
    return _Sparse.rewritten(content)


class _Sparse(file_editor.Editor):
    def apply(self) -> bool:
        """Makes the changes; returns whether there were any."""
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
        """The smallest encoding of a constant; None if it does not shrink."""
        data, tensor = self.data(index), self.graph.tensors[index]
        if data is None or tensor.type not in self._types or tensor.sparsity:
            return None
        kernel = data.view(self._types[tensor.type]).reshape(tensor.shape)
        blocks = [block for block in _BLOCKS if kernel.shape[-1] % block == 0]
        ways = [(block, by) for block in blocks for by in (False, True)]
        smallest = min((encode(kernel, *way) for way in ways), key=lambda x: x.size)
        return smallest if smallest.size + _OVERHEAD < kernel.nbytes else None

    def _unpacked(self, index: int, encoded: Encoded, unpacking: list[Any]) -> int:
        """Adds a DENSIFY; returns its output."""
        sparse = copy.copy(self.graph.tensors[index])
        dense = copy.copy(sparse)
        # The kernel has the name of its layer, as the output of the layer has.
        if sparse.name is not None:
            layer = tflite_runner.layer_name(bytes(sparse.name).decode())
            dense.name = f"{layer}.{index}/".encode()
        dense.buffer = 0
        # The dense kernel, which is computed with, has the scales.
        sparse.quantization = None
        sparse.buffer = self.add_buffer(encoded.values)
        sparse.sparsity = self._sparsity(list(map(int, sparse.shape)), encoded)
        inputs, outputs = [self.add_tensor(sparse)], [self.add_tensor(dense)]
        options = self.options("Densify")
        unpacking.append(self.operator("DENSIFY", 1, inputs, outputs, options))
        return outputs[0]

    def _sparsity(self, shape: list[int], encoded: Encoded) -> Any:
        """The format's description of an encoding."""
        schema = self.schema
        sparsity, order = schema.SparsityParametersT(), list(range(len(shape)))
        if encoded.by_outputs:
            order = [*order[1:], 0]
        sizes = [*shape[:-1], shape[-1] // encoded.block]
        row = schema.DimensionMetadataT()
        row.format = schema.DimensionType.SPARSE_CSR
        row.arraySegmentsType, row.arraySegments = self._vector(encoded.segments)
        row.arrayIndicesType, row.arrayIndices = self._vector(encoded.indices)
        axes = [*(self._dense(sizes[axis]) for axis in order[:-1]), row]
        sparsity.dimMetadata, sparsity.traversalOrder = axes, order
        if encoded.block > 1:
            sparsity.traversalOrder = [*order, len(shape)]
            sparsity.dimMetadata.append(self._dense(encoded.block))
            sparsity.blockMap = [len(shape) - 1]
        return sparsity

    def _dense(self, size: int) -> Any:
        axis = self.schema.DimensionMetadataT()
        axis.format, axis.denseSize = self.schema.DimensionType.DENSE, size
        return axis

    def _vector(self, values: np.ndarray) -> tuple[int, Any]:
        """(type, vector) of indices, as the format has them."""
        kind = f"{values.dtype.name.capitalize()}Vector"
        vector = getattr(self.schema, f"{kind}T")()
        vector.values = values
        return getattr(self.schema.SparseIndexVector, kind), vector
