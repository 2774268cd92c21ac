"""Quantization-aware models as ONNX with QuantizeLinear/DequantizeLinear pairs.

tf2onnx makes QuantizeLinear and DequantizeLinear of the ranges. Here the kernels, biases
and constants become integers behind DequantizeLinear, and what only moves values gets
the scale of what it reads, so that a runtime can compute all of it in integers.
"""

import typing

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export.onnx import convert as onnx
from keras_resnets.export.onnx import simplify
from keras_resnets.export.prepare import Ready
from keras_resnets.quantization.backends import engines
from keras_resnets.quantization.qat.layers import KERNELS
from keras_resnets.quantization.qat.layers import ChannelOffset
from keras_resnets.quantization.qat.layers import ChannelScale
from keras_resnets.quantization.qat.layers import FakeQuantize

# They move values and keep their scale.
_MOVING = ("Flatten", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "Transpose")
_KERNELS = ("Conv", "Gemm", "MatMul")
# int8 kernels span -127..127, int8 activations -128..127.
_LARGEST = 127


def convert(
    ready: Ready,
    opset: int = 17,
    layout: str = "nhwc",
    symmetric: bool = False,
) -> typing.Any:
    """Converts a quantization-aware model into an `onnx.ModelProto` with QDQ pairs.

    Args:
        ready: the `prepare.Ready` of the frozen model. With symmetric activations its
            ranges are changed to int8 around 0, of which a ReLU uses one half.
        opset: see `export.to_onnx`.
        layout: see `export.to_onnx`.
        symmetric: see `export.to_onnx`.
    """
    if symmetric:
        _center(ready.model)
    with engines.exporting(ready.model):
        proto, constants = onnx.convert(ready, opset, layout, apart=False)
    simplify.add_constants(proto, constants)
    _Pairs(proto, ready.model, symmetric).run()
    return proto


def _center(frozen: keras.Model) -> None:
    """Changes every range so that 0 is its middle integer."""
    for layer in frozen.layers:
        if isinstance(layer, FakeQuantize):
            low, high = layer.bounds()
            step = max(high, -low) / _LARGEST
            layer.set_range(-(_LARGEST + 1) * step, _LARGEST * step)


class _Pairs:
    """A graph whose activations have QDQ pairs, and the model that it comes from."""

    def __init__(self, proto: typing.Any, frozen: keras.Model, symmetric: bool) -> None:
        self._proto, self._graph, self._symmetric = proto, proto.graph, symmetric
        self._arrays = _arrays(proto.graph)
        self._makers = {name: x for x in proto.graph.node for name in x.output}
        self._kernels = [_kernel(x) for x in frozen.layers if isinstance(x, KERNELS)]
        kinds = (ChannelScale, ChannelOffset)
        self._vectors = [_vector(x) for x in frozen.layers if isinstance(x, kinds)]
        self._new: list[typing.Any] = []
        self._count = 0

    def run(self) -> None:
        """Applies the changes."""
        self._place_pairs()
        for node in list(self._graph.node):
            if node.op_type in _KERNELS:
                self._give_kernel(node)
            elif node.op_type in ("Mul", "Add"):
                self._give_vector(node)
        for node in self._new:
            self._graph.node.insert(0, node)
        if self._symmetric:
            self._center_zero_points()
        simplify.pad_integers(self._proto)

    def _place_pairs(self) -> None:
        """Adds the qparams of the input after an operator that only moves values."""
        outputs, nodes = {value.name for value in self._graph.output}, []
        for node in self._graph.node:
            nodes.append(node)
            source = self._makers.get(node.input[0]) if node.input else None
            if source is None or source.op_type != "DequantizeLinear":
                continue
            if node.op_type not in _MOVING or node.output[0] in outputs:
                continue
            output, parameters = node.output[0], list(source.input[1:])
            node.output[0] = f"{output}_moved"
            self._makers[node.output[0]] = node
            for kind, pair_input, name in (
                ("QuantizeLinear", node.output[0], f"{output}_integers"),
                ("DequantizeLinear", f"{output}_integers", output),
            ):
                new = self._node(kind, [pair_input, *parameters], name)
                self._makers[name] = new
                nodes.append(new)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        self._makers = {name: x for x in self._graph.node for name in x.output}

    def _give_kernel(self, node: typing.Any) -> None:
        array = self._arrays.get(node.input[1])
        if array is None:
            return
        scale = next(
            (
                s
                for k, s in self._kernels
                if k.shape == array.shape and _near(k, array, s)
            ),
            None,
        )
        if scale is None:
            raise ExportError(
                f"tf2onnx did not use the kernel of {node.name} as it should; nothing "
                "was written"
            )
        axis = 0 if node.op_type == "Conv" else 1
        integers = np.rint(array / _along(scale, array.ndim, axis)).astype("int8")
        node.input[1] = self._integers(integers, scale, axis)
        if len(node.input) > 2 and node.input[2] in self._arrays:
            source = self._makers.get(node.input[0])
            if source is None or source.op_type != "DequantizeLinear":
                return
            step = scale * self._arrays[source.input[1]]
            bias = np.rint(self._arrays[node.input[2]].astype("float64") / step)
            limits = np.iinfo("int32")
            bias = np.clip(bias, limits.min, limits.max).astype("int32")
            node.input[2] = self._integers(bias, step, 0)

    def _give_vector(self, node: typing.Any) -> None:
        """Quantizes the constant of a Mul or an Add with the model's scale."""
        for place, name in enumerate(node.input):
            array = self._arrays.get(name)
            if array is None:
                continue
            for values, scale, zero in self._vectors:
                if values.size == array.size and _near(values, array.ravel(), scale):
                    integers = np.rint(array / scale) + zero
                    integers = integers.astype("uint8")
                    node.input[place] = self._integers(integers, scale, 0, zero)
                    break

    def _integers(
        self, integers: np.ndarray, scale: typing.Any, axis: int, zero: int = 0
    ) -> str:
        """Adds a quantized constant; returns the output of its DequantizeLinear."""
        scale = np.asarray(scale, "float32")
        zeros = np.full(scale.shape, zero, integers.dtype)
        self._count += 1
        base = f"quantized_constant_{self._count}"
        names = [self._constant(base, integers)]
        names.append(self._constant(f"{base}_scale", scale))
        names.append(self._constant(f"{base}_zero_point", zeros))
        options = {"axis": axis} if scale.ndim else {}
        self._new.append(
            self._node("DequantizeLinear", names, f"{base}_real", **options)
        )
        return f"{base}_real"

    def _constant(self, name: str, array: np.ndarray) -> str:
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(array, name))
        self._arrays[name] = array
        return name

    def _node(
        self, kind: str, inputs: list[str], output: str, **options: typing.Any
    ) -> typing.Any:
        from onnx import helper

        name = f"{output}_{kind}"
        return helper.make_node(kind, inputs, [output], name=name, **options)

    def _center_zero_points(self) -> None:
        """Turns uint8 with zero point 128 into int8 with 0, which has the same values."""
        zero = self._constant("zero_point_of_all", np.zeros((), "int8"))
        for node in self._graph.node:
            activation = node.op_type == "QuantizeLinear" or (
                node.op_type == "DequantizeLinear"
                and not node.input[0].startswith("quantized_constant_")
            )
            if activation:
                node.input[2] = zero


def _arrays(graph: typing.Any) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _kernel(layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Returns (rounded values in ONNX's layout, scale: one, or per output channel)."""
    kernel = keras.ops.convert_to_numpy(layer.rounded_kernel()).astype("float32")
    radius = keras.ops.convert_to_numpy(layer.kernel_radius).astype("float64")
    scale = radius / _LARGEST
    return (kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel), scale


def _vector(layer: keras.layers.Layer) -> tuple[np.ndarray, float, int]:
    """Returns (rounded values, scale, zero point) of one value per channel."""
    low, high = map(float, layer.bounds())
    scale = (high - low) / 255
    values = keras.ops.convert_to_numpy(layer.rounded_values()).astype("float32")
    return values, scale, int(np.floor(-low / scale + 0.5))


def _along(scale: typing.Any, rank: int, axis: int) -> typing.Any:
    """Reshapes per-channel scales to the axis of the channels."""
    if not np.ndim(scale):
        return scale
    sizes = np.ones(rank, int)
    sizes[axis] = -1
    return np.reshape(scale, sizes)


def _near(ours: np.ndarray, theirs: np.ndarray, scale: typing.Any) -> bool:
    axis = 0 if ours.ndim == 4 else ours.ndim - 1
    return bool((np.abs(ours - theirs) <= 1e-3 * _along(scale, ours.ndim, axis)).all())
