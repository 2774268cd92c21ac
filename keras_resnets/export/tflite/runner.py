"""Runs a TFLite file in LiteRT, and reads its graph."""

import collections
import contextlib
import mmap
import os
import pathlib
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_resnets.export.runner import check_inputs
from keras_resnets.export.runner import in_batches
from keras_resnets.export.runner import is_pixel
from keras_resnets.export.runner import median_seconds
from keras_resnets.io.files import scratch_folder

# Operators that turn logits into probabilities, and those that may follow: conversions to
# another type, to other integers (uint8 for int8), to another shape.
_SQUASHING = ("SOFTMAX", "LOGISTIC")
_PASSED = ("DEQUANTIZE", "QUANTIZE", "RESHAPE")
# The layer name of a tensor whose name has no layer in it.
OUTPUT = "output"


def litert() -> Any:
    """Returns the module of the LiteRT interpreter: `ai_edge_litert`, or TensorFlow's."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        from tensorflow.lite.python import interpreter
    return interpreter


def load_runtime() -> None:
    """Imports LiteRT."""
    litert()


class TFLiteRunner:
    """A TFLite model in the LiteRT interpreter, float in and float out.

    Args:
        file: its path, or its bytes.
        threads: threads of the interpreter, >= 1.
        logits: return the input of the final softmax or sigmoid instead of its output.
            The same kernels run: only the list of outputs is changed, in memory.

    Attributes:
        input_shape: including the batch, None if that is open.
        tapped: names of the outputs that are inputs of a softmax or sigmoid.
        has_logits: whether there are any.
        takes_pixels: whether its input is pixel values.
    """

    def __init__(self, file: Any, threads: int = 2, logits: bool = False) -> None:
        taps = None
        file = bytes(file) if isinstance(file, memoryview) else file
        with scratch_folder() as folder:
            if logits:
                tapped = folder / "tapped.tflite"
                taps = _tap_logits(file, tapped)
                file = tapped
            is_content = isinstance(file, bytes)
            source = (
                {"model_content": file} if is_content else {"model_path": str(file)}
            )
            # First of all: its messages on damaged files are the best.
            self._interpreter = litert().Interpreter(num_threads=threads, **source)
            with opened(file) as content:
                names, outputs = signature_names(content), signature_outputs(content)
        inputs = self._interpreter.get_input_details()
        check_inputs([details["shape"].tolist() for details in inputs])
        self._interpreter.allocate_tensors()
        self._input = inputs[0]
        details = self._interpreter.get_output_details()
        taps = taps or [(output["index"],) * 2 for output in details]
        output_names = [
            names.get(own, x["name"]) for x, (own, _) in zip(details, taps, strict=True)
        ]
        if [index for _, index in outputs] == [own for own, _ in taps]:
            # One tensor may have two names.
            output_names = [name for name, _ in outputs]
        self._outputs = dict(zip(output_names, details, strict=True))
        self.output_names = tuple(self._outputs)
        self.tapped = tuple(
            name
            for name, (own, tap) in zip(output_names, taps, strict=True)
            if own != tap
        )
        self.has_logits = bool(self.tapped)
        self.input_shape = tuple(
            None if size < 0 else int(size) for size in self._input["shape_signature"]
        )
        self._batch = int(self._input["shape"][0])
        # An interpreter has one set of tensors; several threads take turns.
        self._lock = threading.Lock()
        dtype, quantization = self._input["dtype"], self._input["quantization"]
        self.takes_pixels = is_pixel(dtype, *quantization)

    def __call__(self, images: np.ndarray) -> Any:
        """Returns float32 outputs for `images`, in batches of the file's size."""
        return in_batches(self._run, images, self.input_shape[0])

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        index, batch = self._input["index"], quantize(images, self._input)
        with self._lock:
            if self._batch != len(images):
                self._interpreter.resize_tensor_input(index, images.shape)
                self._interpreter.allocate_tensors()
                self._batch = len(images)
            self._interpreter.set_tensor(index, batch)
            self._interpreter.invoke()
            return {
                name: dequantize(
                    self._interpreter.get_tensor(details["index"]), details
                )
                for name, details in self._outputs.items()
            }

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Returns the median seconds of one inference, without copying the input."""
        self._run(image)
        with self._lock:
            return median_seconds(self._interpreter.invoke, runs, warmup)


def quantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Returns `values` quantized to the type and scale of a tensor of the file."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return np.asarray(values, dtype)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(dtype)
    # Integers without a scale are the values themselves.
    integers = np.rint(np.asarray(values, "float32") / (scale or 1.0)) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Returns the real values of a tensor of the file."""
    if np.dtype(details["dtype"]).kind == "f":
        return np.array(values, "float32")
    scale, zero_point = details["quantization"]
    return (values.astype("float32") - zero_point) * np.float32(scale)


def signature_names(content: Any) -> dict[int, str]:
    """Tensor index -> name of the signature's inputs and outputs."""
    entries = [*_signature_entries(content, "Inputs"), *signature_outputs(content)]
    return {index: name for name, index in entries}


def signature_outputs(content: Any) -> list[tuple[str, int]]:
    """(name, tensor index) of every output of the signature, in its order."""
    return _signature_entries(content, "Outputs")


def _signature_entries(content: Any, kind: str) -> list[tuple[str, int]]:
    _, model = parse(content)
    if not model.SignatureDefsLength():
        return []
    signature = model.SignatureDefs(0)
    count, entry = getattr(signature, f"{kind}Length"), getattr(signature, kind)
    entries = [entry(i) for i in range(count())]
    return [(entry.Name().decode(), entry.TensorIndex()) for entry in entries]


def operators(content: Any) -> dict[str, int]:
    """Operator name -> count in the main graph of a TFLite file."""
    return dict(
        collections.Counter(name for name, _, _ in _graph(content)).most_common()
    )


def float_operators(content: Any) -> list[str]:
    """Names of the operators, other than DEQUANTIZE, whose output is floating point."""
    schema, model = parse(content)
    graph = model.Subgraphs(0)
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    return sorted(
        {
            name
            for name, _, outputs in _graph(content)
            if name != "DEQUANTIZE" and graph.Tensors(outputs[0]).Type() in floats
        }
    )


def _graph(content: Any) -> Iterator[tuple[str, Any, Any]]:
    """(name, inputs, outputs) of each operator of the main graph, as tensor indices."""
    schema, model = parse(content)
    names = operator_names(schema)
    graph = model.Subgraphs(0)
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Files for old readers have only the deprecated field, of one byte.
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name == "CUSTOM":
            name = code.CustomCode().decode()
        yield name, operator.InputsAsNumpy(), operator.OutputsAsNumpy()


def operator_names(schema: Any) -> dict[int, str]:
    """Number -> name of every operator of the schema."""
    return {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }


def layer_name(name: str) -> str:
    """Returns the name of the layer in a tensor's name.

    Example:
        >>> layer_name("resnet20_1/stem_act_1/Relu;resnet20_1/stem_bn_1/mul")
        'stem_act'
    """
    parts = name.partition(";")[0].split("/")
    return re.sub(r"_\d+$", "", parts[-2]) if len(parts) > 1 else OUTPUT


def schema() -> Any:
    """Returns the module that was generated from the schema of the format."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        from tensorflow.lite.python import schema_py_generated
    return schema_py_generated


def parse(content: Any) -> tuple[Any, Any]:
    """(module of the schema, root of the file)."""
    module = schema()
    return module, module.Model.GetRootAs(content, 0)


@contextlib.contextmanager
def opened(file: Any, access: int = mmap.ACCESS_READ) -> Iterator[Any]:
    """Opens the bytes of a file, from its path or from the bytes themselves.

    With `mmap.ACCESS_COPY` they can be changed in memory, not in the file.
    """
    if isinstance(file, bytes):
        yield file if access == mmap.ACCESS_READ else bytearray(file)
        return
    with (
        open(file, "rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=access) as content,
    ):
        yield content


def _tap_logits(file: Any, tapped: pathlib.Path) -> list[tuple[int, int]]:
    """Writes a copy whose outputs are the inputs of each final softmax or sigmoid.

    Returns:
        (output of the file, output of the copy), as tensor indices; they differ where
        a softmax or sigmoid was removed.
    """
    with opened(file, mmap.ACCESS_COPY) as content:
        taps = _rewire(content)
        # Written plainly: through a memory map, a full disk would end the process.
        tapped.write_bytes(content)
    return taps


def _rewire(content: Any) -> list[tuple[int, int]]:
    _, model = parse(content)
    # A view: writing to it changes the content.
    outputs = model.Subgraphs(0).OutputsAsNumpy()
    makers = {
        written[0]: (name, read[0])
        for name, read, written in _graph(content)
        if len(read)
    }
    taps = []
    for place, index in enumerate(outputs.tolist()):
        name, source = makers.get(index, ("", index))
        while name in _PASSED:
            name, source = makers.get(source, ("", index))
        outputs[place] = source if name in _SQUASHING else index
        taps.append((index, int(outputs[place])))
    return taps


def tensors(
    path: str | os.PathLike[str], images: np.ndarray, xnnpack: bool = False
) -> dict[str, np.ndarray]:
    """Name -> real values of every tensor that the file computes, in its order.

    Args:
        path: of the file.
        images: float32, one batch of the file's size.
        xnnpack: compute with XNNPACK, as `TFLiteRunner` does. It shows the tensors of
            int8 files; of float files it keeps some to itself.
    """
    module = litert()
    resolvers = module.OpResolverType
    interpreter = module.Interpreter(
        str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=resolvers.AUTO
        if xnnpack
        else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        num_threads=2,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    interpreter.set_tensor(source["index"], quantize(images, source))
    interpreter.invoke()
    details = {x["index"]: x for x in interpreter.get_tensor_details()}
    with opened(path) as content:
        computed = [index for _, _, outputs in _graph(content) for index in outputs]
    found = {}
    for index in computed:
        try:
            values = interpreter.get_tensor(index)
        except ValueError:
            # A loop does not keep what nobody reads.
            continue
        found[details[index]["name"]] = dequantize(values, details[index])
    return found
