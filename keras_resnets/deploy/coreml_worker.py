"""Run by a Python that has coremltools: converts a SavedModel, and says what came of it.

    python coreml_worker.py FOLDER PACKAGE.mlpackage FACTS.json

FACTS.json has `operators` (how many of each), `kernels` (the shape of each convolution's,
sorted), `finite` (whether all their numbers are), and the shapes of `input` and `output`.
The last line that it prints is the release of coremltools.
"""

import collections
import json
import pathlib
import sys

import numpy as np


def main(folder: str, package: str, facts: str) -> None:
    """Writes both; see above for the arguments."""
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
