"""Runs an ONNX file in ONNX Runtime."""

import collections
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnets.errors import InvalidArgument
from keras_resnets.export.onnx import overflow
from keras_resnets.export.runner import check_inputs
from keras_resnets.export.runner import in_batches
from keras_resnets.export.runner import is_pixel
from keras_resnets.export.runner import median_seconds
from keras_resnets.io.files import scratch_folder

# Operators that turn logits into probabilities, and those that may follow: conversions
# of type, quantization or shape.
_SQUASHING = ("Softmax", "Sigmoid")
_PASSED = (
    "Cast",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "Reshape",
    "Squeeze",
)
_RESHAPING = ("Flatten", "Reshape", "Squeeze")
# The metadata key for the order of dimensions.
LAYOUT = "layout"

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}


def require(*packages: str) -> list[Any]:
    """Imports packages of the extra `onnx`.

    ONNX Runtime, in recent releases also outside Windows, by default reports the device
    and the models that it runs to its maker, and leaves files in the home folder. This is
    disabled here, unless `$ORT_DISABLE_TELEMETRY` is set, or it was imported before.

    Raises:
        InvalidArgument: a package is not installed; the message names the extra.
    """
    import importlib

    # The runtime reads the variable once, when it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return [importlib.import_module(name) for name in packages]
    except ImportError as error:
        raise InvalidArgument(
            f"ONNX needs {error.name or packages[0]}: pip install 'keras-resnets[onnx]'"
        ) from None


def load_runtime() -> None:
    """Imports ONNX Runtime."""
    require("onnxruntime")


class OnnxRunner:
    """An ONNX model in ONNX Runtime on the CPU, float in and float out.

    int8 files are computed exactly on every processor; see `overflow`.

    Args:
        file: its path, or its bytes.
        threads: threads of the runtime, >= 1.
        logits: return the input of the final softmax or sigmoid instead of its output;
            `tapped` names the outputs that have one.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | bytes,
        threads: int = 2,
        logits: bool = False,
    ) -> None:
        (runtime,) = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        taps: dict[str, str] = {}
        self._turns: dict[str, list[int]] = {}
        with scratch_folder() as folder:
            if logits:
                # From a file, since the runtime keeps bytes that it is given.
                tapped = folder / "tapped.onnx"
                taps, self._turns = _tap_logits(file, tapped)
                file = tapped if taps else file
            self._session = _opened(runtime, file, options)
            # The runtime has found it valid.
            self.overflows = overflow.concerns(file)
            if self.overflows:
                overflow.warn()
                options.add_session_config_entry(*overflow.EXACT)
                self._session = _opened(runtime, file, options)
        self._outputs = taps or {
            out.name: out.name for out in self._session.get_outputs()
        }
        self.output_names = tuple(self._outputs)
        self.tapped = tuple(n for n, source in self._outputs.items() if n != source)
        self.has_logits = bool(self.tapped)
        check_inputs([entry.shape for entry in self._session.get_inputs()])
        entry = self._session.get_inputs()[0]
        if entry.type not in _TYPES:
            raise InvalidArgument(
                f"an ONNX file must take images as one of {', '.join(_TYPES)}; it takes "
                f"{entry.type}"
            )
        self._input, self._dtype = entry.name, _TYPES[entry.type]
        shape = [size if isinstance(size, int) else None for size in entry.shape]
        layout = self._session.get_modelmeta().custom_metadata_map.get(LAYOUT)
        self._first = layout == "nchw" if layout else _looks_first(shape)
        self._maps_first = layout == "nchw"
        if self._first:
            shape = [shape[0], shape[2], shape[3], shape[1]]
        self.input_shape = tuple(shape)
        self.takes_pixels = is_pixel(self._dtype)

    def __call__(self, images: np.ndarray) -> Any:
        """Returns float32 outputs for `images`, one batch of the file's size at a time."""
        return in_batches(self._run, images, self.input_shape[0])

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        sources = list(self._outputs.values())
        arrays = self._session.run(sources, {self._input: self._given(images)})
        found = {}
        for name, array in zip(self._outputs, arrays, strict=True):
            if name in self._turns:
                array = array.transpose(self._turns[name])
            if array.ndim == 4 and self._maps_first:
                array = array.transpose(0, 2, 3, 1)
            found[name] = array
        return found

    def _given(self, images: np.ndarray) -> np.ndarray:
        if self._first:
            images = np.transpose(images, (0, 3, 1, 2))
        return np.ascontiguousarray(images, self._dtype)

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Returns the median seconds of one inference, without copying `image`."""
        feeds = {self._input: self._given(image)}
        return median_seconds(lambda: self._session.run(None, feeds), runs, warmup)


def _opened(runtime: Any, file: Any, options: Any) -> Any:
    return runtime.InferenceSession(
        file if isinstance(file, bytes) else str(file),
        options,
        providers=["CPUExecutionProvider"],
        # The fallback would print errors of a damaged file, and try again.
        enable_fallback=False,
    )


def _looks_first(shape: Sequence[int | None]) -> bool:
    """Whether the channels come first in a file without the metadata."""
    return shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)


def operators(model: Any) -> dict[str, int]:
    """Returns counts of the operators in an ONNX model, by name."""
    counted = collections.Counter(node.op_type for node in model.graph.node)
    return dict(counted.most_common())


def _squashed(name: str, makers: dict[str, Any]) -> tuple[Any, bool, list[int] | None]:
    """Returns (softmax or sigmoid, is cast, axes) behind an output, or (None, ...).

    `axes` is the transposition between both, such as of a map of classes; None for none.
    """
    from onnx import helper

    node, is_cast, axes = makers.get(name), False, None
    while node is not None and node.op_type in (*_PASSED, "Transpose"):
        if node.op_type == "Transpose":
            turn = list(helper.get_attribute_value(node.attribute[0]))
            axes = turn if axes is None else [turn[axis] for axis in axes]
        elif axes is not None and node.op_type in _RESHAPING:
            return None, False, None
        is_cast = is_cast or node.op_type == "Cast"
        node = makers.get(node.input[0])
    squashes = node is not None and node.op_type in _SQUASHING
    return (node if squashes else None), is_cast, axes


def _tap_logits(
    file: Any, tapped: pathlib.Path
) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Writes a copy with the input of every final softmax or sigmoid as an output.

    Returns:
        (a dict from each output's name to the name of the tensor returned in its place,
        itself if it is no probability; {}, and nothing is written, if there is none;
        the axes to transpose these by, by the output's name).
    """
    (onnx,) = require("onnx")
    is_content = isinstance(file, bytes)
    model = onnx.load_from_string(file) if is_content else onnx.load(file)
    makers = {name: node for node in model.graph.node for name in node.output}
    own = {output.name: output.name for output in model.graph.output}
    taps, types, turns = dict(own), {}, {}
    for output in model.graph.output:
        node, is_cast, axes = _squashed(output.name, makers)
        if node is not None:
            taps[output.name] = node.input[0]
            # A softmax in float16 is cast back to float.
            kind = "FLOAT16" if is_cast else "FLOAT"
            types[node.input[0]] = getattr(onnx.TensorProto, kind)
            if axes is not None:
                turns[output.name] = axes
    if not types:
        return {}, {}
    # Protobuf merges concatenated messages: no second copy in memory.
    more = onnx.ModelProto()
    for name in set(types) - set(own):
        value = onnx.helper.make_tensor_value_info(name, types[name], None)
        more.graph.output.append(value)
    if isinstance(file, bytes):
        tapped.write_bytes(file)
    else:
        shutil.copyfile(file, tapped)
    with open(tapped, "ab") as end:
        end.write(more.SerializeToString())
    return taps, turns
