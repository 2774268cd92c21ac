"""Runs a TFLite file in LiteRT, and reads what stands in it."""

import collections

import numpy as np

from keras_resnets.export.runners.timing import median_seconds


def litert():
    """The LiteRT interpreter: its own package, or the one inside TensorFlow."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        from tensorflow.lite.python import interpreter
    return interpreter


class TFLiteRunner:
    """A TFLite model in the LiteRT interpreter, float in and float out.

    Args:
        content: the file's bytes.
        threads: threads of the interpreter, >= 1.
        logits: return what the final softmax gets instead of what it puts out. The
            same kernels run: only the list of outputs is changed, in memory.

    Attributes:
        input_shape: with the batch.
        has_logits: whether it puts out what the softmax gets.
    """

    def __init__(self, content, threads=2, logits=False):
        content, self.has_logits = _tap_logits(content) if logits else (content, False)
        interpreter = litert()
        self._interpreter = interpreter.Interpreter(
            model_content=bytes(content), num_threads=threads
        )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.input_shape = tuple(int(size) for size in self._input["shape"])

    def __call__(self, images):
        """float32 outputs for float32 `images`, a batch of the file's size at a time."""
        batch = self.input_shape[0]
        outputs = [
            self._run(images[start : start + batch])
            for start in range(0, len(images), batch)
        ]
        return np.concatenate(outputs)

    def _run(self, images):
        self._interpreter.set_tensor(
            self._input["index"], quantize(images, self._input)
        )
        self._interpreter.invoke()
        output = self._interpreter.get_tensor(self._output["index"])
        return dequantize(output, self._output)

    def latency(self, image, runs=10, warmup=2):
        """Median seconds of one inference, `image` already in place."""
        self._run(image)
        return median_seconds(self._interpreter.invoke, runs, warmup)


def quantize(values, details):
    """`values` in the integer type and scale of a tensor of the file."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return np.asarray(values, dtype)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(dtype)
    integers = np.rint(np.asarray(values, "float32") / scale) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(dtype)


def dequantize(values, details):
    """Real values of an integer tensor of the file."""
    if np.dtype(details["dtype"]).kind == "f":
        return np.array(values, "float32")
    scale, zero_point = details["quantization"]
    return (values.astype("float32") - zero_point) * np.float32(scale)


def operators(content):
    """Counts of the operators in a TFLite file's main graph, by name."""
    return dict(
        collections.Counter(name for name, _, _ in _graph(content)).most_common()
    )


def float_operators(content):
    """Names of the operators that put out floating point, DEQUANTIZE left out."""
    schema, model = _parse(content)
    graph = model.Subgraphs(0)
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    return sorted(
        {
            name
            for name, _, outputs in _graph(content)
            if name != "DEQUANTIZE" and graph.Tensors(outputs[0]).Type() in floats
        }
    )


def _graph(content):
    """(name, inputs, outputs) of each operator of the main graph; tensors by index."""
    schema, model = _parse(content)
    names = {
        value: name
        for name, value in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    graph = model.Subgraphs(0)
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Files for old readers have the code in the one-byte field alone.
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name == "CUSTOM":
            name = code.CustomCode().decode()
        yield name, operator.InputsAsNumpy(), operator.OutputsAsNumpy()


def _parse(content):
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        from tensorflow.lite.python import schema_py_generated as schema
    return schema, schema.Model.GetRootAs(content, 0)


def _tap_logits(content):
    """A copy whose output is the input of the final softmax, and whether it has one."""
    content = bytearray(content)
    _, model = _parse(content)
    # A view into the copy: writing to it re-wires the model.
    outputs = model.Subgraphs(0).OutputsAsNumpy()
    makers = {
        made[0]: (name, read[0]) for name, read, made in _graph(content) if len(read)
    }
    name, source = makers.get(outputs[0], ("", None))
    if name == "DEQUANTIZE":
        # Float output of an integer file: the softmax is behind the conversion.
        name, source = makers.get(source, ("", None))
    if name != "SOFTMAX":
        return content, False
    outputs[0] = source
    return content, True


def tensors(path, images):
    """Real values of every tensor that the file computes, by name, in its order.

    Args:
        path: of the file.
        images: float32, one batch of the file's size.
    """
    interpreter = litert().Interpreter(
        str(path), experimental_preserve_all_tensors=True, num_threads=2
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
