"""Runs a TFLite file in LiteRT, and reads what stands in it."""

import collections
import contextlib
import mmap
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_resnets.export.runner import check_inputs
from keras_resnets.export.runner import in_batches
from keras_resnets.export.runner import is_pixel
from keras_resnets.export.runner import median_seconds
from keras_resnets.io.files import scratch_folder

# What makes probabilities of logits, and what may stand behind it: other types, other
# integers (uint8 for int8), another shape.
_SQUASHING = ("SOFTMAX", "LOGISTIC")
_PASSED = ("DEQUANTIZE", "QUANTIZE", "RESHAPE")
# What a tensor without a layer in its name is taken for.
OUTPUT = "output"


def litert() -> Any:
    """The LiteRT interpreter: its own package, or the one inside TensorFlow."""
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
        logits: return what the final softmax or sigmoid gets instead of what it puts
            out. The same kernels run: only the list of outputs is changed, in memory.

    Attributes:
        input_shape: with the batch; None for an open one.
        tapped: names of the outputs that are what a softmax or sigmoid gets.
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
            whole = isinstance(file, bytes)
            given = {"model_content": file} if whole else {"model_path": str(file)}
            # It says best what is wrong with a damaged file.
            self._interpreter = litert().Interpreter(num_threads=threads, **given)
            with opened(file) as content:
                names, outputs = signature_names(content), signature_outputs(content)
        inputs = self._interpreter.get_input_details()
        check_inputs([details["shape"].tolist() for details in inputs])
        self._interpreter.allocate_tensors()
        self._input = inputs[0]
        made = self._interpreter.get_output_details()
        taps = taps or [(details["index"],) * 2 for details in made]
        called = [
            names.get(own, x["name"]) for x, (own, _) in zip(made, taps, strict=True)
        ]
        if [index for _, index in outputs] == [own for own, _ in taps]:
            # One tensor may have two names.
            called = [name for name, _ in outputs]
        self._outputs = dict(zip(called, made, strict=True))
        self.output_names = tuple(self._outputs)
        self.tapped = tuple(
            name for name, (own, tap) in zip(called, taps, strict=True) if own != tap
        )
        self.has_logits = bool(self.tapped)
        self.input_shape = tuple(
            None if size < 0 else int(size) for size in self._input["shape_signature"]
        )
        self._batch = int(self._input["shape"][0])
        dtype, quantization = self._input["dtype"], self._input["quantization"]
        self.takes_pixels = is_pixel(dtype, *quantization)

    def __call__(self, images: np.ndarray) -> Any:
        """float32 outputs for `images`, a batch of the file's size at a time."""
        return in_batches(self._run, images, self.input_shape[0])

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        index = self._input["index"]
        if self._batch != len(images):
            self._interpreter.resize_tensor_input(index, images.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(images)
        self._interpreter.set_tensor(index, quantize(images, self._input))
        self._interpreter.invoke()
        return {
            name: dequantize(self._interpreter.get_tensor(details["index"]), details)
            for name, details in self._outputs.items()
        }

    def latency(self, image: np.ndarray, runs: int = 10, warmup: int = 2) -> float:
        """Median seconds of one inference, `image` already in place."""
        self._run(image)
        return median_seconds(self._interpreter.invoke, runs, warmup)


def quantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """`values` in the type and scale of a tensor of the file."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return np.asarray(values, dtype)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(dtype)
    # An integer without a scale stands for itself.
    integers = np.rint(np.asarray(values, "float32") / (scale or 1.0)) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Real values of an integer tensor of the file."""
    if np.dtype(details["dtype"]).kind == "f":
        return np.array(values, "float32")
    scale, zero_point = details["quantization"]
    return (values.astype("float32") - zero_point) * np.float32(scale)


def signature_names(content: Any) -> dict[int, str]:
    """What the signature calls inputs and outputs, by the index of their tensors."""
    _, model = parse(content)
    if not model.SignatureDefsLength():
        return {}
    signature = model.SignatureDefs(0)
    entries = [signature.Inputs(i) for i in range(signature.InputsLength())]
    entries += [signature.Outputs(i) for i in range(signature.OutputsLength())]
    return {entry.TensorIndex(): entry.Name().decode() for entry in entries}


def signature_outputs(content: Any) -> list[tuple[str, int]]:
    """(name, index of its tensor) of every output of the signature, in its order."""
    _, model = parse(content)
    if not model.SignatureDefsLength():
        return []
    signature = model.SignatureDefs(0)
    entries = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    return [(entry.Name().decode(), entry.TensorIndex()) for entry in entries]


def operators(content: Any) -> dict[str, int]:
    """Counts of the operators in a TFLite file's main graph, by name."""
    return dict(
        collections.Counter(name for name, _, _ in _graph(content)).most_common()
    )


def float_operators(content: Any) -> list[str]:
    """Names of the operators that put out floating point, DEQUANTIZE left out."""
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
    """(name, inputs, outputs) of each operator of the main graph; tensors by index."""
    schema, model = parse(content)
    names = operator_names(schema)
    graph = model.Subgraphs(0)
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Files for old readers have the code in the one-byte field alone.
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name == "CUSTOM":
            name = code.CustomCode().decode()
        yield name, operator.InputsAsNumpy(), operator.OutputsAsNumpy()


def operator_names(schema: Any) -> dict[int, str]:
    """What each number of an operator means, for the module that `parse` returns."""
    return {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }


def layer_name(name: str) -> str:
    """`stem_act` of `resnet20_1/stem_act_1/Relu;resnet20_1/stem_bn_1/...`."""
    parts = name.partition(";")[0].split("/")
    return re.sub(r"_\d+$", "", parts[-2]) if len(parts) > 1 else OUTPUT


def schema() -> Any:
    """The module that the format's schema was compiled to."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        from tensorflow.lite.python import schema_py_generated
    return schema_py_generated


def parse(content: Any) -> tuple[Any, Any]:
    """The schema's module, and the file's root in it."""
    module = schema()
    return module, module.Model.GetRootAs(content, 0)


@contextlib.contextmanager
def opened(file: Any, access: int = mmap.ACCESS_READ) -> Iterator[Any]:
    """The bytes of a file that is given by its path or by them.

    With `mmap.ACCESS_COPY` they may be changed in memory; those of the file stay.
    """
    if isinstance(file, bytes):
        yield file if access == mmap.ACCESS_READ else bytearray(file)
        return
    with (
        open(file, "rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=access) as content,
    ):
        yield content


def _tap_logits(file: Any, tapped: pathlib.Path) -> list[tuple[int, int]]:
    """Writes a copy that puts out what every final softmax or sigmoid gets.

    Returns:
        The tensors that the file itself puts out, each with what is put out in its
        place: another one where it was tapped.
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
        made[0]: (name, read[0]) for name, read, made in _graph(content) if len(read)
    }
    taps = []
    for place, index in enumerate(outputs.tolist()):
        name, source = makers.get(index, ("", index))
        while name in _PASSED:
            name, source = makers.get(source, ("", index))
        outputs[place] = source if name in _SQUASHING else index
        taps.append((index, int(outputs[place])))
    return taps


def tensors(path: str | os.PathLike[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Real values of every tensor that the file computes, by name, in its order.

    Args:
        path: of the file.
        images: float32, one batch of the file's size.
    """
    module = litert()
    # A delegate keeps to itself what it computes in between.
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = module.Interpreter(
        str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=plain,
        num_threads=2,
    )
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    interpreter.set_tensor(given["index"], quantize(images, given))
    interpreter.invoke()
    details = {one["index"]: one for one in interpreter.get_tensor_details()}
    with open(path, "rb") as file:
        made = [index for _, _, made in _graph(file.read()) for index in made]
    return {
        details[index]["name"]: dequantize(
            interpreter.get_tensor(index), details[index]
        )
        for index in made
    }
