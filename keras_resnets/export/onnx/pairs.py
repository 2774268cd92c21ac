"""Scales of int8 weights with which the sum of two products fits in 16 bits.

The int8 kernels of x86 processors without VNNI multiply bytes by the instruction
`vpmaddubsw`, which adds two neighbouring products of a uint8 and an int8 in 16 bits, where
the sum saturates. Neighbours are inputs 0 and 1, 2 and 3, ... of a convolution's kernel,
channels fastest. Their weights need not be of 7 bits: it is enough that those of one sign
add up to at most 128, since 255 * 128 is less than 32,768.
"""

import typing

import numpy as np

from keras_resnets.export.onnx.links import Links

# The largest sum of two int8 weights whose products with 255 fit in 16 bits.
LARGEST = 128
_OPERATORS = ("Conv", "Gemm", "MatMul")
# Those that take integers: the float operator of their kernels, and the kernels' place.
INTEGER_OPERATORS = {
    "QLinearConv": ("Conv", 3),
    "QLinearMatMul": ("MatMul", 3),
    "QGemm": ("Gemm", 3),
    "ConvInteger": ("Conv", 1),
    "MatMulInteger": ("MatMul", 1),
    "MatMulIntegerToFloat": ("MatMul", 1),
    "DynamicQuantizeMatMul": ("MatMul", 1),
}
# What ONNX Runtime's quantizer appends to the name of a tensor that it stores as integers.
_QUANTIZED = "_quantized"


def limit(graph: typing.Any, floats: typing.Mapping[str, np.ndarray]) -> None:
    """Rounds the weights of a QDQ graph again, with scales that keep pairs in range.

    A channel's scale grows by the factor by which its largest pair is too large, 1 to 2,
    and the scale of its bias with it. Channels in range keep their values.

    Args:
        graph: an ONNX graph whose weights are int8, symmetric around 0; changed in place.
        floats: the weights before they were quantized, see `weights`. Others are those
            that the graph dequantizes, as of a quantization-aware model, which was
            trained with them.
    """
    for name, (operator, axis, biases) in _dequantized(graph).items():
        links = Links(graph)
        node = links.maker(name)
        tensor = links.initializer(node.input[0])
        if tensor is None or tensor.data_type != _int8():
            continue
        stored, scales = map(links.constant, node.input[:2])
        by_channel = _spread(scales, stored.ndim, axis)
        kernel = floats.get(node.input[0].removesuffix(_QUANTIZED), stored * by_channel)
        factors = _factors(kernel / by_channel, axis, operator)
        if scales.size == 1:
            factors = factors.max(keepdims=True)
        factors = factors.reshape(scales.shape)
        if (factors == 1).all():
            continue
        wider = _spread(scales * factors, kernel.ndim, axis)
        _replace(graph, node.input[0], _rounded(kernel / wider, "int8"))
        _replace(graph, node.input[1], scales * factors)
        for bias in filter(None, map(links.maker, biases)):
            wide = links.constant(bias.input[1]) * factors
            _replace(graph, bias.input[1], wide.astype("float32"))
            # A step of int32 is so small that rounding twice does no harm.
            value = links.constant(bias.input[0]) / factors
            _replace(graph, bias.input[0], _rounded(value, "int32"))


def _factors(kernel: np.ndarray, axis: int, operator: str) -> np.ndarray:
    """The factor by which the scale of each channel of a scaled kernel has to grow."""
    exceed = largest_pair(np.rint(kernel), axis, operator) > LARGEST
    # Rounding adds up to a half to either weight of a pair.
    wanted = largest_pair(kernel, axis, operator) / (LARGEST - 1)
    return np.where(exceed, np.maximum(wanted, 1), 1).astype("float32")


def weights(graph: typing.Any) -> dict[str, np.ndarray]:
    """Returns the constant float weights of a graph's operators, by name.

    ONNX Runtime's quantizer takes them out of the graph that it is given.
    """
    links = Links(graph)
    named = (n.input[1] for n in graph.node if n.op_type in _OPERATORS)
    found = {name: links.constant(name) for name in named}
    return {name: value for name, value in found.items() if value is not None}


def exceeds(graph: typing.Any) -> bool:
    """Returns whether a pair of int8 weights of a graph may be out of range.

    Files may have QDQ pairs, or operators of integers such as `QLinearConv`. Weights of
    other operators count as out of range beyond 7 bits, and so do weights in a file of
    their own, which are not read.
    """
    import onnx

    for tensor, operator, axis in _stored(graph):
        if tensor is None or tensor.data_type != _int8():
            continue
        if tensor.external_data:
            return True
        kernel = onnx.numpy_helper.to_array(tensor).astype("int16")
        if axis is None:
            if np.abs(kernel).max(initial=0) > LARGEST // 2:
                return True
        elif largest_pair(kernel, axis, operator).max(initial=0) > LARGEST:
            return True
    return False


def _stored(graph: typing.Any) -> typing.Iterator[tuple[typing.Any, str, int | None]]:
    """Yields each stored tensor of weights, its float operator, its channels' axis."""
    links, known = Links(graph), _dequantized(graph)
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            operator, axis, _ = known.get(node.output[0], ("", None, []))
            yield links.initializer(node.input[0]), operator, axis
        elif node.op_type in INTEGER_OPERATORS:
            operator, place = INTEGER_OPERATORS[node.op_type]
            tensor = links.initializer(node.input[place])
            yield tensor, operator, _channel_axis(node, tensor, operator)


def largest_pair(kernel: np.ndarray, axis: int, operator: str) -> np.ndarray:
    """Returns the largest sum of two neighbouring weights of one sign, by channel.

    Args:
        kernel: weights of any type, as the operator takes them.
        axis: the axis of the outputs' channels.
        operator: `"Conv"`, `"Gemm"` or `"MatMul"`.
    """
    # The sum of two int8 weights, or of their negatives, needs 16 bits.
    rows = np.moveaxis(kernel, axis, 0)
    rows = rows.astype(np.result_type(rows, "int16"), copy=False)
    if operator == "Conv":
        rows = np.moveaxis(rows, 1, -1)
    channels = rows.shape[-1] if rows.ndim > 1 else 1
    # Kernels go through all inputs in turn, or through those of each place: with an odd
    # number of channels the neighbours differ.
    through = [rows.reshape(len(rows), 1, -1), rows.reshape(len(rows), -1, channels)]
    largest = np.zeros(len(rows), rows.dtype)
    for inputs in through:
        if inputs.shape[-1] % 2:
            inputs = np.pad(inputs, ((0, 0), (0, 0), (0, 1)))
        for signed in (inputs, -inputs):
            pairs = np.maximum(signed, 0).reshape(*inputs.shape[:2], -1, 2)
            sums = pairs.sum(axis=-1, dtype=rows.dtype)
            largest = np.maximum(largest, sums.max(axis=(1, 2), initial=0))
    return largest


def _dequantized(graph: typing.Any) -> dict[str, tuple[str, int, list[str]]]:
    """Returns (operator, channel axis, biases) of each tensor of dequantized weights."""
    links = Links(graph)
    found: dict[str, tuple[str, int, list[str]]] = {}
    for node in graph.node:
        if node.op_type not in _OPERATORS:
            continue
        maker = links.maker(node.input[1])
        if maker is None or maker.op_type != "DequantizeLinear":
            continue
        axis = _channel_axis(node, links.initializer(maker.input[0]), node.op_type)
        scales = links.initializer(maker.input[1])
        if axis is None or scales is None:
            continue
        own_axis = next((x.i for x in maker.attribute if x.name == "axis"), 1)
        if scales.dims and scales.dims[0] > 1 and own_axis != axis:
            continue
        entry = found.setdefault(node.input[1], (node.op_type, axis, []))
        entry[2].extend(node.input[2:3])
    return found


def _channel_axis(node: typing.Any, weights: typing.Any, operator: str) -> int | None:
    """The axis of the outputs' channels in the weights of an operator, if it is known."""
    if weights is None or (operator != "Conv" and len(weights.dims) != 2):
        return None
    is_turned = any(each.name == "transB" and each.i for each in node.attribute)
    return 0 if operator == "Conv" or is_turned else 1


def _int8() -> int:
    import onnx

    return int(onnx.TensorProto.INT8)


def _spread(scales: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """Scales by channel, or a single one, in the shape that divides a kernel."""
    shape = [1] * rank
    shape[axis] = scales.size
    return scales.reshape(shape)


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.clip(np.rint(values), -most, most).astype(dtype)


def _replace(graph: typing.Any, name: str, value: np.ndarray) -> None:
    from onnx import numpy_helper

    (tensor,) = (each for each in graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))
