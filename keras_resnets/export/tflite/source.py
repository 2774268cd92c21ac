"""Puts the resize and centre crop of photos of one size in front of a TFLite file.

The two matrices of `images.resampling` become a FULLY_CONNECTED over the last axis each,
with TRANSPOSE between them: the network gets the pixels that `predict` gives it, to the
bit. Pillow sums 8-bit pixels times weights of 22 bits and rounds after each matrix. Such
sums have 30 bits, more than float32 holds. Therefore each matrix is split into a coarse
one of 11 bits and a remainder of 11 more: both sums are exact, and so is the rounding of
their total. They compute in float32, also in front of an integer network.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.images import resampling
from keras_resnets.images.preprocessing import Preprocessing

# Fractional bits of the coarse matrix: its sums of 8-bit pixels have 19 bits.
_COARSE = 2.0**11


def put_in_front(
    content: bytes, size: tuple[int, int], preprocessing: Preprocessing
) -> bytes:
    """The bytes of a file that takes photos of a size as uint8.

    Args:
        content: bytes of a file that takes RGB pixels of the network's size.
        size: (height, width) of the photos.
        preprocessing: of the network.

    Raises:
        InvalidArgument: preprocessing that is not a resize and crop.
    """
    rows, columns = resampling.matrices(size, preprocessing)
    clipped = preprocessing.interpolation in ("bicubic", "lanczos")
    editor = _Front(content)
    editor.build(size, rows, columns, clipped)
    return editor.finished()


def alone(size: tuple[int, int], preprocessing: Preprocessing) -> bytes:
    """The bytes of a file that only resizes: it outputs pixels of the network's size."""
    import flatbuffers

    schema = tflite_runner.schema()
    tensor, graph, model = schema.TensorT(), schema.SubGraphT(), schema.ModelT()
    tensor.name, tensor.type, tensor.buffer = b"image", schema.TensorType.UINT8, 0
    tensor.shape, tensor.shapeSignature = [1, *preprocessing.size, 3], None
    tensor.quantization = file_editor.symmetric(schema, 1.0)
    graph.tensors, graph.operators = [tensor], []
    graph.inputs, graph.outputs = [0], [0]
    signature = schema.SignatureDefT()
    signature.inputs = [_first_tensor(schema, b"image")]
    signature.outputs = [_first_tensor(schema, b"pixels")]
    signature.signatureKey = b"serving_default"
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    model.buffers, model.signatureDefs = [schema.BufferT()], [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_editor.IDENTIFIER)
    return put_in_front(bytes(builder.Output()), size, preprocessing)


def _first_tensor(schema: Any, name: bytes) -> Any:
    """The entry of a signature that names the first tensor."""
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, 0
    return entry


class _Front(file_editor.Editor):
    def build(
        self,
        size: tuple[int, int],
        rows: np.ndarray,
        columns: np.ndarray,
        clipped: bool,
    ) -> None:
        """Adds the operators in front, and replaces the input."""
        types = self.schema.TensorType
        (pixels,) = self.graph.inputs
        kind = self.graph.tensors[pixels].type
        self._signature = self.graph.tensors[pixels].shapeSignature
        self._batch = int(self.graph.tensors[pixels].shape[0])
        self._operators: list[Any] = []
        height, width = size
        image = self._tensor("source", (height, width, 3), types.UINT8)
        x = self._transposed(image, (0, 1, 3, 2))
        x = self._step("CAST", x, kind=types.FLOAT32)
        x = self._product(x, columns, clipped)
        x = self._transposed(x, (0, 3, 2, 1))
        x = self._product(x, rows, clipped)
        if kind == types.UINT8:
            # In floats: delegates accept integers without a scale only in a CAST.
            x = self._transposed(x, (0, 3, 1, 2))
            self._step("CAST", x, into=pixels)
        else:
            self._transposed(x, (0, 3, 1, 2), into=pixels)
        self.graph.operators[:0] = self._operators
        self._become_input(image, pixels)

    def _become_input(self, image: int, pixels: int) -> None:
        """Gives the new input the name of the old one and its place in the signature."""
        tensors = self.graph.tensors
        tensors[image].name = tensors[pixels].name
        tensors[pixels].name = b"source/pixels"
        self.graph.inputs = [image]
        for entry in self.model.signatureDefs[0].inputs:
            if entry.tensorIndex == pixels:
                entry.tensorIndex = image

    def _product(self, x: int, matrix: np.ndarray, clipped: bool) -> int:
        """`x` times a matrix over its last axis, rounded as Pillow rounds."""
        coarse = (np.rint(matrix * _COARSE) / _COARSE).astype("float32")
        # Rounds: adds half a step, then takes the floor.
        total = self._connected(x, coarse, 0.5)
        rest = self._connected(x, matrix - coarse, 0.0)
        floor = self._step("FLOOR", total)
        fraction = self._step("SUB", total, [floor], self.options("Sub"))
        fraction = self._step("ADD", fraction, [rest], self.options("Add"))
        carried, add = self._step("FLOOR", fraction), self.options("Add")
        if not clipped:
            return self._step("ADD", floor, [carried], add)
        add.fusedActivationFunction = self.schema.ActivationFunctionType.RELU
        x = self._step("ADD", floor, [carried], add)
        white = self._constant("white", np.array([255], "float32"))
        return self._step("MINIMUM", x, [white], self.options("MaximumMinimum"))

    def _connected(self, x: int, matrix: np.ndarray, bias: float) -> int:
        """`x` times a matrix over its last axis, plus a bias."""
        outputs, _ = matrix.shape
        options = self.options("FullyConnected", keepNumDims=True)
        shape = (*self._shape(x)[:-1], outputs)
        biases = self._constant("bias", np.full(outputs, bias, "float32"))
        inputs = [self._constant("matrix", matrix), biases]
        # keep_num_dims came with version 5.
        return self._step("FULLY_CONNECTED", x, inputs, options, shape=shape, version=5)

    def _transposed(
        self, x: int, order: tuple[int, ...], into: int | None = None
    ) -> int:
        sides = self._shape(x)
        shape = tuple(sides[axis - 1] for axis in order[1:])
        inputs = [self._constant("order", np.array(order, "int32"))]
        options = self.options("Transpose")
        return self._step("TRANSPOSE", x, inputs, options, shape=shape, into=into)

    def _step(
        self,
        name: str,
        x: int,
        inputs: Sequence[int] = (),
        options: Any = None,
        kind: int | None = None,
        shape: tuple[int, ...] | None = None,
        version: int = 1,
        into: int | None = None,
    ) -> int:
        """Appends an operator of `x` and other inputs; returns its output.

        The output has the type (`kind`) and shape of `x` unless they are given, or is
        the tensor `into`.
        """
        source = self.graph.tensors[x]
        if into is None:
            kind = source.type if kind is None else kind
            into = self._tensor(name.lower(), shape or self._shape(x), kind)
        op = self.operator(name, version, [x, *inputs], [into], options)
        self._operators.append(op)
        return into

    def _shape(self, x: int) -> tuple[int, ...]:
        """The shape of a tensor without the batch."""
        return tuple(int(size) for size in self.graph.tensors[x].shape[1:])

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        """Adds a computed tensor; `shape` is without the batch."""
        tensor = self.schema.TensorT()
        count = len(self.graph.tensors)
        tensor.name, tensor.type = f"source/{name}_{count}".encode(), kind
        tensor.shape, tensor.buffer = [self._batch, *shape], 0
        if self._signature is not None:
            tensor.shapeSignature = [int(self._signature[0]), *shape]
        if kind == self.schema.TensorType.UINT8:
            # Some runtimes refuse integers without a scale.
            tensor.quantization = file_editor.symmetric(self.schema, 1.0)
        return self.add_tensor(tensor)

    def _constant(self, name: str, values: np.ndarray) -> int:
        label = f"source/{name}_{len(self.graph.tensors)}"
        return self.add_constant(label, values)
