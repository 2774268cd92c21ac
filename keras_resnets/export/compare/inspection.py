"""What stands in an exported file, passport or not."""

import dataclasses
import pathlib

from keras_resnets.export.compare.open_runner import kind_of
from keras_resnets.export.onnx import contents as onnx_contents
from keras_resnets.export.runner import told
from keras_resnets.export.saved_model import contents as saved_model_contents
from keras_resnets.export.tflite import contents as tflite_contents
from keras_resnets.export.tflite import runner as tflite_runner
from keras_resnets.export.tflite import versions
from keras_resnets.io import files


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

    Files are read, not run: neither an interpreter nor TensorFlow sees them, but for
    Keras, which builds the network of a `.keras` file.

    Raises:
        InvalidArgument: a file that is missing, damaged or of no such format, or that
            says more than it holds.

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
    with tflite_runner.opened(path) as content:
        return versions.needed(content) or "unknown"


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
    found = tflite_contents.read(path)
    return *_ports(found), found.operators


def _onnx(path):
    found = onnx_contents.read(path)
    return *_ports(found), found.operators


def _ports(found):
    return (
        tuple(Port(*port) for port in ends) for ends in (found.inputs, found.outputs)
    )


def _saved_model(path):
    found = saved_model_contents.read(path)
    signatures = {
        name: tuple(tuple(Port(*port) for port in ports) for ports in signature)
        for name, signature in found.signatures.items()
    }
    return *next(iter(signatures.values())), found.operators, signatures


def _keras(path):
    from keras_resnets.export.keras import runner as keras_runner

    model = keras_runner.load_keras(path)
    return *_keras_ports(model), keras_runner.operators(model)


def _keras_ports(model):
    from keras_resnets.export import signature

    return tuple(
        tuple(
            Port(name, tuple(tensor.shape), tensor.dtype)
            for name, tensor in tensors.items()
        )
        for tensors in (
            {tensor.name: tensor for tensor in model.inputs},
            signature.outputs(model),
        )
    )
