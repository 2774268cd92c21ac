"""Which release of TFLite a file needs, and no later one than that.

From TensorFlow's `lite/tools/versioning`: `runtime_version.cc` (since when a version of
an operator is known) and `op_version.cc` (which version what types need). The converter
states what it wrote, and no longer what became of it by an edit; other tools state
nothing.
"""

import copy

import numpy as np

from keras_resnets.export.tflite import file_editor
from keras_resnets.export.tflite import runner as tflite_runner

_KEY = b"min_runtime_version"
# Release by operator, of its versions 1, 2, 3, ...
_RELEASES = {
    "ABS": "1.13.0 2.4.0 2.5.0 2.6.0 2.12.0",
    "ADD": "1.5.0 1.14.0 2.4.0 2.6.0 2.13.0",
    "AVERAGE_POOL_2D": "1.5.0 1.14.0 2.3.0",
    "CAST": "1.5.0 2.7.0 2.8.0 2.9.0 2.12.0 2.15.0 2.17.0",
    "CONCATENATION": "1.5.0 1.14.0 2.3.0 2.14.0",
    "CONV_2D": "1.5.0 1.14.0 1.14.0 2.3.0 2.4.0 2.9.0 2.11.0 2.15.0",
    "DENSIFY": "2.2.0",
    "DEPTHWISE_CONV_2D": "1.5.0 1.12.0 1.14.0 2.2.0 2.3.0 2.3.0 2.11.0",
    "DEQUANTIZE": "1.13.1 1.14.0 1.15.0 2.2.0 2.7.0 2.18.0",
    "DIV": "1.6.0 2.3.0",
    "FULLY_CONNECTED": "1.5.0 1.10.0 1.14.0 1.14.0 2.0.0 2.1.0 2.3.0 2.3.0 2.3.0 "
    "2.11.0 2.15.0 2.17.0 2.18.0",
    "GELU": "2.9.0 2.9.0",
    "HARD_SWISH": "1.15.0",
    "LEAKY_RELU": "1.13.1 2.3.0",
    "LOGISTIC": "1.14.0 1.14.0 2.3.0",
    "MAX_POOL_2D": "1.5.0 1.14.0 2.3.0",
    "MAXIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
    "MEAN": "1.6.0 1.14.0 2.4.0",
    "MINIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
    "MUL": "1.5.0 1.14.0 1.15.0 2.3.0 2.6.0 2.11.0 2.13.0",
    "NEG": "1.9.0",
    "PACK": "1.11.0 1.14.0 2.3.0 2.13.0",
    "PAD": "1.5.0 1.14.0 2.4.0 2.6.0",
    "PADV2": "1.9.0 1.14.0 2.4.0 2.6.0",
    "QUANTIZE": "1.14.0 1.15.0 2.7.0",
    "RELU": "1.5.0 2.1.0 2.5.0",
    "RELU6": "1.5.0 1.14.0 2.5.0",
    "RESHAPE": "1.5.0",
    "RESIZE_BILINEAR": "1.7.0 1.14.0 2.2.0 2.5.0",
    "RSQRT": "1.10.0 2.5.0 2.15.0",
    "SHAPE": "1.10.0",
    "SLICE": "1.14.0 1.14.0 1.14.0 2.4.0 2.5.0 2.14.0",
    "SOFTMAX": "1.5.0 1.14.0 2.3.0",
    "SQRT": "1.10.0",
    "SQUARED_DIFFERENCE": "1.13.1 2.5.0",
    "SQUEEZE": "1.6.0 2.5.0",
    "STRIDED_SLICE": "1.6.0 1.14.0 2.1.0 2.2.0 2.5.0 2.6.0 2.14.0 2.14.0",
    "SUB": "1.6.0 1.14.0 2.3.0 2.4.0 2.4.0",
    "SUM": "1.10.0 1.15.0",
    "TANH": "1.14.0 1.14.0 2.3.0",
    "TRANSPOSE": "1.6.0 1.14.0 1.15.0 2.3.0 2.4.0 2.12.0 2.14.4",
}
# Versions that activations of a type need, where that is more than the first.
_OF_INT8 = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    **dict.fromkeys(
        "ADD AVERAGE_POOL_2D CONCATENATION LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL "
        "PAD PADV2 RELU RELU6 SOFTMAX STRIDED_SLICE SUB TANH TRANSPOSE".split(),
        2,
    ),
}
_OF_INT16 = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "FULLY_CONNECTED": 7,
    "LEAKY_RELU": 2,
    "LOGISTIC": 3,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MUL": 4,
    "PAD": 3,
    "PADV2": 3,
    "RELU": 3,
    "SOFTMAX": 3,
    "STRIDED_SLICE": 4,
    "SUB": 5,
    "TRANSPOSE": 5,
}
_OF_INT4 = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10}
# Of FULLY_CONNECTED with int8 activations and int4 weights of several scales, which no
# version of the operator tells: TFLite 2.14 and 2.17 and LiteRT 1.0.1 refuse it when they
# prepare, LiteRT 1.1.2, of the time of TensorFlow 2.19, runs it.
_FINE_INT4 = (2, 19, 0)
# Of int8 weights between float activations: one scale, one a channel.
_HYBRID = {"CONV_2D": (2, 5), "DEPTHWISE_CONV_2D": (4, 6), "FULLY_CONNECTED": (3, 12)}


def needed(content):
    """The oldest release of TFLite that knows every operator of a file, as `2.4.0`.

    Args:
        content: bytes of the file.

    Returns:
        None where it has an operator that is not in the table.
    """
    schema, model = tflite_runner.parse(content)
    names = tflite_runner.operator_names(schema)
    graph, found = model.Subgraphs(0), {(1, 5, 0)}
    for index in range(graph.OperatorsLength()):
        op = graph.Operators(index)
        code = model.OperatorCodes(op.OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        version = max(code.Version(), _by_types(schema, graph, op, name))
        releases = _RELEASES.get(name, "").split()
        if version > len(releases):
            return None
        found.add(tuple(map(int, releases[version - 1].split("."))))
        if _has_fine_int4(schema, graph, op, name):
            found.add(_FINE_INT4)
    return ".".join(map(str, max(found)))


def _has_fine_int4(schema, graph, op, name):
    """Whether an operator is a FULLY_CONNECTED of int4 weights with several scales."""
    if name != "FULLY_CONNECTED":
        return False
    weights = graph.Tensors(op.Inputs(1))
    is_int4 = weights.Type() == schema.TensorType.INT4
    return is_int4 and weights.Quantization().ScaleLength() > 1


def _by_types(schema, graph, op, name):
    """The version that the types of an operator's tensors need."""
    types, kinds = schema.TensorType, []
    inputs = [index for index in op.InputsAsNumpy() if index >= 0]
    for index in (*inputs[:2], *op.OutputsAsNumpy()[:1]):
        kinds.append(graph.Tensors(index).Type())
    if name in _HYBRID and len(inputs) > 1:
        weights = graph.Tensors(inputs[1])
        if kinds[1] == types.INT4:
            # The version that `int4.PER_CHANNEL` writes for several scales.
            is_wide = _has_fine_int4(schema, graph, op, name)
            return 12 if is_wide else _OF_INT4[name]
        if kinds[0] == types.FLOAT32 and kinds[1] == types.INT8:
            return _HYBRID[name][weights.Quantization().ScaleLength() > 1]
        image = graph.Tensors(inputs[0]).ShapeAsNumpy()
        if name == "CONV_2D" and image[3] != weights.ShapeAsNumpy()[3]:
            return 6
    if types.INT16 in kinds:
        return _OF_INT16.get(name, 1)
    return _OF_INT8.get(name, 1) if kinds[0] == types.INT8 else 1


def stamp(file):
    """Writes the release that a file needs into its metadata, in place.

    Args:
        file: its path. One without such metadata stays as it is.
    """
    with tflite_runner.opened(file) as content:
        text, places = (needed(content) or "").encode(), _places(content)
    # Plain writes: through a memory map, a full disk would end the process.
    with open(file, "r+b") as edited:
        for start, length in places:
            edited.seek(start)
            edited.write(text.ljust(length, b"\0"))


def _places(content):
    """(start, length) of each place that holds the release."""
    _, model = tflite_runner.parse(content)
    whole, places = np.frombuffer(content, "uint8"), []
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == _KEY:
            # A view into the file.
            held = model.Buffers(entry.Buffer()).DataAsNumpy()
            places.append((held.ctypes.data - whole.ctypes.data, len(held)))
    return places


def lowered(content):
    """The bytes of a `dynamic` file whose dense layers have one scale each.

    One a channel needs TFLite 2.17, and old runtimes refuse the file.
    """
    editor = _Lowering(content)
    return editor.finished() if editor.run() else content


class _Lowering(file_editor.Editor):
    def run(self):
        """Makes the changes; whether there was one."""
        changed, types = False, self.schema.TensorType
        for op in self.graph.operators:
            kinds = [self.graph.tensors[index].type for index in op.inputs[:2]]
            if self.code(op) != "FULLY_CONNECTED" or kinds != [
                types.FLOAT32,
                types.INT8,
            ]:
                continue
            if len(self.graph.tensors[op.inputs[1]].quantization.scale) > 1:
                op.inputs[1] = self._of_one_scale(op.inputs[1])
                asymmetric = op.builtinOptions.asymmetricQuantizeInputs
                version = 9 if asymmetric else 3
                op.opcodeIndex = self.operator_code("FULLY_CONNECTED", version)
                changed = True
        return changed

    def _of_one_scale(self, index):
        tensor = copy.copy(self.graph.tensors[index])
        held = self.data(index).view("int8").reshape(tensor.shape)
        values = held * np.asarray(tensor.quantization.scale)[:, None]
        scale = np.float32(max(np.abs(values).max(), 1e-30) / 127)
        tensor.quantization = self.schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], "float32")
        tensor.quantization.zeroPoint = np.zeros(1, "int64")
        tensor.buffer = self.add_buffer(np.rint(values / scale).astype("int8"))
        return self.add_tensor(tensor)
