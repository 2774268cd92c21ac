"""Simplifies an ONNX graph: folds constants into convolutions and poolings.

tf2onnx folds a BN after a convolution without bias, and padding before one. The rest is
done here: a BN after a convolution with a bias (all of stock Keras'), padding before a
pooling, the bias of a dense layer under an open batch, and the global mean of opset 18.
Integer files then get integer padding and integer pixels.
"""

import copy
import os
import typing
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import keras
import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export.onnx import slices
from keras_resnets.export.onnx.links import Constants
from keras_resnets.export.onnx.links import Links
from keras_resnets.export.onnx.links import reads

# Most elements of constants that are folded here.
_SMALL = 100_000


def tidy(model: typing.Any, weights: Constants) -> Constants:
    """Makes weights constant and folds what can be folded in `model`, in place.

    Args:
        model: an `onnx.ModelProto` that takes weights as inputs.
        weights: Keras variables by the inputs' names.

    Returns:
        Arrays by name: initializers that are not in `model`. Protobuf frees no memory
        before the whole message is freed, so large ones are kept beside it.
    """
    ranks = _ranks(model)
    constants = _set_constants(model.graph, weights)
    _fold_constants(model.graph, constants, model.opset_import)
    _pad_transposed(model.graph)
    slices.narrow(model.graph, constants)
    while _fold_one(model.graph, constants, ranks):
        pass
    _drop_unused(model.graph, constants)
    return constants


def _set_constants(graph: typing.Any, weights: Constants) -> Constants:
    """Removes the inputs that are weights; returns their arrays by name."""
    from onnx import helper

    links, constants = Links(graph), {}
    for entry in [entry for entry in graph.input if entry.name in weights]:
        name = entry.name
        array = keras.ops.convert_to_numpy(weights[name])
        graph.input.remove(entry)
        readers = links.readers(name)
        if [node.op_type for node in readers] == ["Transpose"]:
            (node,) = readers
            turn = helper.get_attribute_value(node.attribute[0])
            name, array = node.output[0], np.ascontiguousarray(array.transpose(turn))
            graph.node.remove(node)
        constants[name] = array
    return constants


def _fold_constants(
    graph: typing.Any, constants: Constants, opsets: typing.Any
) -> None:
    """Replaces nodes whose inputs are all small constants by constants."""
    from onnx import numpy_helper

    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        names = list(filter(None, reads(node)))
        if not names or not all(name in held or name in constants for name in names):
            continue
        inputs = {
            name: constants[name]
            if name in constants
            else numpy_helper.to_array(held[name])
            for name in names
        }
        if node.op_type == "DequantizeLinear" or _is_large(inputs.values()):
            continue
        constants.update(_computed(node, inputs, opsets))
        graph.node.remove(node)


def _is_large(arrays: Iterable[np.ndarray]) -> bool:
    return sum(array.size for array in arrays) > _SMALL


def _computed(
    node: typing.Any, inputs: dict[str, np.ndarray], opsets: typing.Any
) -> dict[str, np.ndarray]:
    """Returns the outputs of a node for input arrays by name."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    input_info = [helper.make_tensor_value_info(name, 0, None) for name in inputs]
    output_info = [helper.make_tensor_value_info(out, 0, None) for out in node.output]
    graph = helper.make_graph([node], "constant", input_info, output_info)
    model = helper.make_model(graph, opset_imports=opsets)
    outputs = ReferenceEvaluator(model).run(None, inputs)
    return dict(zip(node.output, outputs, strict=True))


def _pad_transposed(graph: typing.Any) -> None:
    """Adds rows and columns of transposed convolutions as ONNX does, in place.

    tf2onnx writes them as negative padding, half of it in front, which is not valid.
    TensorFlow adds all of them at the end.
    """
    from onnx import helper

    for node in graph.node:
        own = {attribute.name: attribute for attribute in node.attribute}
        pads = list(own["pads"].ints) if "pads" in own else []
        if node.op_type != "ConvTranspose" or min(pads, default=0) >= 0:
            continue
        half = len(pads) // 2
        added = [-(a + b) for a, b in zip(pads[:half], pads[half:], strict=True)]
        for axis in range(half):
            if added[axis] > 0:
                pads[axis] = pads[axis + half] = 0
        node.attribute.remove(own["pads"])
        node.attribute.append(helper.make_attribute("pads", pads))
        added = [max(count, 0) for count in added]
        node.attribute.append(helper.make_attribute("output_padding", added))


def add_constants(model: typing.Any, constants: Constants) -> None:
    """Moves arrays into `model` as initializers, in place; empties the dict."""
    from onnx import numpy_helper

    while constants:
        name, array = constants.popitem()
        model.graph.initializer.append(numpy_helper.from_array(array, name))


def order_outputs(model: typing.Any, names: Sequence[str]) -> None:
    """Orders the outputs of `model`, in place; tf2onnx sorts them by name."""
    by_name = {value.name: copy.deepcopy(value) for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(by_name[name] for name in names)


def save(model: typing.Any, constants: Constants, path: str | os.PathLike[str]) -> None:
    """Writes `model`, and the arrays of `constants` as initializers, to a file.

    Only one array at a time is in memory twice: the bytes around them are written by
    hand, each field as its key, its length and its content. If Protobuf serialized all of
    them, the export of ResNet-152 would take 1.07 times the memory, 0.5 times its weights
    (`benchmarks/export_cost.py`).

    Args:
        model: an `onnx.ModelProto`.
        constants: the result of `tidy`; it is emptied.
        path: the file.
    """
    import onnx
    from onnx import numpy_helper

    def tensors() -> Iterator[typing.Any]:
        for name, array in constants.items():
            yield numpy_helper.from_array(array, name)

    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    graph = model.graph.SerializeToString()
    key, size = onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(graph)
    for tensor in tensors():
        length = tensor.ByteSize()
        size += len(_field(key, length)) + length
    with open(path, "wb") as file:
        file.write(rest.SerializeToString())
        file.write(_field(onnx.ModelProto.GRAPH_FIELD_NUMBER, size))
        file.write(graph)
        for tensor in tensors():
            file.write(_field(key, tensor.ByteSize()))
            file.write(tensor.SerializeToString())
    constants.clear()


def _field(number: int, length: int) -> bytes:
    """The key and length that protobuf writes before a field of `length` bytes."""
    encoded = bytearray()
    # Wire type 2: length-delimited.
    for value in (number << 3 | 2, length):
        while value > 127:
            encoded.append(value & 127 | 128)
            value >>= 7
        encoded.append(value)
    return bytes(encoded)


def unknown_operators(model: typing.Any) -> list[tuple[str, str]]:
    """Returns (operator, node's name) for each operator of `model` that ONNX lacks."""
    import onnx

    return [
        (node.op_type, node.name)
        for node in model.graph.node
        if not node.domain and not onnx.defs.has(node.op_type)
    ]


def take_pixels(model: typing.Any) -> None:
    """Makes a QDQ `model` take uint8 if its input has a scale of 1, in place.

    Raises:
        ExportError: an input with another scale.
    """
    from onnx import TensorProto

    graph, links = model.graph, Links(model.graph)
    name = graph.input[0].name
    (node,) = links.readers(name)
    if node.op_type == "Transpose":
        name = node.output[0]
        (node,) = links.readers(name)
    scale, zero = (links.constant(constant) for constant in node.input[1:3])
    if node.op_type != "QuantizeLinear" or scale != 1 or zero != 0:
        raise ExportError(
            f"an integer input of pixels must have the scale 1; got {scale} and the zero "
            f"point {zero}; nothing was written"
        )
    for reader in links.readers(node.output[0]):
        reader.input[0] = name
    graph.node.remove(node)
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    # Remove the inferred shapes of the transposed images.
    del graph.value_info[:]


def pad_integers(model: typing.Any) -> None:
    """Makes each zero padding of a QDQ `model` pad integers, in place.

    ONNX Runtime has no rule that converts a padding between a DequantizeLinear and a
    QuantizeLinear to integers, and runs it in float.
    """
    for pad in [node for node in model.graph.node if node.op_type == "Pad"]:
        _pad_integers(model.graph, Links(model.graph), pad)
    _drop_unused(model.graph)


def _pad_integers(graph: typing.Any, links: Links, pad: typing.Any) -> None:
    """Removes the conversions around a zero padding if both have the same scale."""
    from onnx import numpy_helper

    before, readers = links.maker(pad.input[0]), links.readers(pad.output[0])
    around = [before and before.op_type, *(node.op_type for node in readers)]
    modes = [attribute.s for attribute in pad.attribute if attribute.name == "mode"]
    value = links.constant(pad.input[2]) if len(pad.input) > 2 else np.zeros(())
    if around != ["DequantizeLinear", "QuantizeLinear"] or value is None:
        return
    (after,) = readers
    if modes not in ([], [b"constant"]) or value.any():
        return
    if before.input[1:] != after.input[1:]:
        return
    zero = links.constant(before.input[2])
    name = f"{after.output[0]}/zero"
    graph.initializer.append(numpy_helper.from_array(zero, name))
    pad.input[:] = [before.input[0], pad.input[1], name]
    pad.output[0] = after.output[0]
    graph.node.remove(after)
    # `links` was read before the padding was changed to integers.
    if links.feeds_only(before.output[0], pad):
        graph.node.remove(before)


def _ranks(model: typing.Any) -> dict[str, int]:
    """Returns the number of dimensions of each tensor for which it is known."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input)
        if value.type.tensor_type.HasField("shape")
    }


def _fold_one(graph: typing.Any, constants: Constants, ranks: dict[str, int]) -> bool:
    """Folds one node into another; returns whether there was one."""
    links = Links(graph, constants)
    for node in graph.node:
        before = links.maker(node.input[0]) if node.input else None
        kinds = (before.op_type if before is not None else None, node.op_type)
        if node.op_type in ("Mul", "Add") and _fold_scale(
            graph, constants, links, node
        ):
            return True
        if kinds == ("Pad", "MaxPool") and _fold_padding(graph, links, before, node):
            return True
        if kinds == ("Transpose", "ReduceMean"):
            if _fold_mean(graph, links, before, node):
                return True
        is_dense = kinds == ("MatMul", "Add")
        if is_dense and before and ranks.get(before.input[0]) == 2:
            if _fold_dense(graph, links, before, node):
                return True
    return False


def _fold_scale(
    graph: typing.Any, constants: Constants, links: Links, node: typing.Any
) -> bool:
    """Folds a product or sum with one constant per channel into the convolution before."""
    values = [links.constant(name) for name in node.input]
    if (values[0] is None) == (values[1] is None):
        return False
    side = 0 if values[0] is None else 1
    conv, constant = links.maker(node.input[side]), values[1 - side]
    if conv is None or conv.op_type != "Conv":
        return False
    kernel = links.constant(conv.input[1])
    bias = links.constant(conv.input[2]) if len(conv.input) > 2 else None
    by_channel = None if kernel is None else _by_channel(constant, len(kernel))
    if by_channel is None or not links.feeds_only(conv.output[0], node):
        return False
    bias = np.zeros(len(kernel), kernel.dtype) if bias is None else bias
    if node.op_type == "Mul":
        kernel = kernel * by_channel.reshape(-1, *[1] * (kernel.ndim - 1))
        bias = bias * by_channel
    else:
        bias = bias + by_channel
    arrays = (kernel.astype("float32"), bias.astype("float32"))
    _give(constants, links, conv, arrays)
    conv.output[0] = node.output[0]
    graph.node.remove(node)
    return True


def _by_channel(constant: np.ndarray, channels: int) -> np.ndarray | None:
    """Returns `constant` as one number per channel of an NCHW tensor, or None."""
    if constant.size == 1:
        return np.repeat(constant.ravel(), channels)
    shape = (1,) * (4 - constant.ndim) + constant.shape
    return constant.ravel() if shape == (1, channels, 1, 1) else None


def _give(
    constants: Constants,
    links: Links,
    conv: typing.Any,
    arrays: Sequence[np.ndarray],
) -> None:
    """Sets a new kernel and bias of `conv`; other nodes may share the old ones."""
    old = list(conv.input[1:])
    names = [f"{conv.output[0]}/{kind}" for kind in ("kernel", "bias")]
    names = [
        name if links.constant(name) is None else f"{name}_{len(constants)}"
        for name in names
    ]
    constants.update(zip(names, arrays, strict=True))
    del conv.input[1:]
    conv.input.extend(names)
    # Freed at once: the old kernels of all convolutions are as large as the file.
    for name in old:
        if links.readers(name) == [conv]:
            constants.pop(name, None)


def _fold_padding(
    graph: typing.Any, links: Links, pad: typing.Any, pool: typing.Any
) -> bool:
    """Folds padding below every value into the pooling's own padding of -infinity."""
    from onnx import helper

    modes = [attribute.s for attribute in pad.attribute if attribute.name == "mode"]
    pads = links.constant(pad.input[1])
    value = links.constant(pad.input[2]) if len(pad.input) > 2 else np.zeros(())
    source = links.maker(pad.input[0])
    if modes not in ([], [b"constant"]) or pads is None or value is None:
        return False
    never_wins = value == -np.inf or (
        value <= 0 and source is not None and source.op_type == "Relu"
    )
    spatial = [*pads[2:4], *pads[6:8]]
    if not never_wins or sum(pads) != sum(spatial) or min(pads) < 0:
        return False
    own = [a for a in pool.attribute if a.name in ("pads", "auto_pad")]
    if any(any(a.ints) or a.s not in (b"", b"NOTSET", b"VALID") for a in own):
        return False
    if not links.feeds_only(pad.output[0], pool):
        return False
    for attribute in own:
        pool.attribute.remove(attribute)
    pool.attribute.append(helper.make_attribute("pads", [int(n) for n in spatial]))
    pool.input[0] = pad.input[0]
    graph.node.remove(pad)
    return True


def _fold_mean(
    graph: typing.Any, links: Links, transpose: typing.Any, mean: typing.Any
) -> bool:
    """Folds the mean over height and width of a map in NHWC into a global pooling."""
    from onnx import helper
    from onnx import numpy_helper

    options = {a.name: helper.get_attribute_value(a) for a in mean.attribute}
    turn = helper.get_attribute_value(transpose.attribute[0])
    axes = links.constant(mean.input[1]) if len(mean.input) > 1 else None
    if list(turn) != [0, 2, 3, 1] or axes is None or sorted(axes) != [1, 2]:
        return False
    if options.get("keepdims", 1) or not links.feeds_only(transpose.output[0], mean):
        return False
    transpose.op_type = "GlobalAveragePool"
    del transpose.attribute[:]
    name = f"{mean.output[0]}/axes"
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), name))
    mean.op_type = "Squeeze"
    del mean.attribute[:]
    mean.input[1] = name
    return True


def _fold_dense(
    graph: typing.Any, links: Links, product: typing.Any, add: typing.Any
) -> bool:
    """Folds a product of two matrices and a bias into one Gemm."""
    matrix, bias = links.constant(product.input[1]), links.constant(add.input[1])
    if matrix is None or bias is None or bias.shape != matrix.shape[1:]:
        return False
    if not links.feeds_only(product.output[0], add):
        return False
    add.op_type = "Gemm"
    add.input[:] = [*product.input, add.input[1]]
    graph.node.remove(product)
    return True


def _drop_unused(graph: typing.Any, constants: Constants | None = None) -> None:
    used = {name for node in graph.node for name in reads(node)}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
    constants = {} if constants is None else constants
    for name in [name for name in constants if name not in used]:
        del constants[name]
