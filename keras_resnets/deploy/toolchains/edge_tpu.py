"""Coral's Edge TPU: checks a file against the rules of its compiler, without running it.

The rules are from Coral's page "TensorFlow models on the Edge TPU": "Model requirements",
and Table 1, "All operations supported by the Edge TPU and any known limitations", of
runtime 16. Only rules that a network of this package can violate are checked.
"""

import math
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_resnets.deploy.job import ExportedFile
from keras_resnets.deploy.job import Job
from keras_resnets.errors import ExportError
from keras_resnets.export.tflite import file_editor

# Largest number of values of a SOFTMAX (Table 1).
_SOFTMAX = 16_000


def check(job: Job, exported: ExportedFile) -> dict[str, Any]:
    """Checks the file and returns the entries of the report.

    Raises:
        ExportError: the compiler would not map all operators; with their names.
    """
    editor = file_editor.Editor(exported.path.read_bytes())
    broken = [*_tensors(editor), *_operators(editor)]
    if broken:
        raise ExportError(
            f"the Edge TPU would run these operators of {job.model.name}'s "
            f"{exported.spec.recipe} file on the CPU: {'; '.join(dict.fromkeys(broken))}; "
            "train a variant without them (strided slices: --set shortcut_type=B); nothing "
            "was written"
        )
    counts = exported.report.operators
    return {
        "checked": "8-bit types, fixed shapes, batch size 1, and operators by Coral's "
        "table; not compiled",
        "operators": dict(counts),
    }


def _tensors(editor: file_editor.Editor) -> Iterator[str]:
    """Yields violations of the model requirements."""
    types = editor.schema.TensorType
    for index, tensor in enumerate(editor.graph.tensors):
        name = bytes(tensor.name or b"").decode("utf-8", "replace")
        constant = editor.data(index) is not None
        allowed = (types.INT8, types.UINT8, *((types.INT32,) if constant else ()))
        if tensor.type not in allowed:
            yield f"the tensor {name} is not int8 or uint8"
        shape = () if tensor.shape is None else tuple(tensor.shape)
        if tensor.shapeSignature is not None and min(tensor.shapeSignature) < 0:
            yield f"the shape of the tensor {name} is not fixed"
        if not constant and len(shape) > 3 and math.prod(shape[:-3]) > 1:
            yield f"the tensor {name} has a batch size above 1"


def _operators(editor: file_editor.Editor) -> Iterator[str]:
    """Yields violations of Table 1."""
    for op in editor.graph.operators:
        name = editor.code(op)
        rule = _RULES.get(name)
        violation = rule(editor, op) if rule else None
        if violation:
            yield f"{name} {violation}"


def _unfused(editor: file_editor.Editor, op: Any) -> str | None:
    none = editor.schema.ActivationFunctionType.NONE
    fused = op.builtinOptions.fusedActivationFunction != none
    return "with a fused activation" if fused else None


def _dilated(editor: file_editor.Editor, op: Any) -> str | None:
    options = op.builtinOptions
    differs = options.dilationHFactor != options.dilationWFactor
    return "with different dilations in height and width" if differs else None


def _strided(editor: file_editor.Editor, op: Any) -> str | None:
    strides = _ints(editor, op.inputs[3])
    return f"with strides of {max(strides)}" if set(strides) != {1} else None


def _padded(editor: file_editor.Editor, op: Any) -> str | None:
    pads = _ints(editor, op.inputs[1])
    shape = editor.graph.tensors[op.inputs[0]].shape
    # Pairs (before, after) for each axis; the batch is the first.
    is_batch = len(shape) == 4 and any(pads[:2])
    return "of the batch" if is_batch else None


def _averaged(editor: file_editor.Editor, op: Any) -> str | None:
    shape = editor.graph.tensors[op.inputs[0]].shape
    axes = {axis % len(shape) for axis in _ints(editor, op.inputs[1])}
    return "over the batch" if 0 in axes and len(shape) == 4 else None


def _squashed(editor: file_editor.Editor, op: Any) -> str | None:
    count = math.prod(editor.graph.tensors[op.inputs[0]].shape)
    return f"of more than {_SOFTMAX:,} values" if count > _SOFTMAX else None


def _ints(editor: file_editor.Editor, index: int) -> list[int]:
    data = editor.data(index)
    return [] if data is None else np.asarray(data, "uint8").view("int32").tolist()


_RULES: dict[str, Callable[[file_editor.Editor, Any], str | None]] = {
    "AVERAGE_POOL_2D": _unfused,
    "CONCATENATION": _unfused,
    "CONV_2D": _dilated,
    "DEPTHWISE_CONV_2D": _dilated,
    "MAX_POOL_2D": _unfused,
    "MEAN": _averaged,
    "PAD": _padded,
    "SOFTMAX": _squashed,
    "STRIDED_SLICE": _strided,
}
