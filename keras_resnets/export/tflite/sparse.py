"""Storage of pruned kernels without their zeros, by the sparsity encoding of TFLite.

The file has the nonzero values of a pruned kernel and their indices; a DENSIFY unpacks
the kernel once, when the file is loaded. The other operators, their results and their
latency are those of the dense file. LiteRT supports it; runtimes for microcontrollers and
most accelerators do not.

A block of adjacent values takes one index of a byte. All block shapes are tried for each
kernel, and the smallest encoding is written: blocks of four along the inputs for the
pattern 1x4 (75 % zeros leave a third of the bytes), of eight along the outputs for
vw-2:4 (0.57). Single values take an index each: float32 kernels of the pattern 2:4
shrink to 0.63 of their bytes, int8 ones do not shrink and stay dense.
"""

import copy
import dataclasses
import itertools
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import number_formats
from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner

# Outputs and inputs of a block.
_BLOCKS = tuple(itertools.product((1, 2, 4, 8, 16), (1, 2, 4)))
# Bytes of a DENSIFY and of the description of a sparse tensor: 140 to 260 in ResNet-20.
_OVERHEAD = 300
_KERNELS = ("CONV_2D", "FULLY_CONNECTED")
# Formats whose operators compute with kernels of the type that is stored.
_FILES = ("float32", "int8")


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """A kernel (outputs, ..., inputs) without its zeros.

    Attributes:
        block: (outputs, inputs) of the values that share an index.
        by_outputs: what a row is: the blocks of one window position and the same
            inputs; or, if False, of one window position and the same outputs.
        values: values of the blocks that are not all zeros, in order.
        segments: number of the first block of each row.
        indices: of each block within its row.
    """

    block: tuple[int, int]
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


def encode(
    kernel: np.ndarray, block: tuple[int, int], by_outputs: bool = False
) -> Encoded:
    """Encodes a kernel (outputs, ..., inputs) of whole blocks.

    Example:
        >>> kernel = np.array([[0, 0, 0, 0, 1, 2, 0, 0]], "int8")
        >>> found = encode(kernel, (1, 4))
        >>> found.indices.tolist(), found.values.tolist()
        ([1], [1, 2, 0, 0])
    """
    blocks, is_nonzero = _blocks(kernel, block)
    segments, indices = _indices(is_nonzero, by_outputs)
    if by_outputs:
        blocks, is_nonzero = (np.moveaxis(x, 0, 2) for x in (blocks, is_nonzero))
    values = blocks[is_nonzero].reshape(-1)
    return Encoded(block, by_outputs, values, segments, indices)


def smallest(kernel: np.ndarray) -> Encoded:
    """Returns the encoding of a kernel (outputs, ..., inputs) with the fewest bytes.

    Example:
        >>> kernel = np.zeros((8, 3, 3, 4), "int8")
        >>> kernel[:, 1, 1] = 5
        >>> smallest(kernel).block
        (8, 4)
    """
    sizes = {}
    for block in _BLOCKS:
        if not (kernel.shape[0] % block[0] or kernel.shape[-1] % block[1]):
            _, is_nonzero = _blocks(kernel, block)
            values = is_nonzero.sum() * block[0] * block[1] * kernel.itemsize
            for by_outputs in (False, True):
                index = sum(x.nbytes for x in _indices(is_nonzero, by_outputs))
                sizes[block, by_outputs] = values + index
    return encode(kernel, *min(sizes, key=lambda way: sizes[way]))


def _blocks(
    kernel: np.ndarray, block: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (outputs, positions, inputs, *block), and which of them are not zeros.

    The first block of a kernel of nothing but zeros counts as nonzero: a tensor without
    values is no constant.
    """
    outputs, inputs = kernel.shape[0] // block[0], kernel.shape[-1] // block[1]
    parts = kernel.reshape(outputs, block[0], -1, inputs, block[1])
    is_nonzero = (parts != 0).any(axis=(1, 4))
    is_nonzero.flat[0] |= not is_nonzero.any()
    return parts.transpose(0, 2, 3, 1, 4), is_nonzero


def _indices(is_nonzero: np.ndarray, by_outputs: bool) -> tuple[np.ndarray, np.ndarray]:
    """The segments and indices of an `Encoded`."""
    rows = np.moveaxis(is_nonzero, 0, 2) if by_outputs else is_nonzero
    rows = rows.reshape(-1, rows.shape[-1])
    segments = np.append(0, np.cumsum(rows.sum(axis=-1)))
    return _narrow(segments, "uint16"), _narrow(np.nonzero(rows)[1], "uint8")


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
        found = smallest(kernel)
        return found if found.size + _OVERHEAD < kernel.nbytes else None

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
        sizes = [*shape]
        # Axes that are divided into blocks, and the sides of a block along them.
        divided = [(0, encoded.block[0]), (len(shape) - 1, encoded.block[1])]
        divided = [(axis, side) for axis, side in divided if side > 1]
        for axis, side in divided:
            sizes[axis] //= side
        row = schema.DimensionMetadataT()
        row.format = schema.DimensionType.SPARSE_CSR
        row.arraySegmentsType, row.arraySegments = self._vector(encoded.segments)
        row.arrayIndicesType, row.arrayIndices = self._vector(encoded.indices)
        axes = [*(self._dense(sizes[axis]) for axis in order[:-1]), row]
        sparsity.dimMetadata = [*axes, *(self._dense(side) for _, side in divided)]
        inner = range(len(shape), len(shape) + len(divided))
        sparsity.traversalOrder = [*order, *inner]
        if divided:
            sparsity.blockMap = [axis for axis, _ in divided]
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
