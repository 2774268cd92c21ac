"""Converts a SavedModel with coremltools and describes the result.

    python coreml_worker.py FOLDER PACKAGE.mlpackage FACTS.json

This script runs in a Python environment with coremltools. FACTS.json contains `operators`
(the number of each), `kernels` (the sorted shapes of the convolution kernels), `finite`
(whether all kernels are finite), and the shapes of `input` and `output`. The last printed
line is the version of coremltools.
"""

import collections
import json
import pathlib
import sys

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
    kernels = [op.weight.val for op in program.operations if op.op_type == "conv"]
    (program_input,) = program.inputs.values()
    (program_output,) = program.outputs
    written = {
        "operators": dict(sorted(operators.items())),
        "kernels": sorted(list(kernel.shape) for kernel in kernels),
        "finite": all(bool(np.isfinite(kernel).all()) for kernel in kernels),
        "input": [int(side) for side in program_input.shape],
        "output": [int(side) for side in program_output.shape],
    }
    pathlib.Path(facts).write_text(json.dumps(written), "utf-8")
    sys.stdout.write("\n" + coremltools.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
