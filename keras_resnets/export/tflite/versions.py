"""The oldest release of TFLite that runs a file.

From TensorFlow's `lite/tools/versioning`: `runtime_version.cc` (the release that added a
version of an operator) and `op_version.cc` (the version that the types of the tensors
need). The converter states the release in the file, which edits may change afterwards;
other tools do not state it.
"""

import os
from typing import Any

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
    "ELU": "1.14.0",
    "FULLY_CONNECTED": "1.5.0 1.10.0 1.14.0 1.14.0 2.0.0 2.1.0 2.3.0 2.3.0 2.3.0 "
    "2.11.0 2.15.0 2.17.0 2.18.0 2.21.0",
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
# Versions that activations of a type need, if not the first.
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
# Of FULLY_CONNECTED; LiteRT 2.0.3 refuses the type, 2.1.0 runs it without XNNPACK.
_OF_INT2 = 14
# For FULLY_CONNECTED with int8 activations and int4 weights of several scales, which has
# no version of its own: TFLite 2.14 and 2.17 and LiteRT 1.0.1 refuse to prepare it,
# LiteRT 1.1.2, as old as TensorFlow 2.19, runs it.
_FINE_INT4 = (2, 19, 0)
# For int8 weights and float activations: with one scale, with one per channel.
_HYBRID = {"CONV_2D": (2, 5), "DEPTHWISE_CONV_2D": (4, 6), "FULLY_CONNECTED": (3, 12)}


def needed(content: Any) -> str | None:
    """The oldest release of TFLite that supports every operator of a file.

    Args:
        content: bytes of the file.

    Returns:
        A release such as `"2.4.0"`; None for an operator that is not in the table.
    """
    schema, model = tflite_runner.parse(content)
    names = tflite_runner.operator_names(schema)
    graph, releases = model.Subgraphs(0), {(1, 5, 0)}
    for index in range(graph.OperatorsLength()):
        op = graph.Operators(index)
        code = model.OperatorCodes(op.OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        version = max(code.Version(), _by_types(schema, graph, op, name))
        by_version = _RELEASES.get(name, "").split()
        if version > len(by_version):
            return None
        major, minor, patch = map(int, by_version[version - 1].split("."))
        releases.add((major, minor, patch))
        if _has_fine_int4(schema, graph, op, name):
            releases.add(_FINE_INT4)
    return ".".join(map(str, max(releases)))


def _has_fine_int4(schema: Any, graph: Any, op: Any, name: str) -> bool:
    """Whether an operator is a FULLY_CONNECTED of int4 weights with several scales."""
    if name != "FULLY_CONNECTED":
        return False
    weights = graph.Tensors(op.Inputs(1))
    is_int4 = weights.Type() == schema.TensorType.INT4
    return bool(is_int4 and weights.Quantization().ScaleLength() > 1)


def _by_types(schema: Any, graph: Any, op: Any, name: str) -> int:
    """The version that the types of an operator's tensors need."""
    types, kinds = schema.TensorType, []
    inputs = [index for index in op.InputsAsNumpy() if index >= 0]
    for index in (*inputs[:2], *op.OutputsAsNumpy()[:1]):
        kinds.append(graph.Tensors(index).Type())
    if name in _HYBRID and len(inputs) > 1:
        weights = graph.Tensors(inputs[1])
        if kinds[1] == types.INT2:
            return _OF_INT2
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


def stamp(file: str | os.PathLike[str]) -> None:
    """Writes the release that a file needs into its metadata, in place.

    Args:
        file: its path. A file without such metadata is not changed.
    """
    with tflite_runner.opened(file) as content:
        text, places = (needed(content) or "").encode(), _places(content)
    # Plain writes: through a memory map, a full disk would end the process.
    with open(file, "r+b") as edited:
        for start, length in places:
            edited.seek(start)
            edited.write(text.ljust(length, b"\0"))


def _places(content: Any) -> list[tuple[int, int]]:
    """(start, length) of each place that holds the release."""
    _, model = tflite_runner.parse(content)
    file, places = np.frombuffer(content, "uint8"), []
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == _KEY:
            # A view into the file.
            data = model.Buffers(entry.Buffer()).DataAsNumpy()
            places.append((data.ctypes.data - file.ctypes.data, len(data)))
    return places


def lowered(content: Any) -> Any:
    """The bytes of a `dynamic` file whose dense layers have one scale each.

    Scales per channel need TFLite 2.17, and older runtimes refuse the file.
    """
    return _Lowering.rewritten(content)


class _Lowering(file_editor.Editor):
    def apply(self) -> bool:
        """Makes the changes; returns whether there were any."""
        lowered = [op for op in self.graph.operators if self._has_scales(op)]
        for op in lowered:
            self._give_one_scale(op)
            asymmetric = op.builtinOptions.asymmetricQuantizeInputs
            self.become(op, "FULLY_CONNECTED", 9 if asymmetric else 3)
        return bool(lowered)

    def _has_scales(self, op: Any) -> bool:
        """Whether an operator is a dense layer of floats with a scale per channel."""
        if self.code(op) != "FULLY_CONNECTED":
            return False
        image, kernel = (self.graph.tensors[index] for index in op.inputs[:2])
        is_hybrid = image.type == self.schema.TensorType.FLOAT32
        is_hybrid &= kernel.type == self.schema.TensorType.INT8
        return is_hybrid and len(kernel.quantization.scale) > 1

    def _give_one_scale(self, op: Any) -> None:
        kernel = self.graph.tensors[op.inputs[1]]
        integers = self.data(op.inputs[1]).view("int8").reshape(kernel.shape)
        values = integers * np.asarray(kernel.quantization.scale)[:, None]
        scale = np.float32(max(np.abs(values).max(), 1e-30) / 127)
        integers = np.rint(values / scale).astype("int8")
        replaced = self.replace_constant(op, 1, integers)
        replaced.quantization = file_editor.symmetric(self.schema, scale)
