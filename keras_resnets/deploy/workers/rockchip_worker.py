"""Quantizes an ONNX file with rknn-toolkit2 and simulates it on the NPU.

    python rockchip_worker.py FILE.onnx IMAGES.npz OUTPUTS.npz CHIP

This script runs in a Python environment with rknn-toolkit2. IMAGES.npz contains float32
`images` to simulate and `ranges` for calibration, both (count, channels, height, width);
OUTPUTS.npz gets `outputs` (count, classes). `model.rknn` is written into the same folder.
The last printed line is the version of rknn-toolkit2.
"""

import importlib.metadata
import pathlib
import sys
from typing import Any

import numpy as np


def main(path: str, images_path: str, outputs_path: str, chip: str) -> None:
    """Writes the outputs; the module docstring has the arguments."""
    from rknn.api import RKNN

    with np.load(images_path) as loaded:
        images, ranges = loaded["images"], loaded["ranges"]
    # The toolkit reads calibration images from files that a text file lists.
    names = [f"range_{index}.npy" for index in range(len(ranges))]
    for name, image in zip(names, ranges):  # noqa: B905  (Python 3.10 and older)
        np.save(name, image[None])
    pathlib.Path("ranges.txt").write_text("\n".join(names) + "\n")
    toolkit = RKNN(verbose=False)
    try:
        _check(toolkit.config(target_platform=chip), "config")
        _check(toolkit.load_onnx(model=path), "load_onnx")
        done = toolkit.build(do_quantization=True, dataset="ranges.txt")
        _check(done, "build")
        _check(toolkit.export_rknn("model.rknn"), "export_rknn")
        # Without a target, this starts the simulator.
        _check(toolkit.init_runtime(), "init_runtime")
        outputs = [_run(toolkit, image) for image in images]
    finally:
        toolkit.release()
    np.savez(outputs_path, outputs=np.stack(outputs).astype("float32"))
    sys.stdout.write("\n" + importlib.metadata.version("rknn-toolkit2"))


def _run(toolkit: Any, image: np.ndarray) -> np.ndarray:
    (scores,) = toolkit.inference(inputs=[image[None]], data_format=["nchw"])
    return np.asarray(scores).reshape(-1)


def _check(code: int, step: str) -> None:
    """Exits if a step of the toolkit returned an error code."""
    if code:
        sys.exit(f"{step} of rknn-toolkit2 failed with code {code}")


if __name__ == "__main__":
    main(*sys.argv[1:])
