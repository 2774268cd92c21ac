"""Converts a SavedModel with coremltools and describes the result.

    python coreml_worker.py FOLDER PACKAGE.mlpackage FACTS.json

This script runs in a Python environment with coremltools. FACTS.json contains `operators`
(the number of each), `kernels` and `expected_kernels` (the sorted shapes of the
convolutions' kernels in the program and in the SavedModel), `finite` (whether all kernels
are finite), and the shapes of `input` and `output`. The last printed line is the version of
coremltools.
"""

import collections
import json
import pathlib
import sys
from typing import Any

import numpy as np


def main(folder: str, package: str, facts: str) -> None:
    """Writes the package and the facts; the module docstring has the arguments."""
    import coremltools

    converted = coremltools.convert(folder, source="tensorflow", convert_to="mlprogram")
    converted.save(package)
    (program,) = converted._mil_program.functions.values()
    operators = collections.Counter(
        op.op_type for op in program.operations if op.op_type != "const"
    )
    weights = [op.weight for op in program.operations if op.op_type == "conv"]
    constants = [weight.val for weight in weights if weight.val is not None]
    (program_input,) = program.inputs.values()
    (program_output,) = program.outputs
    written = {
        "operators": dict(sorted(operators.items())),
        "kernels": sorted(list(weight.shape) for weight in weights),
        "expected_kernels": sorted(_kernels(folder)),
        "finite": all(bool(np.isfinite(kernel).all()) for kernel in constants),
        "input": [int(side) for side in program_input.shape],
        "output": [int(side) for side in program_output.shape],
    }
    pathlib.Path(facts).write_text(json.dumps(written), "utf-8")
    sys.stdout.write("\n" + coremltools.__version__)


def _kernels(folder: str) -> list[list[int]]:
    """Returns the kernel shapes of a SavedModel's convolutions, as Core ML stores them.

    Core ML's are (out, in, height, width), with `in` of one group.
    """
    import tensorflow
    from tensorflow.python.framework import convert_to_constants

    # A variable: the functions do not keep the variables of the model alive.
    loaded = tensorflow.saved_model.load(folder)
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        loaded.signatures["serving_default"]
    )
    return [
        _TRANSPOSED[op.type](*op.inputs[1].shape)
        for op in frozen.graph.get_operations()
        if op.type in _TRANSPOSED
    ]


# By TensorFlow's operator: its kernel (height, width, in, out or multiplier).
_TRANSPOSED: dict[str, Any] = {
    "Conv2D": lambda height, width, inputs, outputs: [outputs, inputs, height, width],
    "DepthwiseConv2dNative": lambda height, width, inputs, multiplier: [
        inputs * multiplier,
        1,
        height,
        width,
    ],
}

if __name__ == "__main__":
    main(*sys.argv[1:])
