"""Editing of TFLite files: parses a file into objects, and serializes them again."""

import copy
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.export.tflite import runner as tflite_runner

IDENTIFIER = b"TFL3"
# Runtimes read constants at multiples of this number of bytes.
ALIGNMENT = 16


class Editor:
    """A TFLite file as objects that can be changed.

    Args:
        content: bytes of the file.

    Attributes:
        schema: the module of the file format.
        model: the whole file, a `schema.ModelT`.
        graph: its main graph, a `schema.SubGraphT`.
    """

    def __init__(self, content: Any) -> None:
        self.schema, root = tflite_runner.parse(content)
        self.model = self.schema.ModelT.InitFromObj(root)
        self.graph = self.model.subgraphs[0]
        self._size = len(content)
        for op in self.graph.operators:
            # Views of the file, which cannot be changed.
            op.inputs, op.outputs = list(op.inputs), list(op.outputs)
        self._codes = tflite_runner.operator_names(self.schema)

    @classmethod
    def rewritten(cls, content: Any) -> Any:
        """Returns the bytes of a file after `apply`; `content` itself if unchanged."""
        editor = cls(content)
        return editor.finished() if editor.apply() else content

    def apply(self) -> bool:
        """Makes the changes of a subclass; returns whether there were any."""
        raise NotImplementedError

    def code(self, op: Any) -> str:
        """Returns the name of an operator, such as `"CONV_2D"`."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return self._codes[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def data(self, index: int) -> Any:
        """Returns the bytes of a constant tensor; None if it is computed or left out."""
        if index < 0:
            return None
        data = self.model.buffers[self.graph.tensors[index].buffer].data
        return None if data is None or not len(data) else data

    def is_int8(self, index: int) -> bool:
        """Whether a tensor is int8."""
        return bool(self.graph.tensors[index].type == self.schema.TensorType.INT8)

    def add_tensor(self, tensor: Any) -> int:
        """Adds a `schema.TensorT`; returns its index."""
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add_buffer(self, values: np.ndarray) -> int:
        """Adds a buffer with the bytes of `values`; returns its index."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), "uint8")
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def add_constant(
        self, name: str, values: np.ndarray, quantization: Any = None
    ) -> int:
        """Adds a constant tensor of the type of `values`; returns its index."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape = name.encode(), list(values.shape)
        tensor.type = getattr(self.schema.TensorType, values.dtype.name.upper())
        tensor.quantization = quantization
        tensor.buffer = self.add_buffer(values)
        return self.add_tensor(tensor)

    def replace_constant(
        self, op: Any, place: int, values: np.ndarray, shape: Any = None
    ) -> Any:
        """Gives one operator another constant input; returns its `schema.TensorT`.

        Other operators that read the old one keep it.

        Args:
            op: the operator.
            place: of the input among the operator's inputs.
            values: of the new constant.
            shape: of the tensor; None: that of the old one.
        """
        tensor = copy.copy(self.graph.tensors[op.inputs[place]])
        tensor.shape = tensor.shape if shape is None else shape
        tensor.buffer = self.add_buffer(values)
        op.inputs[place] = self.add_tensor(tensor)
        return tensor

    def open_shape(self, tensor: Any) -> list[int]:
        """Returns the shape of a tensor, with -1 for a dynamic batch."""
        shape = list(map(int, tensor.shape))
        signature = tensor.shapeSignature
        if signature is not None and len(signature) and signature[0] < 0:
            shape[0] = -1
        return shape

    def resized(self, tensor: Any, sides: Sequence[int], name: bytes) -> Any:
        """Returns a copy of a computed tensor with other sides."""
        batch = self.open_shape(tensor)[0]
        resized = copy.copy(tensor)
        resized.name, resized.buffer = name, 0
        resized.shape = [int(tensor.shape[0]), *map(int, sides)]
        resized.shapeSignature = [batch, *resized.shape[1:]] if batch < 0 else None
        return resized

    def options(self, kind: str, **values: Any) -> Any:
        """The options of an operator: `"Reshape"` is a `schema.ReshapeOptionsT`."""
        options = getattr(self.schema, f"{kind}OptionsT")()
        for name, value in values.items():
            setattr(options, name, value)
        return options

    def operator(
        self,
        name: str,
        version: int,
        inputs: list[int],
        outputs: list[int],
        options: Any = None,
    ) -> Any:
        """Returns a new `schema.OperatorT`, which is not yet in the graph."""
        op = self.schema.OperatorT()
        op.inputs, op.outputs = inputs, outputs
        self.become(op, name, version, options)
        return op

    def become(self, op: Any, name: str, version: int, options: Any = None) -> None:
        """Turns an operator into another one; without `options` it keeps its own."""
        op.opcodeIndex = self.operator_code(name, version)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            op.builtinOptions = options

    def insert_before(self, op: Any, inserted: Any) -> None:
        """Inserts an operator into the graph, in front of another."""
        self.graph.operators.insert(self.graph.operators.index(op), inserted)

    def operator_code(self, name: str, version: int) -> int:
        """Returns the index of an operator's code; adds the code if it is missing."""
        number = getattr(self.schema.BuiltinOperator, name)
        for index, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == number and code.version == version:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.version = number, version
        code.deprecatedBuiltinCode = min(number, 127)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def finished(self) -> bytes:
        """Returns the bytes of the changed file, without unused parts."""
        drop_unused(self.model)
        self.model.buffers = [
            _Aligned(self.schema, buffer.data) for buffer in self.model.buffers
        ]
        builder = _sharing_builder(self._size)
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def symmetric(schema: Any, scales: Any, axis: int = 0) -> Any:
    """A `schema.QuantizationParametersT` whose zero points are 0.

    Args:
        schema: the module of the file format.
        scales: one of the tensor, or one for each channel.
        axis: of the channels.
    """
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.atleast_1d(np.asarray(scales, "float32"))
    quantization.zeroPoint = np.zeros(len(quantization.scale), "int64")
    quantization.quantizedDimension = axis
    return quantization


def _sharing_builder(size: int) -> Any:
    """A builder of FlatBuffers that writes equal small vectors once.

    An int8 kernel and its bias have a zero point of eight bytes per channel, all of them 0,
    and many tensors have the same shape: 5 % of the file of a small network. Readers
    follow an offset to a vector, no matter how many offsets point there.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802
            # Vectors of bytes are buffers, which need a larger alignment.
            if not isinstance(x, np.ndarray) or x.dtype == np.uint8:
                return int(super().CreateNumpyVector(x))
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = super().CreateNumpyVector(x)
            return self._written[key]

    return Builder(size)


def without_names(content: Any) -> bytes:
    """Returns the bytes of the file without the names of inner tensors.

    No runtime needs them. Inputs, outputs and the signature keep theirs.
    """
    editor = Editor(content)
    ends = {*editor.graph.inputs, *editor.graph.outputs}
    for index, tensor in enumerate(editor.graph.tensors):
        if index not in ends:
            tensor.name = None
    return editor.finished()


def name_ends(model: Any, outputs: Sequence[str]) -> None:
    """Names inputs and outputs as the signature does, and orders the outputs.

    The converter's order is neither that of the network nor that of the alphabet, and
    it names tensors `StatefulPartitionedCall:1`.

    Args:
        model: a `schema.ModelT`, changed in place.
        outputs: names of the outputs in the signature, in the order to write.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    order = {name: index for index, name in enumerate(outputs)}
    entries = sorted(signature.outputs, key=lambda entry: order[entry.name.decode()])
    signature.outputs = entries
    graph.outputs = [entry.tensorIndex for entry in entries]
    names, named = {bytes(tensor.name) for tensor in graph.tensors}, set()
    for entry in [*signature.inputs, *signature.outputs]:
        # A tensor that is an output twice, or an input too, gets the first of its names.
        if entry.name not in names and entry.tensorIndex not in named:
            graph.tensors[entry.tensorIndex].name = entry.name
            names.add(entry.name)
        named.add(entry.tensorIndex)


def with_named_ends(content: Any, outputs: Sequence[str]) -> bytes:
    """Returns the bytes of a file after `name_ends`."""
    editor = Editor(bytes(content))
    name_ends(editor.model, outputs)
    return editor.finished()


class _Aligned:
    """A buffer that is written at a multiple of `ALIGNMENT`."""

    def __init__(self, schema: Any, data: Any) -> None:
        self._schema, self._data = schema, data

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        return write_buffer(self._schema, builder, self._data)


def write_buffer(schema: Any, builder: Any, data: Any) -> Any:
    """Writes an aligned buffer with `data`, or an empty one; returns its offset."""
    offset = None
    if data is not None and len(data):
        builder.Prep(ALIGNMENT, len(data))
        offset = builder.CreateNumpyVector(np.asarray(data, "uint8"))
    schema.BufferStart(builder)
    if offset is not None:
        schema.BufferAddData(builder, offset)
    return schema.BufferEnd(builder)


def drop_unused(model: Any) -> None:
    """Drops tensors, operator codes and buffers that are no longer used.

    Tensors only of the main graph: the others are the bodies of loops and branches.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    users = [graph.__dict__, *(operator.__dict__ for operator in graph.operators)]
    keys = ("inputs", "outputs")
    # An input that is left out is -1.
    used = {i for user in users for key in keys for i in user[key]} - {-1}
    places = {-1: -1, **_places(used)}
    graph.tensors = [graph.tensors[index] for index in sorted(used)]
    for user in users:
        for key in keys:
            user[key] = [places[index] for index in user[key]]
    for entry in [*signature.inputs, *signature.outputs]:
        entry.tensorIndex = places[entry.tensorIndex]
    every = [operator for one in model.subgraphs for operator in one.operators]
    codes = _places({operator.opcodeIndex for operator in every})
    model.operatorCodes = [model.operatorCodes[index] for index in codes]
    for operator in every:
        operator.opcodeIndex = codes[operator.opcodeIndex]
    _drop_buffers(model)


def _drop_buffers(model: Any) -> None:
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    users = [*tensors, *(model.metadata or [])]
    # The first is the empty one.
    buffers = _places({0, *(user.buffer for user in users)})
    model.buffers = [model.buffers[index] for index in buffers]
    for user in users:
        user.buffer = buffers[user.buffer]


def _places(indices: Iterable[int]) -> dict[int, int]:
    """Index -> new index, when only these are kept."""
    return {index: place for place, index in enumerate(sorted(indices))}
