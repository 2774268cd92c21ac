"""Runs a file in LiteRT's GPU accelerator, as a separate process (`python -m`).

Some files crash the accelerator and its process. The answer is one line of JSON.
"""

import sys
from typing import Any

import numpy as np

from keras_resnets.system import child_process


def main(path: str, inputs: str, outputs: str) -> None:
    """Runs a file and answers whether all operators were accelerated.

    Args:
        path: path of the TFLite file.
        inputs: path of an .npy file of images in the input's type.
        outputs: path of the .npy file to write, in the output's type.
    """
    child_process.answer_once(lambda: _run(path, np.load(inputs), outputs))


def _run(path: str, images: np.ndarray, outputs: str) -> dict[str, Any]:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    output_details = interpreter.get_output_details()[0]
    count = int(np.prod(output_details["shape"]))
    model = CompiledModel.from_file(path, hardware_accel=HardwareAccelerator.GPU)
    input_buffers, output_buffers = (
        model.create_input_buffers(0),
        model.create_output_buffers(0),
    )
    rows = []
    for image in images:
        input_buffers[0].write(np.ascontiguousarray(image).ravel())
        model.run_by_index(0, input_buffers, output_buffers)
        rows.append(np.array(output_buffers[0].read(count, output_details["dtype"])))
    np.save(outputs, np.stack(rows))
    return {"fully": bool(model.is_fully_accelerated())}


if __name__ == "__main__":
    main(*sys.argv[1:])
