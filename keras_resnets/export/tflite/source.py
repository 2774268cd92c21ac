"""Photos of one size go in: their resize and centre crop in front of a TFLite file.

The two matrices of `images.resampling`, each a FULLY_CONNECTED over the last axis, with
TRANSPOSE between them: the network gets the pixels that `predict` gives it, to the bit.
Pillow sums 8-bit pixels times weights of 22 bits and rounds behind each matrix. Sums of
30 bits are more than float32 holds, so each matrix is a coarse one, of 11 bits, and what
that leaves, of 11 more: both sums are exact, and so is the rounding of their sum. They
compute in float32, also in front of an integer network.
"""

from typing import Any

import numpy as np

from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.images import resampling
from keras_resnets.images.preprocessing import Preprocessing

# Bits behind the point of the coarse matrix: its sums of 8-bit pixels have 19 bits.
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
        InvalidArgument: preprocessing that is no resize and crop.
    """
    rows, columns = resampling.matrices(size, preprocessing)
    clipped = preprocessing.interpolation in ("bicubic", "lanczos")
    editor = _Front(content)
    editor.build(size, rows, columns, clipped)
    return editor.finished()


def alone(size: tuple[int, int], preprocessing: Preprocessing) -> bytes:
    """The bytes of a file that does nothing else: pixels of the network's size go out."""
    import flatbuffers

    schema = tflite_runner.schema()
    tensor, graph, model = schema.TensorT(), schema.SubGraphT(), schema.ModelT()
    tensor.name, tensor.type, tensor.buffer = b"image", schema.TensorType.UINT8, 0
    tensor.shape, tensor.shapeSignature = [1, *preprocessing.size, 3], None
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.ones(1, "float32")
    tensor.quantization.zeroPoint = np.zeros(1, "int64")
    graph.tensors, graph.operators = [tensor], []
    graph.inputs, graph.outputs = [0], [0]
    signature, given, made = schema.SignatureDefT(), *_ends(schema)
    signature.inputs, signature.outputs = [given], [made]
    signature.signatureKey = b"serving_default"
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    model.buffers, model.signatureDefs = [schema.BufferT()], [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_editor.IDENTIFIER)
    return put_in_front(bytes(builder.Output()), size, preprocessing)


def _ends(schema: Any) -> list[Any]:
    """Of a signature: one input and one output, both the first tensor."""
    found = []
    for name in (b"image", b"pixels"):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, 0
        found.append(entry)
    return found


class _Front(file_editor.Editor):
    def build(
        self,
        size: tuple[int, int],
        rows: np.ndarray,
        columns: np.ndarray,
        clipped: bool,
    ) -> None:
        """Puts the operators in front, and the new input in the old one's place."""
        types = self.schema.TensorType
        (pixels,) = self.graph.inputs
        kind = self.graph.tensors[pixels].type
        self._signature = self.graph.tensors[pixels].shapeSignature
        self._batch = int(self.graph.tensors[pixels].shape[0])
        self._operators: list[Any] = []
        height, width = size
        image = self._tensor("source", (height, width, 3), types.UINT8)
        x = self._transposed(image, (0, 1, 3, 2))
        x = self._step("CAST", x, types.FLOAT32)
        x = self._product(x, columns, clipped)
        x = self._transposed(x, (0, 3, 2, 1))
        x = self._product(x, rows, clipped)
        if kind == types.UINT8:
            # In floats: delegates refuse integers without a scale but in a CAST.
            x = self._transposed(x, (0, 3, 1, 2))
            self._step("CAST", x, into=pixels)
        else:
            self._transposed(x, (0, 3, 1, 2), into=pixels)
        self.graph.operators[:0] = self._operators
        self._become_input(image, pixels)

    def _become_input(self, image: int, pixels: int) -> None:
        """The new input takes the old one's name and place in the signature."""
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
        # Rounding is half a step up, then down.
        total = self._connected(x, coarse, 0.5)
        rest = self._connected(x, matrix - coarse, 0.0)
        whole = self._step("FLOOR", total)
        options = self.schema.SubOptionsT()
        fraction = self._step("SUB", total, None, None, [whole], options)
        fraction = self._step("ADD", fraction, None, None, [rest], self._add())
        carried = self._step("FLOOR", fraction)
        x = self._step("ADD", whole, None, None, [carried], self._add(clipped))
        if clipped:
            white = self._constant("white", np.array([255], "float32"))
            options = self.schema.MaximumMinimumOptionsT()
            x = self._step("MINIMUM", x, None, None, [white], options)
        return x

    def _add(self, clipped: bool = False) -> Any:
        options = self.schema.AddOptionsT()
        if clipped:
            options.fusedActivationFunction = self.schema.ActivationFunctionType.RELU
        return options

    def _connected(self, x: int, matrix: np.ndarray, bias: float) -> int:
        """The sums of a matrix over the last axis of `x`."""
        want, _ = matrix.shape
        options = self.schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        shape = (*self._shape(x)[:-1], want)
        biases = self._constant("bias", np.full(want, bias, "float32"))
        inputs = [self._constant("matrix", matrix), biases]
        # keep_num_dims came with version 5.
        return self._step("FULLY_CONNECTED", x, None, shape, inputs, options, version=5)

    def _transposed(
        self, x: int, order: tuple[int, ...], into: int | None = None
    ) -> int:
        made = tuple(([self._batch, *self._shape(x)])[axis] for axis in order)[1:]
        orders = self._constant("order", np.array(order, "int32"))
        options = self.schema.TransposeOptionsT()
        return self._step("TRANSPOSE", x, None, made, [orders], options, into=into)

    def _step(
        self,
        name: str,
        x: int,
        kind: int | None = None,
        shape: tuple[int, ...] | None = None,
        inputs: list[int] | None = None,
        options: Any = None,
        version: int = 1,
        into: int | None = None,
    ) -> int:
        """Adds an operator behind the others; returns the index of what it makes."""
        source = self.graph.tensors[x]
        if into is None:
            kind = source.type if kind is None else kind
            into = self._tensor(name.lower(), shape or self._shape(x), kind)
        op = self.schema.OperatorT()
        op.opcodeIndex = self.operator_code(name, version)
        op.inputs, op.outputs = [x, *(inputs or [])], [into]
        if options is not None:
            named = type(options).__name__.removesuffix("T")
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, named)
            op.builtinOptions = options
        self._operators.append(op)
        return into

    def _shape(self, x: int) -> tuple[int, ...]:
        """Without the batch."""
        return tuple(int(size) for size in self.graph.tensors[x].shape[1:])

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        """Adds a tensor of so many values for each image of the batch."""
        tensor = self.schema.TensorT()
        count = len(self.graph.tensors)
        tensor.name, tensor.type = f"source/{name}_{count}".encode(), kind
        tensor.shape, tensor.buffer = [self._batch, *shape], 0
        if self._signature is not None:
            tensor.shapeSignature = [int(self._signature[0]), *shape]
        if kind == self.schema.TensorType.UINT8:
            # An integer without a scale is refused by some readers: a pixel is itself.
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale = np.ones(1, "float32")
            tensor.quantization.zeroPoint = np.zeros(1, "int64")
        return self.add_tensor(tensor)

    def _constant(self, name: str, values: np.ndarray) -> int:
        """Adds a constant tensor."""
        types = self.schema.TensorType
        tensor = self.schema.TensorT()
        tensor.name = f"source/{name}_{len(self.graph.tensors)}".encode()
        tensor.type = types.INT32 if values.dtype == "int32" else types.FLOAT32
        tensor.shape, tensor.buffer = list(values.shape), self.add_buffer(values)
        return self.add_tensor(tensor)
