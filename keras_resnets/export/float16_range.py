"""Checks that the values in a float16 file are within the range of float16.

CPUs compute float16 files in float32, so that a comparison on a CPU does not detect
overflow on a GPU or an NPU, where values above 65,504 become infinite.
"""

import os
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_resnets.errors import ExportError
from keras_resnets.export.onnx.runner import require
from keras_resnets.export.prepare import Ready
from keras_resnets.export.tflite import runner as tflite_runner

LARGEST = 65504.0
LEAST = 2.0**-24
# Enough images to measure the scale of the activations.
_IMAGES = 8


def inputs_of(ready: Ready) -> np.ndarray:
    """Returns inputs of the file of a `prepare.Ready`: images and calibration images."""
    inputs = ready.file_inputs[:_IMAGES]
    if ready.calibration is None or len(inputs) == _IMAGES:
        return inputs
    more = ready.calibration[: _IMAGES - len(inputs)]
    return np.concatenate([inputs, more.astype(inputs.dtype)])


def refuse_above(largest: Mapping[str, float], name: str, count: int) -> None:
    """Raises `ExportError` if float16 cannot hold a value.

    Args:
        largest: absolute value by name of the tensor, in the order of computation.
        name: the model's name.
        count: the number of images that it was run on.
    """
    for tensor, value in largest.items():
        if not value <= LARGEST:
            raise ExportError(
                f"values must be at most 65,504 in float16; {tensor} of {name} reaches "
                f"{value:,.0f} (activations: on {count} images) and would overflow; "
                "nothing was written"
            )


def of_tflite(path: str | os.PathLike[str], inputs: np.ndarray) -> dict[str, float]:
    """Returns the largest absolute value of each tensor that a file computes, by layer.

    Args:
        path: a TFLite file.
        inputs: its inputs (count, height, width, channels).
    """
    largest: dict[str, float] = {}
    size = tflite_runner.TFLiteRunner(path).input_shape[0] or 1
    for chunk in _chunks(inputs, size):
        for name, values in tflite_runner.tensors(path, chunk).items():
            _add(largest, tflite_runner.layer_name(name), values)
    return largest


def of_onnx(proto: Any, inputs: np.ndarray, layout: str) -> dict[str, float]:
    """Returns the same for a float32 `onnx.ModelProto`, with its constants.

    Args:
        proto: a model that contains all its constants.
        inputs: its inputs (count, height, width, channels).
        layout: `"nhwc"` or `"nchw"`.
    """
    onnx, runtime = require("onnx", "onnxruntime")
    tapped = onnx.ModelProto()
    tapped.CopyFrom(proto)
    del tapped.graph.output[:]
    makers = {}
    for node in tapped.graph.node:
        for out in filter(None, node.output):
            makers[out] = node.name
            tapped.graph.output.append(onnx.ValueInfoProto(name=out))
    largest = {
        tensor.name: _largest(onnx.numpy_helper.to_array(tensor))
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name, size = session.get_inputs()[0].name, session.get_inputs()[0].shape[0]
    if layout == "nchw":
        inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    for chunk in _chunks(inputs, size if isinstance(size, int) else 1):
        outputs = session.run(list(makers), {name: chunk})
        for out, values in zip(makers, outputs, strict=True):
            if values.dtype.kind == "f":
                _add(largest, makers[out], values)
    return largest


def _chunks(inputs: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields batches of `size`; the last one repeats its images to fill up."""
    for start in range(0, len(inputs), size):
        yield np.resize(inputs[start : start + size], (size, *inputs.shape[1:]))


def _add(largest: dict[str, float], place: str, values: np.ndarray) -> None:
    largest[place] = max(largest.get(place, 0.0), _largest(values))


def _largest(values: np.ndarray) -> float:
    # NaN is beyond every limit.
    return float(np.nan_to_num(np.abs(values), nan=np.inf).max(initial=0))
