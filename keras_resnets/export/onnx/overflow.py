"""Processors on which the int8 kernels of ONNX Runtime overflow.

On x86 without VNNI (AVX2, AVX-512 before Cascade Lake) the kernels add two products of
uint8 and int8 in 16 bits: 255 * 127 * 2 is 64,770, the largest value is 32,767. The files
of this package do not need more, see `pairs`; those of other tools do. The runtime has an
exact mode for them, a configuration entry of the session, that changes nothing elsewhere.
"""

import functools
import importlib.util
import mmap
import os
import warnings
from typing import Any

import numpy as np

from keras_resnets.export.onnx import pairs

# kOrtSessionOptionsAvx2PrecisionMode in ONNX Runtime's header of configuration keys.
EXACT = ("session.x64quantprecision", "1")
# What the names of operators contain that quantize, or take integers.
_INTEGER = (b"QuantizeLinear", *map(str.encode, pairs.INTEGER_OPERATORS))


class Overflow(UserWarning):
    """By default, ONNX Runtime computes an int8 file inexactly on this processor."""


@functools.cache
def overflows() -> bool:
    """Returns whether an int8 kernel of ONNX Runtime overflows on this processor."""
    import onnx
    import onnxruntime
    from onnx import helper

    weights = onnx.numpy_helper.from_array(np.full((4, 1), 127, "int8"), "b")
    kinds = onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("a", kinds.UINT8, (1, 4))],
        [helper.make_tensor_value_info("y", kinds.INT32, (1, 1))],
        [weights],
    )
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"a": np.full((1, 4), 255, "uint8")})
    return bool(found.item() != 4 * 255 * 127)


def concerns(file: str | os.PathLike[str] | bytes) -> bool:
    """Returns whether a file may overflow on this processor by default.

    Args:
        file: path or bytes of an ONNX file.
    """
    if importlib.util.find_spec("onnx") is None or not overflows():
        return False
    return may_overflow(file)


def may_overflow(file: str | os.PathLike[str] | bytes) -> bool:
    """Returns whether a file may overflow on some processor by default."""
    import onnx

    if isinstance(file, bytes):
        found = any(word in file for word in _INTEGER)
        return found and _is_out_of_range(onnx.load_from_string(file).graph)
    with open(file, "rb") as stream:
        # Float files, which may be large, are not parsed.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if all(content.find(word) < 0 for word in _INTEGER):
                return False
    return _is_out_of_range(onnx.load(file, load_external_data=False).graph)


def warn() -> None:
    """Warns that a file which `concerns` this processor needs the exact mode."""
    warnings.warn(
        "on this processor (x86 without VNNI) the int8 kernels of ONNX Runtime overflow; "
        f"here the file runs with {'='.join(EXACT)}, which is exact and slower: set it "
        "in your session too (SessionOptions.add_session_config_entry); a file exported "
        "from the network without full_range needs neither, and is right in OpenVINO too",
        Overflow,
        stacklevel=3,
    )


def _is_out_of_range(graph: Any) -> bool:
    """Whether a graph computes in 8 bits and has pairs of int8 weights out of range.

    Activations of int8 count too: the runtime makes them uint8 where it computes in
    integers.
    """
    return _has_bytes(graph) and pairs.exceeds(graph)


def _has_bytes(graph: Any) -> bool:
    """Whether an operator makes activations of 8 bits."""
    import onnx

    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    allowed = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
    for node in graph.node:
        if node.op_type in pairs.INTEGER_OPERATORS:
            return True
        if node.op_type == "QuantizeLinear":
            # Without a zero point they are uint8.
            zero = node.input[2] if len(node.input) > 2 else ""
            if kinds.get(zero, onnx.TensorProto.UINT8) in allowed:
                return True
    return False
