"""Quantizes an ONNX file with ESP-PPQ and simulates the result.

    python esp32_worker.py FILE.onnx IMAGES.npz OUTPUTS.npz CHIP

This script runs in a Python environment with esp-ppq. IMAGES.npz contains float32 `images`
to simulate and `ranges` for calibration, both (count, channels, height, width); OUTPUTS.npz
gets `outputs` (count, classes). ESP-PPQ writes `model.espdl` and its descriptions into the
same folder. The last printed line is the version of esp-ppq.
"""

import importlib.metadata
import pathlib
import sys

import numpy as np

_BITS = 8


def main(path: str, images_path: str, outputs_path: str, chip: str) -> None:
    """Writes the outputs; the module docstring has the arguments."""
    import torch
    from esp_ppq.api import espdl_quantize_onnx
    from esp_ppq.executor import TorchExecutor

    # On a busy machine several threads take minutes, waiting for each other.
    torch.set_num_threads(1)
    with np.load(images_path) as loaded:
        images, ranges = loaded["images"], loaded["ranges"]
    graph = espdl_quantize_onnx(
        path,
        str(pathlib.Path(outputs_path).absolute().with_name("model.espdl")),
        [torch.from_numpy(image[None]) for image in ranges],
        len(ranges),
        [1, *images.shape[1:]],
        target=chip,
        num_of_bits=_BITS,
        error_report=False,
    )
    executor = TorchExecutor(graph=graph, device="cpu")
    outputs = [
        executor.forward(inputs=torch.from_numpy(image[None]))[0].numpy()
        for image in images
    ]
    np.savez(outputs_path, outputs=np.concatenate(outputs).astype("float32"))
    sys.stdout.write("\n" + importlib.metadata.version("esp-ppq"))


if __name__ == "__main__":
    main(*sys.argv[1:])
