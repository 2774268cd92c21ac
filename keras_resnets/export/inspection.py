"""What stands in an exported file, passport or not."""

import dataclasses
import pathlib

import numpy as np

from keras_resnets import files
from keras_resnets.errors import InvalidArgument
from keras_resnets.export import ends
from keras_resnets.export import tflite_versions
from keras_resnets.export.runners import keras_model
from keras_resnets.export.runners import kind_of
from keras_resnets.export.runners import onnx_file
from keras_resnets.export.runners import saved_model
from keras_resnets.export.runners import tflite_file
from keras_resnets.export.runners.common import told


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Attributes:
        name, shape, dtype: as they stand in the file; None for an open dimension.
        scale, zero_point: real value = (integer - zero_point) * scale; None for floats.
    """

    name: str
    shape: tuple
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a file holds.

    Attributes:
        format: `"tflite"`, `"onnx"`, `"keras"` or `"saved_model"`.
        size: bytes.
        inputs, outputs: `Port`s; of a SavedModel those of its first signature,
            `serving_default` where there is one.
        operators: counts by name.
        signatures: (inputs, outputs) of a SavedModel by the name of each signature;
            empty for files that have one way in.
        runtime: the oldest release of TFLite that knows the operators of a `.tflite`
            file; `"unknown"` where one of them is not in our table; None elsewhere.
    """

    format: str
    size: int
    inputs: tuple
    outputs: tuple
    operators: dict
    signatures: dict = dataclasses.field(default_factory=dict)
    runtime: str | None = None


def inspect(path):
    """What a `.tflite`, `.onnx` or `.keras` file or a SavedModel's folder holds.

    Raises:
        InvalidArgument: a file that is missing, damaged or of no such format.

    Example:
        >>> import keras_resnets, tempfile
        >>> from keras_resnets.export import to_tflite
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = to_tflite(keras_resnets.ResNet8(), f"{folder}/a.tflite")
        ...     inspect(report.path).inputs[0].name
        'image'
    """
    path = pathlib.Path(path)
    readers = {
        "tflite": _tflite,
        "onnx": _onnx,
        "keras": _keras,
        "saved_model": _saved_model,
    }
    kind = kind_of(path)
    with told(path, "cannot be read"):
        found = readers[kind](path)
        runtime = _runtime(path) if kind == "tflite" else None
    return Inspection(kind, files.size(path), *found, runtime=runtime)


def _runtime(path):
    with tflite_file.opened(path) as content:
        return tflite_versions.needed(content) or "unknown"


def ports(kind, path, model):
    """(inputs, outputs), a `Port` each in the order of a file that was just made.

    Args:
        kind: `"tflite"`, `"onnx"`, `"saved_model"` or `"keras"`.
        path: of the file, under any name.
        model: that it was made of; a file of Keras has its.
    """
    if kind == "keras":
        return _keras_ports(model)
    readers = {"tflite": _tflite, "onnx": _onnx, "saved_model": _saved_model}
    inputs, outputs, *_ = readers[kind](path)
    return inputs, outputs


def _tflite(path):
    content = path.read_bytes()
    interpreter = tflite_file.litert().Interpreter(model_content=content)
    names = tflite_file.signature_names(content)
    ports = [
        tuple(
            _tflite_port(one, names.get(one["index"], one["name"])) for one in details
        )
        for details in (
            interpreter.get_input_details(),
            interpreter.get_output_details(),
        )
    ]
    return *ports, tflite_file.operators(content)


def _tflite_port(details, name):
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"]).name
    shape = tuple(
        None if size < 0 else int(size)
        for size in details.get("shape_signature", details["shape"])
    )
    if not scale:
        return Port(name, shape, dtype)
    return Port(name, shape, dtype, float(scale), int(zero_point))


def _keras(path):
    model = keras_model.load(path)
    return *_keras_ports(model), keras_model.operators(model)


def _keras_ports(model):
    return tuple(
        tuple(
            Port(name, tuple(tensor.shape), tensor.dtype)
            for name, tensor in tensors.items()
        )
        for tensors in (
            {tensor.name: tensor for tensor in model.inputs},
            ends.outputs(model),
        )
    )


def _onnx(path):
    (onnx,) = onnx_file.require("onnx")
    model = onnx.load(path)
    if not model.graph.output:
        raise InvalidArgument(f"{path} is no ONNX file: it has no outputs")
    ports = [
        tuple(_onnx_port(onnx, value) for value in values)
        for values in (model.graph.input, model.graph.output)
    ]
    return *ports, onnx_file.operators(model)


def _onnx_port(onnx, value):
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value or None for dim in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return Port(value.name, shape, dtype)


def _saved_model(path):
    signatures = {
        name: tuple(tuple(map(_saved_model_port, specs)) for specs in ends_of)
        for name, ends_of in saved_model.signatures(path).items()
    }
    if not signatures:
        raise InvalidArgument(f"{path} is a SavedModel without a signature to call")
    ports = next(iter(signatures.values()))
    return *ports, saved_model.operators(path), signatures


def _saved_model_port(spec):
    shape = tuple(spec.shape) if spec.shape.rank is not None else ()
    return Port(spec.name, shape, spec.dtype.name)
