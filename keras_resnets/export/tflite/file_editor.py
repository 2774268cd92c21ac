"""A TFLite file as objects that can be changed, and back to bytes."""

import numpy as np

from keras_resnets.export.tflite import runner as tflite_runner

IDENTIFIER = b"TFL3"
# Kernels of runtimes read their constants in such steps.
ALIGNMENT = 16


class Editor:
    """One file, as objects.

    Args:
        content: its bytes.

    Attributes:
        schema: the module of the file format.
        model: the whole file, a `schema.ModelT`.
        graph: its main graph, a `schema.SubGraphT`.
    """

    def __init__(self, content):
        self.schema, root = tflite_runner.parse(content)
        self.model = self.schema.ModelT.InitFromObj(root)
        self.graph = self.model.subgraphs[0]
        self._size = len(content)
        for op in self.graph.operators:
            # Views of the file, which cannot be changed.
            op.inputs, op.outputs = list(op.inputs), list(op.outputs)
        self._codes = tflite_runner.operator_names(self.schema)

    def code(self, op):
        """The name of what an operator does."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return self._codes[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def data(self, index):
        """The bytes of the constant tensor `index`; None for one that is computed."""
        if index < 0:
            return None
        data = self.model.buffers[self.graph.tensors[index].buffer].data
        return None if data is None or not len(data) else data

    def add_tensor(self, tensor):
        """Adds a `schema.TensorT`; returns its index."""
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add_buffer(self, values):
        """Adds the constant array `values`; returns the index of its buffer."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), "uint8")
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def operator_code(self, name, version):
        """The index of an operator's code, which is added where there is none."""
        number = getattr(self.schema.BuiltinOperator, name)
        for index, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == number and code.version == version:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.version = number, version
        code.deprecatedBuiltinCode = min(number, 127)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def finished(self):
        """The bytes of the changed file, without what nobody uses any more."""
        drop_unused(self.model)
        self.model.buffers = [
            _Aligned(self.schema, buffer.data) for buffer in self.model.buffers
        ]
        builder = _sharing_builder(self._size)
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def _sharing_builder(size):
    """A builder of FlatBuffers that writes equal small vectors once.

    An int8 kernel and its bias have a zero point of eight bytes a channel, all of them 0,
    and many tensors have the same shape: of a small network that is 5 % of the file. All
    readers follow an offset to a vector, whoever else points there.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):
        def __init__(self, size):
            super().__init__(size)
            self._written = {}

        def CreateNumpyVector(self, x):  # noqa: N802
            # Bytes are buffers, which are aligned by more than their type.
            if not isinstance(x, np.ndarray) or x.dtype == np.uint8:
                return super().CreateNumpyVector(x)
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = super().CreateNumpyVector(x)
            return self._written[key]

    return Builder(size)


def without_names(content):
    """The bytes of a file whose inner tensors have no names.

    No runtime needs them: inputs and outputs keep theirs, and the signature its own.
    """
    editor = Editor(content)
    ends = {*editor.graph.inputs, *editor.graph.outputs}
    for index, tensor in enumerate(editor.graph.tensors):
        if index not in ends:
            tensor.name = None
    return editor.finished()


def name_ends(model, outputs):
    """Gives inputs and outputs their names, and the outputs their order.

    The converter's order by index is neither that of the network nor of the alphabet,
    and a tensor of its is called `StatefulPartitionedCall:1`.

    Args:
        model: a `schema.ModelT`, changed in place.
        outputs: what the signature calls them, in the order that they shall have.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    places = {name: index for index, name in enumerate(outputs)}
    made = sorted(signature.outputs, key=lambda entry: places[entry.name.decode()])
    signature.outputs, graph.outputs = made, [entry.tensorIndex for entry in made]
    taken, named = {bytes(tensor.name) for tensor in graph.tensors}, set()
    for entry in [*signature.inputs, *signature.outputs]:
        # One that is put out twice, or is an input too, has the first of its names.
        if entry.name not in taken and entry.tensorIndex not in named:
            graph.tensors[entry.tensorIndex].name = entry.name
            taken.add(entry.name)
        named.add(entry.tensorIndex)


def with_named_ends(content, outputs):
    """The bytes of a file with `name_ends` done."""
    editor = Editor(bytes(content))
    name_ends(editor.model, outputs)
    return editor.finished()


class _Aligned:
    """A buffer that is written where the kernels of a runtime can read it at once."""

    def __init__(self, schema, data):
        self._schema, self._data = schema, data

    def Pack(self, builder):  # noqa: N802
        return write_buffer(self._schema, builder, self._data)


def write_buffer(schema, builder, data):
    """Writes a buffer of so many bytes, or an empty one, aligned; returns its place."""
    place = None
    if data is not None and len(data):
        builder.Prep(ALIGNMENT, len(data))
        place = builder.CreateNumpyVector(np.asarray(data, "uint8"))
    schema.BufferStart(builder)
    if place is not None:
        schema.BufferAddData(builder, place)
    return schema.BufferEnd(builder)


def drop_unused(model):
    """Drops tensors that nobody names, and operator codes that nobody uses, any more."""
    graph = model.subgraphs[0]
    entries = [*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs]
    lists = [graph.__dict__, *(operator.__dict__ for operator in graph.operators)]
    named = {i for one in lists for key in ("inputs", "outputs") for i in one[key]}
    kept = [index for index in range(len(graph.tensors)) if index in named]
    places = {index: place for place, index in enumerate(kept)}
    # An input that is left out is -1.
    places[-1] = -1
    graph.tensors = [graph.tensors[index] for index in kept]
    for one in lists:
        for key in ("inputs", "outputs"):
            one[key] = [places[index] for index in one[key]]
    for entry in entries:
        entry.tensorIndex = places[entry.tensorIndex]
    codes = sorted({operator.opcodeIndex for operator in graph.operators})
    model.operatorCodes = [model.operatorCodes[index] for index in codes]
    for operator in graph.operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    _drop_buffers(model)


def _drop_buffers(model):
    entries = [*model.subgraphs[0].tensors, *(model.metadata or [])]
    # The first is the empty one.
    kept = sorted({0, *(entry.buffer for entry in entries)})
    model.buffers = [model.buffers[index] for index in kept]
    for entry in entries:
        entry.buffer = kept.index(entry.buffer)
