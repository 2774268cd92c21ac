"""Changes operators of an int8 TFLite file to int16 or float, in the file itself.

The converter decides by rules of its own what it computes in integers: an operator
between int8 tensors becomes int8 whether its weights are rounded or not, and one with
an int16 output gets an int8 input, which LiteRT refuses ("output->type != input_type").
So the file is converted as int8 throughout, and edited: operators get other weights,
and QUANTIZE and DEQUANTIZE around them where the precision of their tensors differs.
"""

import copy
import re
import typing

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export.tflite import file_editor
from keras_resnets.quantization import operators

_LARGEST = 32767
# From a Keras kernel (height, width, inputs, outputs) to that of the operator.
TURNS = {
    "CONV_2D": (3, 0, 1, 2),
    "DEPTHWISE_CONV_2D": (2, 0, 1, 3),
    "FULLY_CONNECTED": (1, 0),
}
# The network's input and output, with scales of their own, and what has no int16 form.
_OUTSIDE = (
    "SOFTMAX",
    "LOGISTIC",
    "TANH",
    "HARD_SWISH",
    "QUANTIZE",
    "DEQUANTIZE",
)
# Of QUANTIZE (2 knows integers as input) and DEQUANTIZE; all other operators have the
# versions in int16 that they have in int8, as in the converter's own int16 files.
_VERSION = 2
_NUMBER = re.compile(r"_\d+$")


def mix(
    content: bytes | memoryview, graph: operators.Graph, precisions: dict[str, str]
) -> bytes:
    """Changes the precision of some operators of a file; returns its bytes.

    Args:
        content: bytes of the int8 file of a frozen model.
        graph: the `operators.Graph` of that model.
        precisions: `"int8"`, `"int16"` or `"float"` by name of an operator.

    Raises:
        ExportError: the file does not have the expected operators.
    """
    content = bytes(content)
    if set(precisions.values()) <= {"int8"}:
        return content
    return _Mixer(content, graph, precisions).run()


def names(content: bytes | memoryview, graph: operators.Graph) -> set[str]:
    """Returns the operators of `graph` that are single operators in the int8 file."""
    return set(Named(bytes(content), graph).found)


def kinds(content: bytes | memoryview, graph: operators.Graph) -> dict[str, str]:
    """Reads the precision of each operator from a mixed file, by name."""
    editor = Named(bytes(content), graph)
    return {name: editor.precision(op) for name, op in editor.found.items()}


class Named(file_editor.Editor):
    """A file; `found` are its operators by their names in the graph."""

    def __init__(self, content: bytes, graph: operators.Graph) -> None:
        super().__init__(content)
        self._known = {operator.name: operator for operator in graph.operators}
        self._types = {
            "int8": self.schema.TensorType.INT8,
            "int16": self.schema.TensorType.INT16,
            "float": self.schema.TensorType.FLOAT32,
        }
        self.found = self._find()

    def _find(self) -> dict[str, typing.Any]:
        scopes = {
            id(op): self._scopes(op)
            for op in self.graph.operators
            if self.code(op) not in _OUTSIDE
        }
        # Keras opens the scope of a layer twice, so that "conv_1" is usually that of
        # "conv", even if there is another layer "conv_1".
        numbered = any(
            scope not in self._known and _NUMBER.sub("", scope) in self._known
            for several in scopes.values()
            for scope in several
        )
        every: dict[str | None, list[typing.Any]] = {}
        for op in self.graph.operators:
            if id(op) in scopes:
                name = self._layer(scopes[id(op)], numbered)
                every.setdefault(name, []).append(op)
        return {name: ops[0] for name, ops in every.items() if name and len(ops) == 1}

    def _scopes(self, op: typing.Any) -> list[str]:
        """The scopes in the name of an operator's output, from the innermost."""
        name = self.graph.tensors[op.outputs[0]].name.decode()
        name = name.removesuffix("_int16").removesuffix("_float")
        return name.partition(";")[0].split("/")[-2::-1]

    def _layer(self, scopes: list[str], numbered: bool) -> str | None:
        """The layer, of those in the graph, that the innermost scope belongs to."""
        for scope in scopes:
            both = scope, _NUMBER.sub("", scope)
            for name in reversed(both) if numbered else both:
                if name in self._known:
                    return name
        return None

    def precision(self, op: typing.Any) -> str:
        """The precision of an operator."""
        types = {self.graph.tensors[index].type for index in op.outputs}
        return next(name for name, number in self._types.items() if number in types)


class _Mixer(Named):
    def __init__(
        self, content: bytes, graph: operators.Graph, precisions: dict[str, str]
    ) -> None:
        super().__init__(content, graph)
        self._network, self._precisions = graph, precisions
        self._names = {id(op): name for name, op in self.found.items()}
        # By tensor: its precision, its `FakeQuantize`, and its scale as int16.
        self._kept: dict[int, str] = {}
        self._grids: dict[int, typing.Any] = {}
        self._scales: dict[int, float] = {}
        self._casts: dict[tuple[int, str], int] = {}
        self._done: list[typing.Any] = []

    def run(self) -> bytes:
        """Applies the changes; returns the bytes of the file."""
        missing = [name for name in self._precisions if name not in self.found]
        if missing:
            raise ExportError(
                f"the file has no operator {', '.join(missing)} that can have other than "
                "8 bits; nothing was written"
            )
        for op in self.graph.operators:
            self._keep(op)
        for index, precision in self._kept.items():
            self._scales[index] = self._range16(index)
            self._set_type(self.graph.tensors[index], precision, self._scales[index])
        for op in self.graph.operators:
            self._place(op)
        self.graph.operators = self._done
        return self.finished()

    def _keep(self, op: typing.Any) -> None:
        """Chooses the precision of the output of an operator."""
        if self.code(op) in _OUTSIDE:
            return
        grid = self._grids.get(op.inputs[0])
        precision = self._kept.get(op.inputs[0], "int8")
        if id(op) in self._names:
            grid = self._known[self._names[id(op)]].output
            precision = self._network.precision_of(grid, self._precisions)
        self._kept[op.outputs[0]], self._grids[op.outputs[0]] = precision, grid

    def _range16(self, index: int) -> float:
        """Returns the scale of a tensor as int16, with its int8 range if that is kept."""
        grid = self._grids.get(index)
        if self._kept.get(index) == "int16" and grid is not None:
            return self._network.largest(grid) / _LARGEST
        how = self.graph.tensors[index].quantization
        scale, zero = float(how.scale[0]), int(how.zeroPoint[0])
        return scale * max(127 - zero, 128 + zero) / _LARGEST

    def _set_type(
        self, tensor: typing.Any, precision: str, scale: float | None = None
    ) -> None:
        tensor.type = self._types[precision]
        if precision == "float":
            tensor.quantization = None
        elif precision == "int16":
            tensor.quantization = file_editor.symmetric(self.schema, scale)

    def _place(self, op: typing.Any) -> None:
        name, code = self._names.get(id(op)), self.code(op)
        if name is None:
            # It moves values and keeps their precision.
            self._done.append(op)
            return
        precision = self._precisions.get(name, "int8")
        if precision != "int8":
            self._compute_in(op, code, self._known[name], precision)
        inputs = [self._as(index, precision) for index in op.inputs]
        if precision == "int16" and code in TURNS:
            inputs[2] = self._wide_bias(op, inputs, self._known[name])
        op.inputs = inputs
        self._done.append(op)
        output = op.outputs[0]
        if self._kept[output] != precision:
            converted = self._tensor_like(output, precision)
            op.outputs = [converted]
            self._cast(converted, output, self._kept[output])

    def _as(self, index: int, precision: str) -> int:
        """Returns the tensor `index` in another precision; itself if not an activation."""
        is_input = index in set(self.graph.inputs)
        if index not in self._kept and not is_input and not self._is_quantized(index):
            return index
        current = self._kept.get(index, "int8")
        if current == precision:
            return index
        if (index, precision) not in self._casts:
            if index not in self._scales:
                self._scales[index] = self._range16(index)
            converted = self._tensor_like(index, precision)
            self._cast(index, converted, precision)
            self._casts[index, precision] = converted
        return self._casts[index, precision]

    def _is_quantized(self, index: int) -> bool:
        """Returns whether a tensor is an int8 activation."""
        if index < 0:
            return False
        is_int8 = self.graph.tensors[index].type == self._types["int8"]
        return is_int8 and self.data(index) is None

    def _tensor_like(self, index: int, precision: str) -> int:
        tensor = copy.copy(self.graph.tensors[index])
        tensor.name = tensor.name + f"_{precision}".encode()
        tensor.buffer = 0
        if precision == "int8":
            raise ExportError("an int8 operator has int8 tensors")
        self._set_type(tensor, precision, self._scales[index])
        return self.add_tensor(tensor)

    def _cast(self, source: int, target: int, after: str) -> None:
        code = "DEQUANTIZE" if after == "float" else "QUANTIZE"
        self._done.append(self.operator(code, _VERSION, [source], [target]))

    def _compute_in(
        self, op: typing.Any, code: str, operator: operators.Operator, precision: str
    ) -> None:
        """Sets the constants and options of an operator for a precision."""
        if precision == "int16" and code == "ADD":
            # Any scale, not only powers of two.
            op.builtinOptions.potScaleInt16 = False
        if code in TURNS:
            if precision == "float":
                self._make_float(op, code, operator)
        elif operator.weights is not None:
            place = next(i for i, t in enumerate(op.inputs) if t not in self._kept)
            values = keras.ops.convert_to_numpy(operator.weights.folded_values())
            scale = max(float(np.abs(values).max()), 1e-12) / _LARGEST
            if precision == "int16":
                values = np.rint(values / scale).astype("int16")
            self._set_type(self.replace_constant(op, place, values), precision, scale)

    def _make_float(
        self, op: typing.Any, code: str, operator: operators.Operator
    ) -> None:
        kernel = keras.ops.convert_to_numpy(operator.weights.folded_kernel())
        kernel = kernel.astype("float32").transpose(TURNS[code])
        self._check(op, kernel, operator)
        layer = operator.weights
        bias = self._network.biases.get(layer.name, layer.bias)
        bias = keras.ops.convert_to_numpy(bias).astype("float32")
        for place, values in ((1, kernel), (2, bias)):
            self._set_type(self.replace_constant(op, place, values), "float")

    def _check(
        self, op: typing.Any, kernel: np.ndarray, operator: operators.Operator
    ) -> None:
        """Raises `ExportError` unless the file has the integers of this kernel."""
        tensor = self.graph.tensors[op.inputs[1]]
        same = tuple(tensor.shape) == kernel.shape
        if same:
            integers = self.model.buffers[tensor.buffer].data.view("int8")
            how = tensor.quantization
            sizes = np.ones(kernel.ndim, int)
            sizes[how.quantizedDimension] = -1
            scale = how.scale.reshape(sizes) if len(how.scale) > 1 else how.scale[0]
            error = np.abs(integers.reshape(kernel.shape) * scale - kernel) / scale
            same = float(error.max()) < 1
        if not same:
            raise ExportError(
                f"the converter did not use the kernel of {operator.name} as it should; "
                "nothing was written"
            )

    def _wide_bias(
        self, op: typing.Any, inputs: list[int], operator: operators.Operator
    ) -> int:
        """Returns an int64 bias, whose scale is that of the input times the kernel's."""
        scale = self.graph.tensors[inputs[0]].quantization.scale[0]
        quantization = self.graph.tensors[inputs[1]].quantization
        steps = quantization.scale.astype("float64") * float(scale)
        bias = keras.ops.convert_to_numpy(operator.weights.bias).astype("float64")
        tensor = copy.copy(self.graph.tensors[op.inputs[2]])
        tensor.type = self.schema.TensorType.INT64
        tensor.quantization = file_editor.symmetric(self.schema, steps)
        tensor.buffer = self.add_buffer(np.rint(bias / steps).astype("int64"))
        return self.add_tensor(tensor)
