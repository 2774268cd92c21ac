"""What TensorFlow's converter refuses or crashes on, and its interpreter gets wrong."""

import pathlib
import re
import warnings
from collections.abc import Iterable

import keras

from keras_resnets.errors import InvalidArgument
from keras_resnets.export import prepare
from keras_resnets.export.prepare import Ready

# The line in which the converter names an unsupported operator and its scope.
_REFUSED = re.compile(
    r"""error: loc\(.*?"([^"@]*)@[^"]*"\].*?'tf\.(\w+)' op is neither"""
)


class WrongInTensorFlow(UserWarning):
    """TensorFlow's own interpreter computes a file otherwise than LiteRT does."""


def reason(error: Exception, model: keras.Model) -> str:
    """Returns the cause from the converter's long message, on one line."""
    refused = _REFUSED.findall(str(error))
    if refused:
        names = [prepare.at_layer(model, name, scope) for scope, name in refused]
        return f"no operator of TFLite does what {', '.join(names)} does"[:300]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [repr(error)])[0][:300]


def refuse_loops(folder: pathlib.Path, ready: Ready, quantize: str) -> None:
    """Raises `InvalidArgument` for a loop, on whose calibration the converter crashes.

    TensorFlow 2.21 ends the whole process ("segmentation fault").

    Args:
        folder: the SavedModel of `ready.model`.
        ready: the `Ready` that is converted.
        quantize: the number format, for the message.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    content = (folder / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    for node in (node for body in bodies for node in body):
        if node.op in ("While", "StatelessWhile"):
            where = prepare.at_layer(ready.model, "the loop", node.name)
            raise InvalidArgument(
                f"TensorFlow's converter cannot calibrate {where} of "
                f"{ready.original.name} for {quantize}, as of a recurrent layer: export "
                "float32, float16 or dynamic"
            )


def warn_of_interpreter(operators: Iterable[str]) -> None:
    """Warns of an operator that the XNNPACK in TensorFlow 2.21 computes wrongly in int8.

    Its file had an SQNR of 7 dB there, of 35 in LiteRT 2.3 and in kernels without
    XNNPACK.

    Args:
        operators: names of the operators of an int8 file.
    """
    if "BATCH_MATMUL" in operators:
        warnings.warn(
            "the int8 BATCH_MATMUL of this file (as of MultiHeadAttention) is right in "
            "LiteRT and wrong in tf.lite.Interpreter of TensorFlow 2.21: run it in "
            "ai_edge_litert, or with tf.lite.experimental.OpResolverType."
            "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
            WrongInTensorFlow,
            stacklevel=2,
        )
